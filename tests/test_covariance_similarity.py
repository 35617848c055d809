"""Covariance similarity: which runs it asks for, what it keeps, and what it makes of runs that failed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from auxtune.selectors.kit.similarity import compute_cosine, compute_similarity, subtract_mean
from auxtune.selectors.methods.covariance_similarity import CovarianceSimilarity
from auxtune.selectors.protocol import Done, Measure, Outcome, Problem, Proposal, TaskInfo

NAMES = ("a", "p", "b", "c")
# Rows along one direction each, at some angle (degrees) from the primary's: the score is the angle's cosine.
ANGLES = {"p": 0.0, "a": 60.0, "b": 10.0, "c": 45.0}


def problem_of(names=NAMES, primary="p", seed=4):
    return Problem(tuple(TaskInfo(name, "classification", 100) for name in names), primary, seed)


def arrays_of(task):
    angle = np.radians(ANGLES[task])
    direction = np.array([np.cos(angle), np.sin(angle)])
    return {"covariance": np.outer(direction, direction), "mean": np.zeros(2), "rows": np.array(10)}


def driven(selector, failed=(), problem=None):
    """What the selector asked for, its state after that, and the evidence."""
    problem = problem or problem_of()
    state, asked, evidence = selector.start(problem), [], {}
    while isinstance(proposal := selector.propose(state, evidence), Proposal):
        state = selector.proposed(state, len(asked), proposal)
        asked.append(proposal)
    for number, proposal in enumerate(asked):
        (task,) = proposal.tasks
        outcome = Outcome(None, why="error") if task in failed else Outcome(0.5, evidence={"covariance": f"key {task}"})
        evidence[f"key {task}"] = arrays_of(task)
        state = selector.told(state, number, outcome)
    return asked, state, evidence


def answer(selector, **how):
    _, state, evidence = driven(selector, **how)
    return selector.select(state, evidence)


def test_it_asks_for_each_task_alone_all_at_once_with_the_studys_seed():
    asked, state, evidence = driven(CovarianceSimilarity())
    assert [proposal.tasks for proposal in asked] == [("p",), ("a",), ("b",), ("c",)]
    assert {proposal.seed for proposal in asked} == {4}
    assert all(p.measure == (Measure("covariance", {"at": "embeddings"}),) and p.trains for p in asked)
    assert CovarianceSimilarity().propose(state, evidence) == Done()
    assert CovarianceSimilarity().fewest(problem_of()) == 4
    assert CovarianceSimilarity().fewest(problem_of(("p",))) == 0


def test_the_encoder_as_it_came_can_be_measured_elsewhere_too():
    asked, _, _ = driven(CovarianceSimilarity(trained=False, at="representation"))
    assert all(p.measure == (Measure("covariance", {"at": "representation"}),) and not p.trains for p in asked)


def test_the_most_similar_are_kept_and_the_scores_are_told():
    selection = answer(CovarianceSimilarity())
    assert selection.tasks == ("p", "b", "c") and selection.weights is None
    found = selection.belief["similarity"]
    assert list(found) == ["b", "c", "a"]
    assert found == pytest.approx({task: np.cos(np.radians(ANGLES[task])) for task in found}, abs=1e-9)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"keep": 1}, "b"),
        ({"keep": None}, "abc"),
        ({"keep": None, "threshold": 0.6}, "bc"),
        ({"threshold": 0.9}, "b"),
        ({"keep": 1, "threshold": 0.6}, "b"),
        ({"threshold": 1.0}, ""),
    ],
)
def test_a_number_and_a_threshold_limit_what_is_kept(options, kept):
    assert set(answer(CovarianceSimilarity(**options)).tasks) == {"p", *kept}


def test_each_option_of_the_score_is_used():
    rng = np.random.default_rng(0)
    moments = {}
    for task in NAMES:
        x = rng.normal(size=(30, 3)) * [3, 1, 0.5] + rng.normal(size=3)
        moments[task] = {"covariance": x.T @ x / 30, "mean": x.mean(axis=0)}
    for score, compare in (("paper", compute_similarity), ("normalised", compute_cosine)):
        for about in (False, True):
            selector = CovarianceSimilarity(score=score, centred=about)
            state = driven(selector)[1]
            found = selector.select(state, {f"key {task}": moments[task] for task in NAMES}).belief["similarity"]
            made = {t: subtract_mean(**_named(held)) if about else held["covariance"] for t, held in moments.items()}
            assert found == pytest.approx({task: compare(made["p"], made[task]) for task in "abc"}, abs=1e-12)


def _named(held):
    return {"moment": held["covariance"], "mean": held["mean"]}


def test_a_task_whose_run_failed_is_not_kept():
    selection = answer(CovarianceSimilarity(keep=None), failed=("b",))
    assert selection.tasks == ("a", "p", "c")
    assert "b" not in selection.belief["similarity"]


def test_without_the_primarys_own_run_it_stands_alone():
    assert answer(CovarianceSimilarity(), failed=("p",)).tasks == ("p",)
    selector = CovarianceSimilarity()
    assert selector.select(selector.start(problem_of()), {}).tasks == ("p",)


def test_a_primary_is_needed():
    with pytest.raises(ValueError, match="needs a primary task, got none"):
        CovarianceSimilarity().start(replace(problem_of(), primary=None))
