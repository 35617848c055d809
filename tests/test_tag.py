"""Groups from one joint run: what is asked of it, which of its tables counts, and who is served by what."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from published_affinity import CELEBA_COSINE, TASKONOMY

from auxtune.selectors.kit.cover import cover
from auxtune.selectors.methods.tag import Tag
from auxtune.selectors.protocol import Done, Measure, Outcome, Problem, Proposal, TaskInfo

TASKS = TASKONOMY.tasks
TURNED = TASKS[::-1]  # the joint run may name the tasks in another order


def problem_of(tasks=TASKS, primary=None, models=None):
    return Problem(tuple(TaskInfo(name, "classification", 1000) for name in tasks), primary, seed=6, models=models)


def arrays(**changed):
    table = np.array(TASKONOMY.restrict_to(TURNED).values)
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


@pytest.mark.parametrize(
    ("options", "step", "order"),
    [
        ({}, "sgd", "first"),
        ({"order": "exact"}, "sgd", "exact"),
        ({"lookahead": "optimiser"}, "optimiser", "exact"),
        ({"lookahead": "optimiser", "order": "first"}, "optimiser", "first"),
        ({"released": True}, "optimiser", "exact"),
    ],
)
def test_a_plain_step_is_expanded_to_first_order_and_the_optimiser_s_is_taken(options, step, order):
    asked = Tag(**options).propose(Tag().start(problem_of(models=2)), {})
    assert asked.measure == (Measure("lookahead", {"every": 10, "step": step, "order": order}),)


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


@pytest.mark.parametrize("tasks", [7, 9])
def test_with_a_primary_exactly_what_helps_it_is_trained_with_it(tasks):
    """Random tables: where the groups of all tasks decided, a third of the helpful ones was left out."""
    names = [f"t{i}" for i in range(tasks)]
    for seed in range(60):
        table = np.random.default_rng([tasks, seed]).normal(size=(tasks, tasks))
        primary = names[seed % tasks]
        row = dict(zip(names, table[seed % tasks], strict=True))
        for options in ({}, {"models": 2}, {"models": tasks}, {"per_rate": True}, {"singletons": True}):
            measured = {"tasks": np.array(names), "affinity": table, "per_rate": table}
            selection = answer(Tag(**options), problem_of(names, primary), **measured)
            helpful = tuple(name for name in names if name == primary or row[name] > 0)
            assert (selection.kind, selection.tasks, selection.weights) == ("mixture", helpful, None)
            ranked = sorted((name for name in names if name != primary), key=lambda name: -row[name])
            assert selection.belief["onto_primary"] == {name: row[name] for name in ranked}
            assert list(selection.belief["onto_primary"]) == ranked


def test_where_every_task_harms_the_primary_it_is_alone_and_that_is_said():
    selection = answer(Tag(), problem_of(primary="depth"), affinity=-np.ones((5, 5)))
    assert selection.tasks == ("depth",)
    assert selection.belief["why"] == "no task does anything for depth: the primary alone"


@pytest.mark.parametrize("options", [{"per_rate": True}, {"released": True}])
def test_per_learning_rate_the_other_table_counts(options):
    found = answer(Tag(**options), problem_of(models=3)).groups
    assert found != answer(Tag(), problem_of(models=3)).groups
    names = dict(zip(TURNED, TASKS, strict=True))  # the table turned round is the same one under other names
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


def replicates(signal, count=12, noise=1.0, seed=0):
    """Arrays of a joint run whose probes see ``signal``, (tasks, tasks), through noise as look-aheads have it.

    Of every probe each task has a gradient; a pair's noise is their product, much alike in both directions, and some
    tasks' gradients are several times as long as others'.
    """
    rng = np.random.default_rng([7, seed])
    tasks = len(signal)
    gradients = rng.normal(size=(count, tasks, 30)) * np.linspace(0.5, 2, tasks)[:, None] * noise
    tables = signal + gradients @ gradients.swapaxes(1, 2) / 30
    names = np.array([f"t{i}" for i in range(tasks)])
    return {
        "tasks": names,
        "affinity": tables.mean(axis=0),
        "each_affinity": tables.astype(np.float32),
        "rates": np.full(count, 0.5),
        "per_rate": tables.mean(axis=0) / 0.5,
        "gram": np.tile(np.eye(tasks), (count, 1, 1)),
        "cosine": np.eye(tasks),
        "probes": np.array(count),
    }


NAMES = tuple(f"t{i}" for i in range(6))
BLOCKS = np.kron(np.eye(2), np.ones((3, 3))) - 0.5  # t0 to t2 help each other, t3 to t5 likewise, the others harm


@pytest.mark.parametrize("options", [{}, {"per_rate": True}])
def test_what_probes_agree_on_is_believed_and_what_they_do_not_is_said(options):
    groups = answer(Tag(**options), problem_of(NAMES, models=2), **replicates(BLOCKS))
    assert [group["serves"] for group in groups.groups] == [list(NAMES[:3]), list(NAMES[3:])]
    told = groups.belief["reliability"]
    assert told["shown"] and told["halves"] > 0.8 and told["p"] < 0.01 and told["replicates"] == 12
    assert told["full"] == pytest.approx(2 * told["halves"] / (1 + told["halves"]))
    alone = answer(Tag(**options), problem_of(NAMES, primary="t4"), **replicates(BLOCKS))
    assert alone.tasks == NAMES[3:] and alone.belief["reliability"]["shown"]

    noise = replicates(np.zeros((6, 6)), seed=1)
    groups = answer(Tag(**options), problem_of(NAMES, models=2), **noise)
    assert groups.groups == ({"tasks": list(NAMES), "serves": list(NAMES)},)
    assert not groups.belief["reliability"]["shown"]
    assert groups.belief["why"].startswith("what 12 probes measured is no more than chance explains (p = 0.")
    alone = answer(Tag(**options), problem_of(NAMES, primary="t4"), **noise)
    assert alone.tasks == NAMES and alone.belief["why"].endswith("all tasks")


def test_harm_that_all_probes_agree_on_is_no_noise():
    harmed = np.zeros((6, 6))
    harmed[2] = -1.0
    selection = answer(Tag(), problem_of(NAMES, primary="t2"), **replicates(harmed))
    assert selection.tasks == ("t2",) and selection.belief["reliability"]["shown"]


@pytest.mark.parametrize("primary", [None, "t1"])
@pytest.mark.parametrize("count", [6, 15])
def test_noise_is_believed_no_more_often_than_is_promised(primary, count):
    """One in twenty; of 300, with four standard errors. Noise that is alike in both directions and of many sizes."""
    believed = 0
    problem = problem_of(NAMES, primary=primary, models=None if primary else 2)
    for seed in range(300):
        selection = answer(Tag(), problem, **replicates(np.zeros((6, 6)), count, seed=seed))
        believed += selection.belief["reliability"]["shown"]
    assert believed <= 300 * 0.05 + 4 * (300 * 0.05 * 0.95) ** 0.5


def test_few_probes_show_little_and_one_shows_nothing():
    strong = answer(Tag(), problem_of(NAMES, models=2), **replicates(BLOCKS, count=3, noise=0.1))
    assert strong.belief["reliability"]["shown"] and len(strong.groups) == 2
    one = answer(Tag(), problem_of(NAMES, primary="t0"), **replicates(BLOCKS, count=1, noise=0.1))
    assert one.tasks == NAMES
    assert one.belief["why"] == "1 probe is too few to tell what was measured from chance: all tasks"


def test_evidence_from_before_tables_were_kept_counts_and_its_reliability_is_not_known():
    selection = answer(Tag(), problem_of(models=3))
    assert selection.belief["reliability"] is None and len(selection.groups) == 3
    assert answer(Tag(), problem_of(primary="normals")).belief["reliability"] is None


def test_the_cosines_of_single_probes_are_read_off_their_inner_products():
    lengths = np.linspace(1, 3, 6)
    gram = np.tile((BLOCKS + np.eye(6)) * np.outer(lengths, lengths), (8, 1, 1)).astype(np.float32)
    measured = {**replicates(BLOCKS, count=8), "gram": gram, "cosine": BLOCKS}
    told = answer(Tag(variant="cosine"), problem_of(NAMES, models=2), **measured).belief["reliability"]
    assert told["halves"] == pytest.approx(1.0) and told["p"] == pytest.approx(1 / 128)


def test_two_tasks_can_only_share_or_be_told_apart_by_what_each_does_for_itself():
    two = problem_of(("t0", "t1"), models=2)
    apart = np.array([[1.0, -1.0], [-1.0, 1.0]])
    together = answer(Tag(), two, **replicates(apart, noise=0.1))
    assert len(together.groups) == 1 and together.belief["reliability"] is None and "why" not in together.belief
    alone = answer(Tag(singletons=True), two, **replicates(apart, noise=0.1))
    assert len(alone.groups) == 2 and alone.belief["reliability"]["shown"]
    primary = answer(Tag(), problem_of(("t0", "t1"), primary="t0"), **replicates(-apart, noise=0.1))
    assert primary.tasks == ("t0", "t1") and primary.belief["reliability"]["shown"]
