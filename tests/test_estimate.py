"""Estimates of seconds, cost and room in the budget, by hand calculation."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_budget import ARMS, budget, spent

from auxtune.orchestrator.planning.budget import Price
from auxtune.orchestrator.planning.estimate import (
    SmokeThroughput,
    Spread,
    TrialThroughput,
    Work,
    average_spreads,
    combine_spreads,
    estimate_cost,
    estimate_work,
    find_room,
)
from auxtune.orchestrator.planning.slots import Slots
from auxtune.trials.recipe import Recipe
from auxtune.trials.result import SmokeFigures

SLOTS, PRICE = Slots(cpus=2, gpus=1, concurrent=2), Price(3.6, 0.36)
EXACT = Spread(100.0, 100.0, 100.0)
ROWS = {"p": {"validation": 40, "probe": 30, "test": 500}, "a": {"validation": 9, "probe": 9, "test": 9}}
RECIPE = Recipe(tasks=("p", "a"), shares={"p": 0.25, "a": 0.75}, evaluate=("p",), steps=250, evaluate_every=100)


def figures(step: float, fastest: float, slowest: float) -> SmokeFigures:
    """An evaluation takes 2 s for 40 rows."""
    return SmokeFigures(step, fastest, slowest, 2.0, 40, None, None, 1)


PACE = SmokeThroughput({"p": figures(0.2, 0.1, 0.4), "a": figures(1.0, 0.8, 1.2)})


def test_work_counts_every_row_that_is_scored() -> None:
    assert estimate_work(RECIPE, ROWS, None) == Work(
        ("p", "a"),
        250,
        250,
        {"p": 0.25, "a": 0.75},
        {"p": 3 * 40},
        steered=False,  # at 100, 200 and 250
    )
    assert estimate_work(replace(RECIPE, steps=200, test=("p",)), ROWS, None).evaluated == {"p": 2 * 40 + 500}
    steered = estimate_work(RECIPE, ROWS, rounds=25)
    assert steered.evaluated == {"p": 3 * 40 + 25 * 30} and steered.shares is None and steered.steered
    assert estimate_work(RECIPE, ROWS, None, least_steps=50).least_steps == 50


def test_smoke_figures_are_weighted_by_shares_and_evaluations_added() -> None:
    # 250 steps of 0.25 · 0.2 + 0.75 · 1.0 s, and 120 rows at 2 s for 40.
    assert PACE.seconds(estimate_work(RECIPE, ROWS, None)) == Spread(
        pytest.approx(250 * 0.8 + 6), pytest.approx(250 * 0.625 + 6), pytest.approx(250 * 1.0 + 6)
    )


def test_shares_that_are_not_known_lie_between_the_fastest_and_the_slowest_task() -> None:
    work = estimate_work(RECIPE, ROWS, None, least_steps=100)
    assert PACE.seconds(work) == Spread(
        pytest.approx(250 * 0.6 + 6), pytest.approx(100 * 0.1 + 6), pytest.approx(250 * 1.2 + 6)
    )


def test_a_task_without_figures_leaves_a_trial_unknown() -> None:
    assert SmokeThroughput({"p": PACE.figures["p"]}).seconds(estimate_work(RECIPE, ROWS, None)) is None
    alone = replace(RECIPE, tasks=("a",), shares={"a": 1.0})  # its evaluation is of another task
    assert SmokeThroughput({"a": PACE.figures["a"]}).seconds(estimate_work(alone, ROWS, None)) is None


def test_finished_trials_give_mean_and_spread_by_their_kind() -> None:
    plain, steered = estimate_work(RECIPE, ROWS, None), estimate_work(RECIPE, ROWS, 25)
    pace = TrialThroughput(plain=(0.1, 0.2, 0.6), steered=(1.0,))
    assert pace.seconds(plain) == Spread(pytest.approx(75.0), 25.0, 150.0)
    assert pace.seconds(steered) == Spread(250.0, None, None)  # one trial shows no spread
    assert TrialThroughput((), (1.0,)).seconds(plain) == Spread(250.0, None, None)
    assert TrialThroughput((), ()).seconds(plain) is None


def test_an_unknown_spread_stays_unknown_in_a_total() -> None:
    total = combine_spreads(sum, [Spread(1.0, 0.5, 2.0), Spread(3.0, None, None)])
    assert total == Spread(4.0, None, None)
    assert average_spreads([Spread(1.0, 0.0, 2.0), Spread(3.0, 2.0, 4.0)]) == Spread(2.0, 1.0, 3.0)
    assert average_spreads([]) is None


def test_a_bill_is_time_allocated_and_time_that_passes() -> None:
    part = estimate_cost([Spread(3600.0, 1800.0, 7200.0)] * 3, SLOTS, PRICE)
    # Three trials over two slots; 2 CPUs at 0.36 and a GPU at 3.6 an hour.
    assert part.trials == 3 and part.wall_hours == Spread(1.5, 0.75, 3.0)
    assert part.cpu_hours == Spread(6.0, 3.0, 12.0) and part.gpu_hours == Spread(3.0, 1.5, 6.0)
    assert part.usd is not None and part.usd.mean == pytest.approx(6 * 0.36 + 3 * 3.6)
    assert estimate_cost([EXACT], SLOTS, Price()).usd is None
    nothing = estimate_cost([], SLOTS, PRICE)
    assert nothing.trials == 0 and nothing.wall_hours.mean == 0
    assert (part + nothing).wall_hours == part.wall_hours and (part + estimate_cost([], SLOTS, Price())).usd is None


def test_one_trial_takes_its_time_however_many_slots_are_empty() -> None:
    assert estimate_cost([Spread(3600.0, 1800.0, 7200.0)], SLOTS, PRICE).wall_hours == Spread(1.0, 0.5, 2.0)


NONE_SPENT = {"trials": 0, "wall_hours": 0.0, "gpu_hours": 0.0, "usd": 0.0}


@pytest.mark.parametrize(
    ("limits", "few", "trials", "many"),
    [
        ({"trials": 10}, 6, 6, 6),
        # 1,000 s, less 400 for confirm; trials of 100 s (50 to 200), and one that reaches the limit is one too many.
        ({"gpu_hours": 1000 / 3600}, 0, 5, 15),  # at 200 s confirm takes 800, and one more reaches 1,000
        ({"usd": 1.2}, 0, 5, 15),  # 0.12 a trial
        ({"wall_hours": 1000 / 3600}, 5, 15, 35),  # two at a time
    ],
)
def test_the_room_in_a_limit(limits: dict[str, float], few: int, trials: int, many: int) -> None:
    each = Spread(100.0, 50.0, 200.0)
    [room] = find_room(limits, NONE_SPENT, each, estimate_cost([each] * 4, SLOTS, PRICE), 4, SLOTS, PRICE)
    assert (room.few, room.trials, room.many) == (few, trials, many)


@pytest.mark.parametrize("limits", [{"gpu_hours": 2000 / 3600}, {"usd": 2.0}, {"trials": 17}])
@pytest.mark.parametrize("done", [1, 4, 7])
def test_the_room_is_what_the_budget_will_allow(limits: dict[str, float], done: int) -> None:
    allowed = 0
    while budget(**limits).exhausted(spent(done + allowed), ARMS, now=0.0) is None:
        allowed += 1
    past = {"trials": done, "gpu_hours": done * 100 / 3600, "usd": done * 0.12}
    [room] = find_room(limits, past, EXACT, estimate_cost([EXACT] * 4, SLOTS, PRICE), 4, SLOTS, PRICE)
    assert room.trials == allowed > 0


def test_room_is_unknown_without_seconds_and_boundless_where_nothing_is_used() -> None:
    limits = {"trials": 9, "gpu_hours": 1.0, "wall_hours": 1.0}
    unknown = find_room(limits, NONE_SPENT, None, None, 4, SLOTS, PRICE)
    assert [(room.limit, room.trials) for room in unknown] == [("trials", 5), ("gpu_hours", None), ("wall_hours", None)]
    on_cpus = find_room(limits, NONE_SPENT, None, None, 4, Slots(1, 0, 1), PRICE)
    assert [room.limit for room in on_cpus] == ["trials", "wall_hours"]
    [unpriced] = find_room({"usd": 1.0}, NONE_SPENT, EXACT, estimate_cost([EXACT], SLOTS, Price()), 1, SLOTS, Price())
    assert unpriced.trials is None
