"""Early stopping: a fresh scheduler that is told what the former one saw decides as that would have."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from auxtune.orchestrator.engine.search import EarlyStopping
from auxtune.orchestrator.record.events import Judged

STEPS = range(100, 800, 100)


def ask(scheduler: EarlyStopping, trial: int, step: int, score: float | None, judged: bool = True) -> str:
    """What becomes of ``trial``, which Ray knows under a name of its own."""
    ray_trial: Any = SimpleNamespace(
        trial_id=f"ray{trial}x", config={"assignment": SimpleNamespace(trial=trial, attempt=1, judged=judged)}
    )
    result = {"step_reached": step, **({} if score is None else {"score": score})}
    return scheduler.on_trial_result(None, ray_trial, result)


def stream(seed: int) -> list[tuple[int, int, float]]:
    """Evaluations of eight trials, in a mixed order."""
    rng = np.random.default_rng(seed)
    worth = rng.normal(size=8)
    seen = [(trial, step, float(worth[trial] + 0.1 * rng.normal())) for trial in range(8) for step in STEPS]
    return [seen[i] for i in rng.permutation(len(seen))]


@pytest.mark.parametrize("cut", [0, 5, 20, 40])
def test_told_again_it_decides_as_if_it_had_never_ended(cut: int) -> None:
    evaluations = sorted(stream(3), key=lambda each: each[1])
    events: list[Judged] = []
    whole = EarlyStopping(100, 800, events.append, ())
    decisions = [ask(whole, *evaluation) for evaluation in evaluations]
    assert {"STOP", "CONTINUE"} == set(decisions)
    later: list[Judged] = []
    resumed = EarlyStopping(100, 800, later.append, events[:cut])
    assert [ask(resumed, *evaluation) for evaluation in evaluations[cut:]] == decisions[cut:]
    assert later == events[cut:]


def test_the_worse_are_stopped_and_the_best_goes_on() -> None:
    scheduler = EarlyStopping(100, 800, lambda event: None, ())
    decisions = [ask(scheduler, trial, 100, score) for trial, score in enumerate([0.5, 0.6, 0.7, 0.4, 0.8, 0.3])]
    assert decisions == ["CONTINUE", "CONTINUE", "CONTINUE", "STOP", "CONTINUE", "STOP"]


def test_a_longer_trial_is_not_stopped_for_being_longer() -> None:
    scheduler = EarlyStopping(100, 800, lambda event: None, ())
    assert [ask(scheduler, 0, step, 0.9) for step in range(100, 2000, 100)] == ["CONTINUE"] * 19


def test_what_is_not_judged_goes_on_and_is_not_recorded() -> None:
    events: list[Judged] = []
    scheduler = EarlyStopping(100, 800, events.append, ())
    ask(scheduler, 0, 100, 0.9)
    assert ask(scheduler, 1, 100, 0.1, judged=False) == "CONTINUE"
    assert ask(scheduler, 2, 130, None) == "CONTINUE"  # between evaluations there is nothing to judge
    assert [event.id for event in events] == [0]
