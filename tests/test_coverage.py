"""Does the 95 % interval of a lift hold the truth 95 times in 100? Simulated studies whose true lift is known."""

from __future__ import annotations

import numpy as np
import pytest

from auxtune.orchestrator.answer.lift import estimate_paired_lift
from auxtune.trials.metrics import Predictions

STUDIES = 200
POPULATION = 40_000


def chance(difficulty: np.ndarray, strength: float) -> np.ndarray:
    """Chance of a right answer on rows of some difficulty, of an arm and seed of some strength."""
    return 1 / (1 + np.exp(-(difficulty + strength)))


def answers(rng: np.random.Generator, difficulty: np.ndarray, strength: float, noise: float) -> Predictions:
    """One seed of an arm: ``noise`` is how much seeds differ in strength."""
    right = rng.random(len(difficulty)) < chance(difficulty, strength + noise * rng.normal())
    labels = np.ones(len(difficulty), dtype=int)
    return Predictions(labels, right.astype(int), np.arange(len(difficulty)))


def true_lift(noise: float, ours: float, theirs: float) -> float:
    """The lift over all rows and seeds that could have been drawn."""
    rng = np.random.default_rng(1)
    difficulty, seeds = rng.normal(1.0, 1.5, POPULATION), noise * rng.normal(size=POPULATION)
    return float(np.mean(chance(difficulty + seeds, ours) - chance(difficulty + seeds, theirs)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds", "rows", "noise", "ours"),
    [(4, 300, 0.0, 0.0), (4, 300, 0.3, 0.3), (8, 200, 0.3, 0.0)],
    ids=["rows alone", "rows and seeds", "more seeds"],
)
def test_the_interval_holds_the_truth_as_often_as_it_says(seeds: int, rows: int, noise: float, ours: float) -> None:
    theirs = 0.0
    truth, held = true_lift(noise, ours, theirs), 0
    for study in range(STUDIES):
        rng = np.random.default_rng([study, seeds, rows])
        difficulty = rng.normal(1.0, 1.5, rows)
        arms = [[answers(rng, difficulty, strength, noise) for _ in range(seeds)] for strength in (ours, theirs)]
        lift = estimate_paired_lift("accuracy", *arms, seed=study)
        assert lift is not None and lift.low is not None and lift.high is not None
        held += lift.low <= truth <= lift.high
    # Two standard errors of 200 studies are 3 points. Joining both doubts errs towards caution, never the other way.
    assert held / STUDIES > 0.95 - 0.03
