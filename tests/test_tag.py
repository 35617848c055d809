"""Groups from one joint run: what is asked of it, which of its tables counts, and who is served by what."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from published_affinity import CELEBA_COSINE, TASKONOMY

from auxtune.selectors.cover import cover
from auxtune.selectors.protocol import Done, Measure, Outcome, Problem, Proposal, TaskInfo
from auxtune.selectors.tag import Tag

TASKS = TASKONOMY.tasks
TURNED = TASKS[::-1]                                   # the joint run may name the tasks in another order


def problem_of(tasks=TASKS, primary=None, models=None):
    return Problem(tuple(TaskInfo(name, "classification", 1000) for name in tasks), primary, seed=6, models=models)


def arrays(**changed):
    table = np.array(TASKONOMY.among(TURNED).values)
    np.fill_diagonal(table, 0.01)
    measured = {
        "tasks": np.array(TURNED),
        "affinity": table,
        "per_rate": table[::-1, ::-1].copy(),
        "cosine": np.full((5, 5), 0.5),
        "train_diagonal": np.full(5, 9.0),
        "probes": np.array(40),
    }
    return {**measured, **changed}


def told(selector, problem, outcome=None):
    """The state after the joint run."""
    state = selector.start(problem)
    asked = selector.propose(state, {})
    assert isinstance(asked, Proposal)
    return selector.told(selector.proposed(state, 3, asked), 3, outcome or Outcome(0.7, evidence={"lookahead": "key"}))


def answer(selector, problem, **changed):
    return selector.select(told(selector, problem), {"key": arrays(**changed)})


def test_all_tasks_are_trained_together_once_and_looked_ahead():
    selector, problem = Tag(probe_every=5, order="first"), problem_of(models=2)
    state = selector.start(problem)
    asked = selector.propose(state, {})
    measure = Measure("lookahead", {"every": 5, "step": "sgd", "order": "first"})
    assert (asked.tasks, asked.measure, asked.seed) == (TASKS, (measure,), 6)
    state = selector.proposed(state, 0, asked)
    assert selector.propose(state, {}) == Done(), "already while it runs, so that a plan knows that it is the only one"
    assert selector.propose(selector.told(state, 0, Outcome(None, why="oom")), {}) == Done()


def test_stages_of_one_study_share_the_joint_run():
    narrowed = replace(problem_of(models=2), seed=99, measured_with=6)
    assert Tag().propose(Tag().start(narrowed), {}) == Tag().propose(Tag().start(problem_of(models=2)), {})


def test_what_is_computed_from_the_run_changes_nothing_in_what_is_asked_of_it():
    state = Tag().start(problem_of(models=2))
    for options in ({"per_rate": True}, {"variant": "cosine"}, {"singletons": True}, {"models": 7}):
        assert Tag(**options).propose(state, {}) == Tag().propose(state, {})
    assert Tag(released=True).propose(state, {}) == Tag(lookahead="optimiser").propose(state, {})


def test_without_a_primary_the_groups_are_the_published_ones():
    selection = answer(Tag(models=1), problem_of(models=3))
    assert selection.kind == "groups"
    assert selection.groups == (
        {"tasks": ["segmentation", "depth"], "serves": ["segmentation", "depth"]},
        {"tasks": ["depth", "normals"], "serves": ["normals"]},
        {"tasks": ["keypoints", "edges"], "serves": ["keypoints", "edges"]},
    )
    assert selection.belief["score"] == pytest.approx(0.348670, abs=1e-6)
    assert selection.belief["proven"] is True
    affinity = selection.belief["affinity"]
    assert (affinity["probes"], affinity["seed"], affinity["diagonal"]) == (40, 6, "held-out")
    assert affinity["recipient_by_source"][0][1] == 0.115374


@pytest.mark.parametrize(
    ("primary", "models", "tasks"),
    [
        ("normals", 3, ("depth", "normals")),
        ("depth", 3, ("segmentation", "depth")),
        ("edges", 2, ("keypoints", "edges")),
        ("normals", 2, ("segmentation", "depth", "normals")),
        ("normals", 1, TASKS),
    ],
)
def test_with_a_primary_the_answer_is_the_group_that_serves_it(primary, models, tasks):
    selection = answer(Tag(models=models), problem_of(primary=primary))
    assert (selection.kind, selection.tasks, selection.weights) == ("mixture", tasks, None)
    assert any(tuple(group["tasks"]) == tasks and primary in group["serves"] for group in selection.belief["groups"])


@pytest.mark.parametrize("options", [{"per_rate": True}, {"released": True}])
def test_per_learning_rate_the_other_table_counts(options):
    found = answer(Tag(**options), problem_of(models=3)).groups
    assert found != answer(Tag(), problem_of(models=3)).groups
    names = dict(zip(TURNED, TASKS, strict=True))      # the table turned round is the same one under other names
    expected = cover(TASKONOMY, 3).groups
    assert {frozenset(g["tasks"]) for g in found} == {frozenset(names[task] for task in g.tasks) for g in expected}


def test_the_cosine_baseline_groups_by_gradient_cosines():
    problem = problem_of(CELEBA_COSINE.tasks, models=3)
    changed = {"tasks": np.array(CELEBA_COSINE.tasks), "cosine": CELEBA_COSINE.values, "affinity": np.eye(9)}
    selection = answer(Tag(variant="cosine"), problem, **changed)
    expected = cover(CELEBA_COSINE, 3)
    assert [tuple(group["tasks"]) for group in selection.groups] == [group.tasks for group in expected.groups]
    with pytest.raises(ValueError, match="singletons must be false with variant: cosine"):
        Tag(variant="cosine", singletons=True)


def test_a_task_may_be_trained_alone_only_if_asked_for_and_only_by_the_held_out_diagonal():
    held_out = arrays()["affinity"]
    held_out[TURNED.index("normals"), TURNED.index("normals")] = 0.5
    banned = answer(Tag(), problem_of(models=3), affinity=held_out)
    allowed = answer(Tag(singletons=True), problem_of(models=3), affinity=held_out)
    assert banned.groups == answer(Tag(), problem_of(models=3)).groups
    assert {"tasks": ["normals"], "serves": ["normals"]} in allowed.groups
    assert all(len(group["tasks"]) > 1 for group in allowed.groups if "normals" not in group["serves"])


@pytest.mark.parametrize("changed", [{"affinity": np.full((5, 5), np.nan), "probes": np.array(0)}, None])
def test_a_run_that_failed_or_was_too_short_for_a_probe_says_nothing(changed):
    for problem, kind, tasks in (
        (problem_of(models=2), "groups", TASKS),
        (problem_of(primary="depth"), "mixture", ("depth",)),
    ):
        outcome = Outcome(None, why="error") if changed is None else None
        selector = Tag()
        selection = selector.select(told(selector, problem, outcome), {"key": arrays(**(changed or {}))})
        trained = selection.tasks or tuple(selection.groups[0]["tasks"])
        assert (selection.kind, trained, selection.belief["affinity"]) == (kind, tasks, None)


def test_one_task_needs_no_run_and_two_share_a_model():
    one = problem_of(["a"], models=2)
    state = Tag().start(one)
    assert Tag().propose(state, {}) == Done() and Tag().fewest(one) == 0
    assert Tag().select(state, {}).groups == ({"tasks": ["a"], "serves": ["a"]},)
    two = problem_of(["a", "b"], models=2)
    pair = {"tasks": np.array(["a", "b"]), "affinity": np.array([[0.1, -0.2], [-0.3, 0.1]])}
    assert answer(Tag(), two, **pair).groups == ({"tasks": ["a", "b"], "serves": ["a", "b"]},)
    assert len(answer(Tag(singletons=True), two, **pair).groups) == 2
    assert Tag().fewest(two) == 1


def test_beyond_twenty_tasks_the_groups_are_clusters_and_said_not_to_be_proven():
    names = [f"t{i}" for i in range(24)]
    table = np.kron(np.eye(3), np.ones((8, 8)))
    selection = answer(Tag(), problem_of(names, models=3), tasks=np.array(names), affinity=table)
    assert [group["serves"] for group in selection.groups] == [names[:8], names[8:16], names[16:]]
    assert selection.belief["proven"] is False
