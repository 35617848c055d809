"""How many trials ran at once, counted by hand."""

from __future__ import annotations

import pytest

from auxtune.orchestrator.answer.cost import measure_concurrency
from auxtune.orchestrator.record.accounts import Accounts, Attempt, Trial
from auxtune.selectors.protocol import Proposal
from auxtune.trials.result import Cost


def accounts(*spans: tuple[float, float | None]) -> Accounts:
    """A trial with an attempt for each ``(started, seconds)``; without seconds it still runs."""
    found = Accounts()
    for number, (started, seconds) in enumerate(spans):
        cost = None if seconds is None else Cost(wall_seconds=seconds, gpu_seconds=0, cpu_seconds=seconds)
        trial = Trial(number, "search", Proposal(("p",)), started)
        trial.attempts.append(Attempt(1, "s", started, cost=cost))
        found.trials[number] = trial
    return found


@pytest.mark.parametrize(
    ("spans", "peak", "mean"),
    [
        ([(0, 10)], 1, 1.0),
        ([(0, 10), (0, 10)], 2, 2.0),
        ([(0, 10), (10, 10)], 1, 1.0),  # one after the other
        ([(0, 10), (5, 10)], 2, 20 / 15),
        ([(0, 10), (100, 10)], 1, 1.0),  # time in which nothing ran does not count
        ([(0, 10), (2, 2), (2, 2)], 3, 14 / 10),
        ([(0, 10), (0, None)], 1, 1.0),
    ],
)
def test_concurrency_by_hand(spans: list[tuple[float, float | None]], peak: int, mean: float) -> None:
    found = measure_concurrency(accounts(*spans))
    assert found is not None
    assert (found.peak, found.mean) == (peak, pytest.approx(mean))


def test_before_the_first_end_it_is_unknown() -> None:
    assert measure_concurrency(accounts((0, None))) is None
