"""What a bandit's rounds say: probabilities by hand and by integration, and the choice where the truth is planted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta

from auxtune.selectors.methods.beta_bandit import BetaBandit, RewardRates, add_rates, compute_chance_of_larger
from auxtune.selectors.methods.thompson import Thompson
from auxtune.selectors.protocol import Outcome, Problem, Proposal, Selection, TaskInfo

STUDIES = 100


@pytest.mark.parametrize(
    ("one", "other", "chance"),
    [
        ((2, 1), (1, 1), 2 / 3),  # the mean of Beta(2, 1)
        ((3, 1), (1, 3), 0.95),
        ((1, 1), (1, 1), 0.5),
        ((40, 17), (40, 17), 0.5),
    ],
)
def test_the_chance_of_the_larger_rate_by_hand(one: tuple[int, int], other: tuple[int, int], chance: float) -> None:
    assert compute_chance_of_larger(one, other) == pytest.approx(chance, abs=1e-9)
    assert compute_chance_of_larger(other, one) == pytest.approx(1 - chance, abs=1e-9)


@pytest.mark.parametrize(("one", "other"), [((5, 9), (30, 41)), ((41, 20), (215, 190)), ((400, 380), (2000, 2100))])
def test_the_chance_of_the_larger_rate_is_its_integral(one: tuple[int, int], other: tuple[int, int]) -> None:
    found, _ = quad(lambda x: beta.pdf(x, *one) * beta.cdf(x, *other), 0, 1, points=[one[0] / sum(one)], limit=200)
    assert compute_chance_of_larger(one, other) == pytest.approx(found, abs=1e-6)


def test_rewards_add_up_over_runs() -> None:
    both = add_rates([RewardRates({"a": 2, "b": 0}, {"a": 1, "b": 3}), RewardRates({"a": 1, "b": 1}, {"a": 0, "b": 0})])
    assert both == RewardRates({"a": 3, "b": 1}, {"a": 1, "b": 3})
    assert (both.rounds, both.overall) == ({"a": 4, "b": 4}, 0.5)
    assert both.better["a"] == pytest.approx(1 - both.better["b"])


def test_of_what_was_never_tried_nothing_is_known() -> None:
    none = RewardRates({"a": 0, "b": 0}, {"a": 0, "b": 0})
    assert none.overall is None
    assert none.utility == {"a": 0.5, "b": 0.5} == pytest.approx(none.better)
    assert none.interval["a"] == pytest.approx((0.025, 0.975))


# Where the truth is planted: whatever was before, a round of task k is rewarded with its own probability


def problem_of(tasks: int, seed: int) -> Problem:
    """The primary and so many auxiliaries, ``t0``, ``t1``, …"""
    infos = (TaskInfo("p", "classification", 1000), *(TaskInfo(f"t{n}", "classification", 1000) for n in range(tasks)))
    return Problem(infos, "p", seed)


def rounds_of(
    bandit: BetaBandit, problem: Problem, count: int, chances: dict[str, float]
) -> Iterator[tuple[str, float]]:
    """A run's rounds, steered by the bandit itself."""
    state, rng, level = bandit.start(problem), np.random.default_rng([problem.seed, 1]), 0.5
    for number in range(count):
        asked = bandit.propose(state, {})
        assert isinstance(asked, Proposal)
        (task,) = asked.tasks
        level += 0.001 if rng.random() < chances[task] else -0.001
        yield task, level
        state = bandit.told(bandit.proposed(state, number, asked), number, Outcome(level))


@cache
def answers(helpful: tuple[float, ...], others: tuple[float, ...], primary: float) -> list[tuple[Selection, Selection]]:
    """Of each study the answer and the released one, read out of the same two runs of 100 rounds."""
    chances = {"p": primary, **{f"t{n}": chance for n, chance in enumerate((*helpful, *others))}}
    found = []
    for study in range(STUDIES):
        problem, told = problem_of(len(chances) - 1, study), []
        for run in range(2):
            seeded = problem_of(len(chances) - 1, 1000 * study + run)
            told.append(tuple(rounds_of(BetaBandit(), seeded, 100, chances)))
        found.append((read(Thompson(), problem, told), read(Thompson(released=True), problem, told)))
    return found


def read(selector: Thompson, problem: Problem, runs: Sequence[tuple[tuple[str, float], ...]]) -> Selection:
    state = selector.start(problem)
    for number, rounds in enumerate(runs):
        asked = selector.propose(state, {})
        assert isinstance(asked, Proposal)
        state = selector.told(selector.proposed(state, number, asked), number, Outcome(0.5, rounds=rounds))
    return selector.select(state, {})


def precision(selections: Sequence[Selection], helpful: int) -> float:
    """Share of helpful tasks among the two auxiliaries of the highest utility, over the studies."""
    good = {f"t{n}" for n in range(helpful)}
    tops = []
    for selection in selections:
        utility = {task: value for task, value in selection.belief["utility"].items() if task != "p"}
        tops.append(sorted(utility, key=lambda task: -utility[task])[:2])
    return sum(task in good for top in tops for task in top) / (2 * len(selections))


def further(selections: Sequence[Selection]) -> float:
    """Share of the studies that chose more than two auxiliaries."""
    return sum(len(selection.tasks) > 3 for selection in selections) / len(selections)


def test_the_best_two_help_where_half_of_six_do() -> None:
    now, released = zip(*answers((0.6,) * 3, (0.4,) * 3, 0.5), strict=True)
    assert precision(now, 3) >= 0.9
    assert precision(released, 3) <= 0.75  # a choice at random has 0.5


def test_the_best_two_help_where_two_of_eight_do() -> None:
    now, released = zip(*answers((0.6,) * 2, (0.4,) * 6, 0.5), strict=True)
    assert precision(now, 2) >= 0.65
    assert precision(released, 2) <= 0.5  # a choice at random has 0.25


@pytest.mark.parametrize(("tasks", "chance"), [(6, 0.5), (6, 0.65), (12, 0.5), (20, 0.55)])
def test_of_tasks_that_are_all_alike_hardly_ever_more_than_two_are_taken(tasks: int, chance: float) -> None:
    now, released = zip(*answers((), (chance,) * tasks, chance), strict=True)
    assert further(now) <= 0.15
    assert further(released) >= 0.4


def test_a_third_that_helps_much_is_taken_too_and_one_that_hurts_is_not() -> None:
    now = [answer for answer, _ in answers((0.8, 0.8, 0.8), (0.3,) * 5, 0.5)]
    assert np.mean([{"t0", "t1", "t2"} <= set(answer.tasks) for answer in now]) >= 0.8
    assert np.mean([len(set(answer.tasks) - {"p", "t0", "t1", "t2"}) for answer in now]) <= 0.1


def test_the_interval_holds_the_truth_and_the_runs_were_steered_by_a_bandit_that_forgets() -> None:
    now = [answer for answer, _ in answers((0.6,) * 3, (0.4,) * 3, 0.5)]
    held = [
        low <= (0.5 if task == "p" else 0.6 if task in ("t0", "t1", "t2") else 0.4) <= high
        for answer in now
        for task, (low, high) in answer.belief["interval"].items()
    ]
    assert 0.9 <= np.mean(held) <= 0.99  # 700 intervals of nominally 95 %


def test_pulls_that_are_trials_are_read_alike() -> None:
    chances = {"p": 0.5, "t0": 0.6, "t1": 0.6, "t2": 0.6, "t3": 0.4, "t4": 0.4, "t5": 0.4}
    selector, now, released = Thompson(mode="trials", rounds=200), [], []
    for study in range(40):
        rng = np.random.default_rng([study, 2])
        state, scores = selector.start(problem_of(6, study)), {}
        for number in range(200):
            asked = selector.propose(state, {})
            assert isinstance(asked, Proposal) and asked.continuation is not None
            state = selector.proposed(state, number, asked)
            gain = 0.001 if rng.random() < chances[asked.notes["task"]] else -0.001
            scores[number] = scores.get(asked.continuation.start, 0.5) + gain  # type: ignore[arg-type]
            state = selector.told(state, number, Outcome(scores[number]))
        now.append(selector.select(state, {}))
        released.append(Thompson(mode="trials", rounds=200, released=True).select(state, {}))
    assert precision(now, 3) >= 0.9
    assert precision(released, 3) <= 0.8
    assert now[0].belief["rounds"].keys() == chances.keys() and sum(now[0].belief["rounds"].values()) == 199
