"""Controls: fixed mixtures that look at nothing, and random subsets, of which the best counts."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest

from auxtune.selectors.kit.mixtures import share_by_sampling
from auxtune.selectors.methods.controls import AllTasks, RandomSubset, SingleTask, SizeProportional, SizeSqrt
from auxtune.selectors.protocol import Done, Outcome, Problem, Proposal, TaskInfo
from auxtune.selectors.testing.benchmark import SyntheticBenchmark
from auxtune.selectors.testing.study import execute_proposal, simulate_study

ROWS = {"p": 100, "a": 300, "b": 500, "c": 100}
SQRT = {"p": 100**0.5, "a": 300**0.5, "b": 500**0.5, "c": 100**0.5}
FIXED = [
    (SingleTask(), {"p": 1.0}, True),
    (AllTasks(), {"p": 0.25, "a": 0.25, "b": 0.25, "c": 0.25}, True),
    (SizeProportional(), {"p": 0.1, "a": 0.3, "b": 0.5, "c": 0.1}, False),
    (SizeSqrt(), {name: root / sum(SQRT.values()) for name, root in SQRT.items()}, False),
]


def problem_of(rows=ROWS, primary="p", seed=0):
    return Problem(tuple(TaskInfo(name, "classification", n) for name, n in rows.items()), primary, seed)


def draws(selector, problem, **story):
    return [proposal.tasks for proposal in simulate_study(selector, problem, SyntheticBenchmark({}), **story).proposals]


@pytest.mark.parametrize(("control", "shares", "cycle"), FIXED)
def test_a_fixed_mixture_is_trained_once_and_answers_without_it(control, shares, cycle):
    problem = problem_of()
    state = control.start(problem)
    before = control.select(state, {})
    assert (dict(before.weights), before.tasks, before.cycle) == (shares, tuple(shares), cycle)
    asked = control.propose(state, {})
    assert (dict(asked.weights), asked.tasks, asked.cycle) == (shares, tuple(shares), cycle)
    state = control.proposed(state, 4, asked)
    assert control.propose(state, {}) == Done()
    state = control.told(state, 4, Outcome(None, why="error"))
    assert control.select(state, {}) == before
    assert control.fewest(problem) == 0


@pytest.mark.parametrize("control", [*(control for control, _, _ in FIXED), RandomSubset()])
def test_a_control_needs_a_primary(control):
    with pytest.raises(ValueError, match="needs a primary task, got none"):
        control.start(problem_of(primary=None))


def test_random_subsets_are_all_distinct_and_then_exhausted():
    asked = draws(RandomSubset(), problem_of(seed=3))
    subsets = [{"p", *chosen} for size in (1, 2, 3) for chosen in itertools.combinations(("a", "b", "c"), size)]
    assert len(asked) == len(subsets)
    assert all(subset in [set(tasks) for tasks in asked] for subset in subsets)


def test_random_subsets_of_a_given_size_have_it():
    asked = draws(RandomSubset(size=2), problem_of())
    assert {frozenset(tasks) for tasks in asked} == {frozenset("pab"), frozenset("pac"), frozenset("pbc")}


def test_random_subsets_stop_at_the_given_number_of_trials():
    assert len(draws(RandomSubset(trials=4), problem_of())) == 4


def test_sizes_are_drawn_uniformly_and_subsets_uniformly_within():
    seeds = 3000
    first = [RandomSubset().propose(RandomSubset().start(problem_of(seed=seed)), {}).tasks for seed in range(seeds)]
    for event, chance in (
        (lambda tasks: len(tasks) == 2, 1 / 3),
        (lambda tasks: len(tasks) == 3, 1 / 3),
        (lambda tasks: set(tasks) == {"p", "a"}, 1 / 9),
        (lambda tasks: set(tasks) == {"p", "a", "c"}, 1 / 9),
    ):
        found = sum(map(event, first)) / seeds
        assert abs(found - chance) < 4 * math.sqrt(chance * (1 - chance) / seeds)


def test_trials_train_from_different_seeds_that_follow_from_the_study():
    def seeds(study):
        story = simulate_study(RandomSubset(), problem_of(seed=study), SyntheticBenchmark({}))
        return [proposal.seed for proposal in story.proposals]

    assert len(set(seeds(1))) == 7
    assert seeds(1) == seeds(1)
    assert not set(seeds(1)) & set(seeds(2))


def told_scores(scores, order):
    """The selector's answer after trials 10, 11, … with ``scores`` were told in ``order``."""
    selector, problem = RandomSubset(), problem_of()
    state, asked = selector.start(problem), []
    for number in range(len(scores)):
        asked.append(selector.propose(state, {}))
        state = selector.proposed(state, 10 + number, asked[-1])
    for number in order:
        state = selector.told(state, 10 + number, Outcome(scores[number]))
    return [proposal.tasks for proposal in asked], selector.select(state, {})


def test_the_best_score_is_chosen_and_a_failure_never():
    asked, selection = told_scores([0.2, None, 0.7, 0.5], [3, 1, 0, 2])
    assert selection.tasks == asked[2]
    assert selection.weights is None
    assert selection.belief == {"best_score": 0.7}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_the_earliest_of_equal_scores_is_chosen_however_late_it_is_told(order):
    asked, selection = told_scores([-0.3, -0.1, -0.1], order)
    assert selection.tasks == asked[1]


def test_without_success_the_primary_stands_alone():
    _, selection = told_scores([None, None], [0, 1])
    assert selection.tasks == ("p",)
    assert selection.belief == {"best_score": None}


def test_a_draw_counts_as_drawn_though_a_task_of_it_gets_no_step():
    rows = {"p": 1000, "a": 1000, "tiny": 1}
    selector, problem = RandomSubset(), problem_of(rows)
    state, drawn, trained = selector.start(problem), [], []
    while isinstance(asked := selector.propose(state, {}), Proposal):
        run = execute_proposal(problem, replace(asked, weights=share_by_sampling("proportional", rows, asked.tasks)))
        drawn.append(asked.tasks)
        trained.append(run.tasks)
        state = selector.proposed(state, len(drawn), run)
    assert sorted(drawn) == [("p", "a"), ("p", "a", "tiny"), ("p", "tiny")]
    assert sorted(trained) == [("p",), ("p", "a"), ("p", "a")]


def test_more_auxiliaries_than_there_are_is_refused():
    with pytest.raises(ValueError, match=r"selector\.size must be at most 3, the auxiliaries, got 4"):
        RandomSubset(size=4).start(problem_of())


def test_without_auxiliaries_there_is_nothing_to_draw():
    problem = problem_of({"p": 100})
    assert draws(RandomSubset(), problem) == []
    assert RandomSubset().fewest(problem) == 0
    assert RandomSubset().fewest(problem_of()) == 1


def test_the_best_subset_of_a_noiseless_world_is_found_by_trying_all():
    world = SyntheticBenchmark({"a": 0.1, "b": -0.2, "c": 0.05})
    story = simulate_study(RandomSubset(), problem_of(), world)
    assert set(story.steps[-1].selection.tasks) == {"p", "a", "c"}
