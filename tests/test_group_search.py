"""The search of groups behind `auto`: what its process says, what a cover and a training are worth, what it finds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from auxtune.selectors.kit.group_candidates import build_pool, list_start
from auxtune.selectors.kit.group_covers import Serving, estimate_gains, find_cover, find_covers
from auxtune.selectors.kit.group_process import GroupProcess, assume_groups, fit_group_process, list_points
from auxtune.selectors.kit.group_search import GroupState
from auxtune.selectors.kit.networks import choose_networks
from auxtune.selectors.methods.auto import Auto
from auxtune.selectors.protocol import Done, Network, Outcome, Problem, Proposal, Selection, TaskInfo, Wait

Scores = Callable[[tuple[str, ...]], Mapping[str, float]]
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def problem_of(tasks: int, models: int = 2, seed: int = 0) -> Problem:
    return Problem(tuple(TaskInfo(name, "classification", 1000) for name in LETTERS[:tasks]), None, seed, models)


def list_groups(problem: Problem) -> list[Network]:
    sizes = range(1, len(problem.names) + 1)
    return [Network(group) for size in sizes for group in itertools.combinations(problem.names, size)]


def blocks(group: tuple[str, ...]) -> dict[str, float]:
    """Vowels help each other, and so do consonants; the others harm."""
    alike = {task: sum((task in "aeiou") == (other in "aeiou") for other in group) - 1 for task in group}
    return {task: 0.7 + 0.05 * (2 * alike[task] - len(group) + 1) / max(len(group) - 1, 1) for task in group}


def search(
    problem: Problem, scores: Scores, trials: int, noise: float = 0.0, selector: Auto | None = None
) -> tuple[GroupState, list[Proposal]]:
    """The state after up to ``trials`` trainings one after another, and what was proposed."""
    chosen, asked = selector or Auto(), []
    state, rng = chosen.start(problem), np.random.default_rng([problem.seed, 1])
    for number in range(trials):
        proposal = chosen.propose(state, {})
        if isinstance(proposal, Done):
            break
        assert isinstance(proposal, Proposal)
        members = {task: score + noise * rng.standard_normal() for task, score in scores(proposal.tasks).items()}
        state = tell(chosen, chosen.proposed(state, number, proposal), number, members)
        asked.append(proposal)
    return state, asked


def tell(selector: Auto, state: GroupState, number: int, members: Mapping[str, float] | None) -> GroupState:
    if members is None:
        return selector.told(state, number, Outcome(None, why="NaN"))
    return selector.told(state, number, Outcome(float(np.mean(list(members.values()))), scores=members))


def served(selection: Selection) -> list[tuple[str, str]]:
    return [("".join(group["tasks"]), "".join(group["serves"])) for group in selection.groups or ()]


def value(selection: Selection, scores: Scores) -> float:
    groups = selection.groups or ()
    return float(np.mean([scores(tuple(group["tasks"]))[task] for group in groups for task in group["serves"]]))


@pytest.fixture(scope="module")
def fitted() -> tuple[Problem, GroupProcess]:
    problem = problem_of(4)
    state, _ = search(problem, blocks, 6, noise=0.02)
    process = state.learn()
    assert process is not None
    return problem, process


# The process


@pytest.mark.parametrize("forms", [1, 2])
def test_kernels_are_covariances_and_know_their_diagonals(forms: int) -> None:
    groups = list_groups(problem_of(4))
    networks = [replace(group, name=f"form{form}") for form in range(forms) for group in groups]
    points = list_points(replace(problem_of(4), networks=tuple(networks)), networks)
    for kernel in assume_groups(4, points.rows.shape[1]).kernels:
        gram = kernel.pairs(points.rows, points.rows)
        assert np.diag(gram) == pytest.approx(kernel.own(points.rows))
        assert np.linalg.eigvalsh(gram).min() > -1e-9 * np.trace(gram)


def test_a_group_is_predicted_from_all_others_and_not_from_itself(fitted: tuple[Problem, GroupProcess]) -> None:
    """With the amounts as fitted, leaving a group out is what a fit without its points would predict."""
    _, process = fitted
    inner, held_out = process.process, process.held_out
    for network in np.unique(process.networks):
        out = process.networks == network
        rest = inner.shares[~out]
        known = inner.relate(rest, rest) + inner.noise * np.eye(len(rest))
        expected = inner.relate(inner.shares[out], rest) @ np.linalg.solve(known, inner.targets[~out])
        assert (held_out @ inner.targets)[out] == pytest.approx(expected, abs=1e-6)
        assert not held_out[np.ix_(out, out)].round(9).any()


def test_tasks_on_other_scales_are_expected_on_their_own() -> None:
    scale = {"a": 1.0, "b": 20.0, "c": 0.3, "e": 1.0}
    level = {"a": 0.0, "b": -500.0, "c": 3.0, "e": 0.0}
    scores = {group.tasks: blocks(group.tasks) for group in list_groups(problem_of(5)) if "d" not in group.tasks}
    problem = replace(problem_of(5), tasks=tuple(TaskInfo(name, "regression", 9) for name in scale))
    points = list_points(problem, [Network(tasks) for tasks in scores])
    names, tasks = list(scale), list(scores)
    plain = np.array([scores[tasks[n]][names[t]] for n, t in zip(points.networks, points.tasks, strict=True)])
    factors = np.array([scale[names[t]] for t in points.tasks])
    offsets = np.array([level[names[t]] for t in points.tasks])
    process = fit_group_process(4, points.rows, points.networks, offsets + factors * plain)
    assert process is not None
    assert (process.predict(points) - offsets) / factors == pytest.approx(plain, abs=0.03)


def test_skill_is_shown_where_groups_matter_and_not_where_they_do_not() -> None:
    problem, shown = problem_of(5), []
    for scores in (blocks, lambda group: dict.fromkeys(group, 0.5)):
        state, _ = search(problem, scores, 25, noise=0.01, selector=Auto(stop=None))
        process = state.learn()
        assert process is not None
        shown.append(process.measure_skill(0).shown)
    assert shown == [True, False]


# Covers and gains


def test_a_cover_is_within_the_budget_and_hardly_ever_worse_than_the_best() -> None:
    rng, missed = np.random.default_rng(0), []
    for _ in range(60):
        tasks, networks = int(rng.integers(2, 7)), int(rng.integers(3, 25))
        member = rng.random((networks, tasks)) < 0.5
        member[0] = True
        scores = np.where(member, rng.normal(size=(networks, tasks)), np.nan)
        models = int(rng.integers(1, 4))
        cover = np.flatnonzero(find_covers(scores[None], Serving(np.ones(networks), models))[0])
        best = choose_networks(scores, [1.0] * networks, models)
        assert 0 < len(cover) <= models
        missed.append(np.nanmax(scores[best], axis=0).sum() - np.nanmax(scores[cover], axis=0).sum())
    assert min(missed) > -1e-9 and np.mean(np.array(missed) > 1e-9) < 0.05


def test_a_cover_costs_no_more_than_the_budget_and_serves_with_the_cheaper_form() -> None:
    scores = np.array([[1.0, 1.0], [3.0, np.nan], [2.9, np.nan], [np.nan, 2.0]])
    costs = np.array([1.0, 1.0, 0.5, 1.0])
    assert find_cover(scores, Serving(costs, 2.0)) == [1, 3]
    assert find_cover(scores, Serving(costs, 1.5)) == [2, 3]
    assert find_cover(scores, Serving(costs, 1.0)) == [0]
    assert find_cover(scores, Serving(costs, 0.5)) == []


def test_the_gain_is_what_simulated_trainings_gain(fitted: tuple[Problem, GroupProcess]) -> None:
    problem, process = fitted
    networks = list_groups(problem)
    found = estimate_gains(process, problem, networks, np.random.default_rng(0))
    points = list_points(problem, networks)
    means, covariance = process.predict_jointly(points)
    rng = np.random.default_rng(1)

    def best(expected: np.ndarray) -> float:
        table = np.full((len(networks), len(problem.names)), -np.inf)
        table[points.networks, points.tasks] = expected
        pairs = itertools.combinations(range(len(networks)), 2)
        return max(float(np.maximum(table[one], table[other]).mean()) for one, other in pairs)

    simulated = []
    for network in range(len(networks)):
        own = np.flatnonzero(points.networks == network)
        noise = np.diag(process.noise_deviations[points.tasks[own]] ** 2)
        seen = covariance[np.ix_(own, own)] + noise
        drawn = rng.multivariate_normal(np.zeros(len(own)), seen, size=150)
        moved = means + drawn @ np.linalg.solve(seen, covariance[own])
        simulated.append(np.mean([best(each) for each in moved]) - best(means))
    # A few covers that may become the best stand for all, so that gains are a little too small.
    assert np.corrcoef(found.gains, simulated)[0, 1] > 0.9
    assert simulated[int(found.gains.argmax())] > 0.7 * max(simulated)
    assert found.gains.max() == pytest.approx(max(simulated), rel=0.4)


# The search


def test_it_begins_with_all_tasks_and_a_partition() -> None:
    _, asked = search(problem_of(7, models=3), blocks, 4)
    assert asked[0].tasks == tuple(LETTERS[:7])
    assert sorted(itertools.chain.from_iterable(proposal.tasks for proposal in asked[1:])) == list(LETTERS[:7])
    assert sorted(len(proposal.tasks) for proposal in asked[1:]) == [2, 2, 3]


@pytest.mark.parametrize("seed", range(3))
def test_it_finds_the_two_blocks(seed: int) -> None:
    state, asked = search(problem_of(6, seed=seed), blocks, 14, noise=0.005)
    assert served(Auto().select(state, {})) == [("ae", "ae"), ("bcdf", "bcdf")]
    assert len(asked) == 14  # of 63 groups


def test_with_as_many_models_as_tasks_single_ones_answer_where_all_harm_each_other() -> None:
    def alone(group: tuple[str, ...]) -> dict[str, float]:
        return dict.fromkeys(group, 1 / len(group))

    state, _ = search(problem_of(4, models=4), alone, 6)
    assert sorted(served(Auto().select(state, {}))) == [("a", "a"), ("b", "b"), ("c", "c"), ("d", "d")]


def test_groups_without_effect_end_the_search_and_are_said_to_show_no_skill() -> None:
    state, asked = search(problem_of(4), lambda group: dict.fromkeys(group, 0.5), 60, noise=0.1)
    assert 20 <= len(asked) < 60
    belief = Auto().select(state, {}).belief
    assert not belief["skill"]["shown"] and "no better than by chance" in belief["why"]


@pytest.mark.parametrize(("tasks", "models"), [(1, 1), (5, 1)])
def test_it_is_done_where_only_one_answer_is_possible(tasks: int, models: int) -> None:
    problem = problem_of(tasks, models)
    state, asked = search(problem, blocks, 9)
    assert [proposal.tasks for proposal in asked] == [problem.names]
    assert served(Auto().select(state, {})) == [("".join(problem.names),) * 2]


@pytest.mark.parametrize(("tasks", "models"), [(2, 2), (5, 3), (20, 4)])
def test_it_answers_at_any_time_and_is_never_worse_than_one_model_by_much(tasks: int, models: int) -> None:
    problem = problem_of(tasks, models)
    for trials in (0, 1, 3, 6, 9):
        state, _ = search(problem, blocks, trials)
        selection = Auto().select(state, {})
        assert sorted(itertools.chain.from_iterable(each["serves"] for each in selection.groups or ())) == [
            *problem.names
        ]
        assert len(selection.groups or ()) <= models
        assert value(selection, blocks) > np.mean(list(blocks(problem.names).values())) - 0.01


def test_trainings_under_way_are_not_all_alike() -> None:
    selector, problem = Auto(), problem_of(6)
    state, asked = search(problem, blocks, 6)
    for number in range(6, 10):
        proposal = selector.propose(state, {})
        assert isinstance(proposal, Proposal)
        asked.append(proposal)
        state = selector.proposed(state, number, proposal)
    assert len({proposal.tasks for proposal in asked[6:]}) >= 3
    assert len({proposal.seed for proposal in asked}) == len(asked)


def test_what_fails_is_neither_asked_for_again_nor_answered() -> None:
    selector = Auto()
    state, asked = selector.start(problem_of(5)), []
    for number in range(16):
        proposal = selector.propose(state, {})
        assert isinstance(proposal, Proposal)
        failed = len(proposal.tasks) > 3
        state = selector.proposed(state, number, proposal)
        state = tell(selector, state, number, None if failed else blocks(proposal.tasks))
        asked += [proposal.tasks] if failed else []
    assert asked and len(set(asked)) == len(asked)
    assert all(len(tasks) <= 3 for tasks, _ in served(selector.select(state, {})))


def test_it_ends_where_everything_fails_and_waits_for_what_is_under_way() -> None:
    selector = Auto()
    state = selector.start(problem_of(7))
    for number in range(20):
        proposal = selector.propose(state, {})
        assert isinstance(proposal, Proposal)
        state = selector.proposed(state, number, proposal)
    for number in range(19):
        state = tell(selector, state, number, None)
    proposal = selector.propose(state, {})
    assert isinstance(proposal, Proposal)
    state = tell(selector, selector.proposed(state, 20, proposal), 20, None)
    assert isinstance(selector.propose(state, {}), Wait)
    assert isinstance(selector.propose(tell(selector, state, 19, None), {}), Done)
    assert served(selector.select(state, {})) == [("abcdefg",) * 2]


def test_it_keeps_to_the_networks_on_offer_and_to_the_inference_budget() -> None:
    names = LETTERS[:4]
    usual = [Network(tuple(group), 1.0, "usual") for group in ("abcd", "ab", "cd", "ac", "bd", "a", "b", "c", "d")]
    small = [Network((name,), 0.5, "small") for name in names]
    problem = replace(problem_of(4), networks=(*usual, *small), inference_budget=1.5)

    def scores(group: tuple[str, ...]) -> dict[str, float]:
        return blocks(group)

    selector = Auto(stop=None)
    state, asked = search(problem, scores, 13, selector=selector)
    offered = {(network.tasks, network.name) for network in problem.networks}
    assert {(proposal.tasks, proposal.network) for proposal in asked} <= offered
    groups = selector.select(state, {}).groups or ()
    costs = {(network.tasks, network.name): network.cost for network in problem.networks}
    assert sum(costs[tuple(group["tasks"]), group["network"]] for group in groups) <= 1.5
    assert ["a"] in [group["tasks"] for group in groups]  # small and alone, while the consonants need a usual model
    assert list_start(problem)[0] == usual[0]


def test_of_many_groups_a_few_are_weighed_the_best_cover_among_them() -> None:
    problem = problem_of(14, models=3)
    state, _ = search(problem, blocks, 8)
    process = state.learn()
    assert process is not None
    pool = build_pool(problem, process, list(state.means), set(), np.random.default_rng(0))
    assert sum(len(network.tasks) for network in pool) <= 1000
    assert len(set(pool)) == len(pool)
    means = process.predict(list_points(problem, pool))
    assert means.max() > process.predict(list_points(problem, list(state.means))).max() - 1e-9


def test_expectations_are_predicted_for_every_member_of_a_group() -> None:
    selector, problem = Auto(), problem_of(6)
    state, _ = search(problem, blocks, 14, noise=0.005)
    groups: Sequence[tuple[str, ...]] = [("a", "e"), ("a", "b"), ("b", "c", "d")]
    predicted = selector.predict(state, {}, [Proposal(group) for group in groups])
    for group, expected in zip(groups, predicted, strict=True):
        assert expected == pytest.approx(blocks(group), abs=0.04)
    assert selector.predict(selector.start(problem), {}, [Proposal(("a",))]) == [{}]
