"""The Gaussian process over mixtures: the simplex's coordinates, and that the search finds what random draws do not."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from auxtune.selectors.kit.mixtures import SMALLEST, convert_to_point, convert_to_shares, count_cycle, share_by_cycle
from auxtune.selectors.methods.gp_mixing import GPMixing
from auxtune.selectors.protocol import Done, Outcome, Problem, Proposal, TaskInfo

Objective = Callable[[np.ndarray], float]


def problem_of(tasks: int, seed: int = 0) -> Problem:
    return Problem(tuple(TaskInfo(f"t{i}", "classification", 1000) for i in range(tasks)), "t0", seed)


def search(selector: GPMixing, problem: Problem, objective: Objective, order: Sequence[str]) -> list[float]:
    """The scores of all mixtures, in turn, as a study would execute them."""
    state, scores = selector.start(problem), []
    for number in itertools.count():
        asked = selector.propose(state, {})
        if isinstance(asked, Done):
            return scores
        assert isinstance(asked, Proposal)
        shares = share_by_cycle(count_cycle(asked.weights or {}, problem.primary))
        state = selector.proposed(state, number, replace(asked, weights=shares))
        scores.append(objective(np.array([shares.get(name, 0.0) for name in order])))
        state = selector.told(state, number, Outcome(scores[-1]))
    raise AssertionError("never done")


def pair(share: float) -> Proposal:
    """Two tasks, as the selector would have asked for them."""
    point = convert_to_point(np.array([share, 1 - share]), 0.1)
    return Proposal(("t0", "t1"), {"t0": share, "t1": 1 - share}, notes={"point": point.tolist()})


def concave(optimum: np.ndarray) -> Objective:
    return lambda shares: float(1 - ((shares - optimum) ** 2).sum())


@pytest.mark.parametrize("tasks", [2, 3, 5, 8])
def test_uniform_points_are_uniform_mixtures(tasks: int) -> None:
    points = np.random.default_rng(0).random((4000, tasks - 1))
    # Without the cut of small shares, whose bound goes to 0 here with the many tasks' shares: moments of Dirichlet(1).
    shares = np.stack([convert_to_shares(point, 0.0) for point in points])
    kept = (shares > 0).mean()
    assert kept > 0.8
    assert shares.mean(axis=0) == pytest.approx(np.full(tasks, 1 / tasks), abs=0.02)
    variance = (tasks - 1) / (tasks**2 * (tasks + 1))
    assert shares.var(axis=0) == pytest.approx(np.full(tasks, variance), rel=0.15)


@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_a_mixture_comes_back_from_its_point(floor: float) -> None:
    for point in np.random.default_rng(1).random((200, 4)):
        shares = convert_to_shares(point, floor)
        assert shares.sum() == pytest.approx(1)
        assert shares[0] >= floor
        assert all(share == 0 or share >= SMALLEST for share in shares[1:])
        assert convert_to_shares(convert_to_point(shares, floor), floor) == pytest.approx(shares)


def test_extreme_mixtures_have_points() -> None:
    alone = np.array([1.0, 0.0, 0.0])
    assert convert_to_shares(convert_to_point(alone, 0.1), 0.1) == pytest.approx(alone)
    last = np.array([0.1, 0.0, 0.9])
    assert convert_to_shares(convert_to_point(last, 0.1), 0.1) == pytest.approx(last)
    below = np.array([0.05, 0.05, 0.9])  # a cycle may give the primary less than was asked for
    assert np.isfinite(convert_to_point(below, 0.1)).all()


@pytest.mark.slow
@pytest.mark.parametrize(("tasks", "optimum"), [(3, [0.3, 0.6, 0.1]), (5, [0.2, 0.45, 0.05, 0.25, 0.05])])
def test_it_beats_its_random_start_within_twenty_trials(tasks: int, optimum: list[float]) -> None:
    better = 0
    for seed in range(5):
        problem = problem_of(tasks, seed)
        scores = search(GPMixing(samples=20), problem, concave(np.array(optimum)), problem.names)
        better += max(scores[max(4, tasks) :]) > max(scores[: max(4, tasks)])
    assert better == 5


@pytest.mark.slow
def test_the_order_of_tasks_matters_little() -> None:
    optimum = np.array([0.3, 0.5, 0.1, 0.1])
    problem = problem_of(4)
    found = []
    for order in (problem.names, ("t0", "t3", "t2", "t1"), ("t0", "t2", "t1", "t3")):
        infos = tuple(task for name in order for task in problem.tasks if task.name == name)
        scores = search(GPMixing(samples=16), Problem(infos, "t0", 3), concave(optimum), problem.names)
        found.append(max(scores))
    assert max(found) - min(found) < 0.05  # of a function that spans about 1 over the simplex
    assert min(found) > 0.95


def test_the_first_mixture_is_equal_shares_and_the_start_is_random() -> None:
    selector, problem = GPMixing(), problem_of(3)
    state = selector.start(problem)
    first = selector.propose(state, {})
    assert isinstance(first, Proposal)
    assert first.weights == pytest.approx(dict.fromkeys(problem.names, 1 / 3))


def test_a_mixture_under_way_is_not_asked_for_again() -> None:
    selector, problem = GPMixing(startup=3), problem_of(2)
    state = selector.start(problem)
    for number, (share, score) in enumerate([(0.5, 0.5), (0.2, 0.4), (0.8, 0.7)]):
        state = selector.proposed(state, number, pair(share))
        state = selector.told(state, number, Outcome(score))
    asked: list[float] = []
    for number in range(3, 6):
        proposal = selector.propose(state, {})
        assert isinstance(proposal, Proposal)
        asked.append((proposal.weights or {})["t0"])
        state = selector.proposed(state, number, proposal)
    assert min(abs(a - b) for a, b in itertools.combinations(asked, 2)) > 0.01


def test_the_answer_is_not_the_luckiest_score() -> None:
    selector, problem = GPMixing(), problem_of(2)
    state = selector.start(problem)
    rng = np.random.default_rng(0)
    shares = np.linspace(0.1, 0.95, 18)
    for number, share in enumerate(shares):
        state = selector.proposed(state, number, pair(share))
        lucky = 0.3 if number == 1 else 0.0
        score = 1 - (share - 0.6) ** 2 + lucky + 0.01 * rng.normal()
        state = selector.told(state, number, Outcome(float(score)))
    answer = selector.select(state, {})
    assert max(answer.belief["tried"], key=lambda each: each["score"])["weights"]["t0"] == pytest.approx(shares[1])
    assert (answer.weights or {})["t0"] == pytest.approx(0.6, abs=0.15)


def test_a_failed_mixture_turns_the_search_away() -> None:
    selector, problem = GPMixing(startup=4), problem_of(2)

    def next_share(failing: bool) -> float:
        state = selector.start(problem)
        for number, (share, score) in enumerate([(0.5, 0.6), (0.3, 0.5), (0.7, 0.7), (0.9, 0.8)]):
            state = selector.proposed(state, number, pair(share))
            failed = failing and share == 0.9
            state = selector.told(state, number, Outcome(None, why="oom") if failed else Outcome(score))
        proposal = selector.propose(state, {})
        assert isinstance(proposal, Proposal)
        return (proposal.weights or {})["t0"]

    assert next_share(failing=False) > 0.8
    assert next_share(failing=True) < 0.85


def test_it_predicts_mixtures_that_were_never_tried_and_nothing_before_it_has_learnt() -> None:
    selector, problem = GPMixing(), problem_of(3)
    law, rng = concave(np.array([0.5, 0.3, 0.2])), np.random.default_rng(0)
    shares = 0.1 * np.array([1, 0, 0]) + 0.9 * rng.dirichlet(np.ones(3), 60)
    mixtures = [Proposal(problem.names, dict(zip(problem.names, row.tolist(), strict=True))) for row in shares]
    state = selector.start(problem)
    assert selector.predict(state, {}, mixtures[:2]) == [{}, {}]
    for number, (mixture, row) in enumerate(zip(mixtures[:30], shares[:30], strict=True)):
        asked = replace(mixture, notes={"point": convert_to_point(row, 0.1).tolist()})
        state = selector.told(selector.proposed(state, number, asked), number, Outcome(law(row)))
    predicted = [each["t0"] for each in selector.predict(state, {}, mixtures[30:])]
    assert np.corrcoef(predicted, [law(row) for row in shares[30:]])[0, 1] > 0.9
