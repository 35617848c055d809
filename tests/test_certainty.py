"""How surely one mixture is better than another: nothing is sure of noise, and what is so is."""

from __future__ import annotations

import numpy as np
import pytest

from auxtune.selectors.kit.candidates import Candidates
from auxtune.selectors.kit.certainty import estimate_superiority
from auxtune.selectors.kit.process import FOR_SEARCH, fit_process

ALONE = np.eye(6)[0]


def compare_best(seed: int, trainings: int, worth: float) -> float | None:
    """The probability that the mixture with the best posterior mean beats the primary alone, by scores of noise 1.

    A score is ``worth`` times the root of auxiliary 1's share above the noise.
    """
    rng = np.random.default_rng(seed)
    shares = np.concatenate([ALONE[None], Candidates(6, 0, 0.05).draw(rng, trainings - 1)])
    process = fit_process(shares, worth * np.sqrt(shares[:, 1]) + rng.standard_normal(trainings), FOR_SEARCH)
    return estimate_superiority(process, shares[int(np.argmax(process(shares)))], ALONE)


@pytest.mark.parametrize("trainings", [10, 20, 40])
def test_of_nothing_but_noise_nothing_is_sure(trainings: int) -> None:
    found = [compare_best(seed, trainings, 0.0) for seed in range(40)]
    assert sum(probability is not None and probability > 0.95 for probability in found) <= 2


def test_what_helps_by_far_is_sure_after_a_dozen_trainings() -> None:
    found = [compare_best(seed, 12, 20.0) for seed in range(10)]
    assert all(probability is not None and probability > 0.95 for probability in found)


def test_either_one_is_the_better_and_a_mixture_is_no_better_than_itself() -> None:
    rng = np.random.default_rng(0)
    shares = Candidates(6, 0, 0.05).draw(rng, 15)
    process = fit_process(shares, shares[:, 1] + 0.1 * rng.standard_normal(15), FOR_SEARCH)
    one, other = (
        estimate_superiority(process, shares[0], shares[1]),
        estimate_superiority(process, shares[1], shares[0]),
    )
    assert one is not None and other is not None and one + other == pytest.approx(1)
    assert estimate_superiority(process, shares[0], shares[0]) is None
