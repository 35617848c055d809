"""Shares become whole numbers that reproduce them as well as any cycle of that length can."""

from __future__ import annotations

import doctest
import itertools
import math

import numpy as np
import pytest

from auxtune.selectors.kit import mixtures as shares
from auxtune.selectors.kit.mixtures import build_repeat_cap, count_cycle, share_by_cycle, share_by_sampling
from auxtune.selectors.protocol import Problem, TaskInfo

RATIOS = [  # published by AutoSeM's reproduction, primary first
    (1, 5, 5),
    (9, 4, 1),
    (13, 5, 0, 0),
    (2, 5, 4, 0),
]


def weights_of(values):
    return {f"t{i}": float(value) for i, value in enumerate(values)}


def random_weights(count, tasks=(2, 3, 5, 8)):
    rng = np.random.default_rng(0)
    return [weights_of(rng.dirichlet(np.ones(rng.choice(tasks)) * 0.7)) for _ in range(count)]


def misplaced(counts, weights):
    total = sum(weights.values())
    return sum(abs(share_by_cycle(counts)[task] - weights[task] / total) for task in weights) / 2


@pytest.mark.parametrize("ratio", RATIOS)
def test_a_ratio_that_fits_is_executed_exactly(ratio):
    assert tuple(count_cycle(weights_of(ratio), "t0").values()) == ratio


@pytest.mark.parametrize("tasks", [1, 2, 3, 7, 20, 21, 40])
def test_equal_shares_are_one_step_each(tasks):
    weights = {f"t{i}": 1 / tasks for i in range(tasks)}
    assert count_cycle(weights, "t0") == dict.fromkeys(weights, 1)


@pytest.mark.parametrize("factor", [2, 3, 7, 0.1, 1e-6, 1e6])
def test_multiplying_all_weights_keeps_the_cycle(factor):
    for weights in [*map(weights_of, RATIOS), *random_weights(20)]:
        scaled = {task: weight * factor for task, weight in weights.items()}
        assert count_cycle(scaled, "t0") == count_cycle(weights, "t0")


def test_a_common_factor_is_taken_out():
    assert count_cycle({"p": 4, "a": 6}, "p") == {"p": 2, "a": 3}
    for weights in random_weights(50):
        assert math.gcd(*count_cycle(weights, "t0").values()) == 1


def test_asking_for_executed_shares_gives_the_same_cycle():
    for weights in random_weights(100):
        counts = count_cycle(weights, "t0")
        assert count_cycle(share_by_cycle(counts), "t0") == counts


@pytest.mark.parametrize("primary", [None, "t0", "t2"])
def test_no_cycle_within_the_length_comes_nearer(primary):
    longest = 12
    cycles = [
        weights_of(counts) for counts in itertools.product(range(longest + 1), repeat=3) if 0 < sum(counts) <= longest
    ]
    for weights in [*random_weights(20, tasks=(3,)), weights_of((0, 0.5, 0.5)), weights_of((0.001, 0.9, 0.1))]:
        allowed = [counts for counts in cycles if primary is None or counts[primary] >= 1]
        best = min(misplaced(counts, weights) for counts in allowed)
        chosen = count_cycle(weights, primary, longest)
        assert misplaced(chosen, weights) == pytest.approx(best, abs=1e-9)
        nearest = [sum(counts.values()) for counts in allowed if misplaced(counts, weights) < best + 1e-9]
        assert sum(chosen.values()) == min(nearest)


@pytest.mark.parametrize(("tasks", "longest"), [(2, 20), (10, 20), (11, 22), (40, 80)])
def test_a_cycle_is_no_longer_than_twenty_or_two_steps_a_task(tasks, longest):
    weights = weights_of(np.random.default_rng(tasks).dirichlet(np.ones(tasks)))
    counts = count_cycle(weights, "t0")
    assert sum(counts.values()) <= longest
    assert misplaced(counts, weights) <= (tasks / 2 + 1) / longest


def test_the_primary_is_always_trained():
    assert count_cycle({"a": 0.5, "p": 0.0, "b": 0.5}, "p", longest=1) == {"a": 0, "p": 1, "b": 0}
    assert count_cycle({"a": 0.999, "p": 0.001}, "p") == {"a": 19, "p": 1}
    assert count_cycle({"a": 0.999, "p": 0.001}, None) == {"a": 1, "p": 0}


def test_a_tiny_share_may_get_no_step_and_that_is_what_is_executed():
    counts = count_cycle({"p": 0.5, "a": 0.495, "b": 0.005}, "p")
    assert counts == {"p": 1, "a": 1, "b": 0}
    assert share_by_cycle(counts) == {"p": 0.5, "a": 0.5, "b": 0.0}


def test_a_tie_goes_to_the_task_that_comes_first():
    assert count_cycle({"b": 0.5, "a": 0.5}, None, longest=1) == {"b": 1, "a": 0}
    assert count_cycle(dict.fromkeys("dcba", 0.25), None, longest=2) == {"d": 1, "c": 1, "b": 0, "a": 0}


@pytest.mark.parametrize(
    ("weights", "primary", "longest", "message"),
    [
        ({}, None, None, "one of them above 0"),
        ({"a": 0.0}, None, None, "one of them above 0"),
        ({"a": -0.1, "b": 1.1}, None, None, "at least 0"),
        ({"a": math.nan}, None, None, "finite"),
        ({"a": 1.0}, "p", None, "must train the primary 'p', got weights for a"),
        ({"a": 1.0}, "a", 0, "at least 1 step, got 0"),
    ],
)
def test_what_is_no_cycle_is_refused(weights, primary, longest, message):
    with pytest.raises(ValueError, match=message):
        count_cycle(weights, primary, longest)


def test_sampling_rules_by_hand():
    rows = {"a": 900, "b": 100, "unused": 5}
    assert share_by_sampling("equal", rows, ["a", "b"]) == {"a": 0.5, "b": 0.5}
    assert share_by_sampling("proportional", rows, ["b", "a"]) == {"b": 0.1, "a": 0.9}
    assert share_by_sampling("size^0.5", rows, ["a", "b"]) == {"a": 0.75, "b": 0.25}
    assert share_by_sampling("size^0", rows, ["a", "b"]) == share_by_sampling("equal", rows, ["a", "b"])
    assert share_by_sampling("size^1", rows, ["a", "b"]) == share_by_sampling("proportional", rows, ["a", "b"])


@pytest.mark.parametrize("rule", ["sqrt", "size^", "size^x", "size^-1", "size^inf", "size^nan", ""])
def test_an_unknown_sampling_rule_is_refused(rule):
    with pytest.raises(ValueError, match="must be equal, proportional or size"):
        share_by_sampling(rule, {"a": 1}, ["a"])


def test_a_task_without_rows_is_refused():
    with pytest.raises(ValueError, match="got none for b"):
        share_by_sampling("equal", {"a": 1, "b": 0}, ["a", "b"])


def problem_of(rows, **examples):
    infos = tuple(TaskInfo(f"t{i}", "classification", count) for i, count in enumerate(rows))
    return Problem(infos, "t0", **examples)


def test_a_cap_on_repeats_by_hand():
    cap = build_repeat_cap(problem_of((100, 300, 400), examples=1000), 2, min_primary=0.0)
    assert cap.limits == pytest.approx([0.2, 0.6, 0.8])
    asked = np.array([[0.5, 0.3, 0.2], [0.1, 0.9, 0.0], [1.0, 0.0, 0.0], [0.2, 0.5, 0.3]])
    capped = [
        [0.2, 0.48, 0.32],  # what is too much goes to the others as 3 to 2
        [0.2, 0.6, 0.2],  # the primary is filled, and then what was not in the mixture
        [0.2, 0.8 * 6 / 14, 0.8 * 8 / 14],
        [0.2, 0.5, 0.3],  # as asked
    ]
    assert cap.apply(asked) == pytest.approx(np.array(capped))


@pytest.mark.parametrize("tasks", [2, 5, 20])
def test_no_row_is_repeated_more_often_than_the_cap_says(tasks):
    rng = np.random.default_rng(tasks)
    for _ in range(20):
        rows = rng.integers(50, 5000, tasks)
        examples = int(rows.sum() * rng.uniform(0.5, 4))
        cap = build_repeat_cap(problem_of(rows, examples=examples), 4.5, min_primary=0.0)
        asked = rng.dirichlet(np.full(tasks, 0.3), 50)
        capped = cap.apply(asked)
        assert capped.sum(axis=1) == pytest.approx(np.ones(50))
        assert (capped >= 0).all() and (capped * examples / rows).max() <= 4.5 + 1e-9
        fits = (asked <= cap.limits).all(axis=1)
        assert capped[fits] == pytest.approx(asked[fits])
        assert cap.apply(capped) == pytest.approx(capped)


def test_a_cap_leaves_the_primary_its_floor_and_leaves_out_what_is_hardly_trained():
    cap = build_repeat_cap(problem_of((10, 9, 5000), examples=1000), 2, min_primary=0.1)
    assert cap.limits == pytest.approx([0.1, 0.0, 1.0])


def test_beside_a_primary_that_is_always_seen_as_often_the_cap_is_a_multiple_of_its_share():
    cap = build_repeat_cap(problem_of((100, 300, 50), primary_examples=400), 2, min_primary=0.0)
    asked = np.array([[0.2, 0.6, 0.2], [0.8, 0.1, 0.1], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    capped = cap.apply(asked)
    steps = 400 / capped[:, :1]  # of trainings in which the primary has 400 examples
    assert capped.sum(axis=1) == pytest.approx(np.ones(4))
    assert (capped * steps <= np.array([400, 600, 100]) + 1e-9).all()
    assert capped[0] == pytest.approx(np.array([4, 6, 1]) / 11)
    assert capped[1:3] == pytest.approx(asked[1:3])


def test_a_cap_that_cannot_be_kept_is_refused():
    with pytest.raises(ValueError, match="needs to know how long trainings are, and nothing is trained here"):
        build_repeat_cap(problem_of((100, 100)), 2, min_primary=0.1)
    with pytest.raises(ValueError, match="all 200 training rows fill only 40% with max_epochs 2; raise it"):
        build_repeat_cap(problem_of((100, 100), examples=1000), 2, min_primary=0.1)


def test_examples_in_docstrings_hold():
    result = doctest.testmod(shares)
    assert result.attempted == 2
    assert result.failed == 0
