"""Which tasks agree: copies do, a task and its negation do not, and what was not measured is no agreement."""

from __future__ import annotations

import numpy as np
import pytest

from auxtune.selectors.methods.representation_gradient import RepresentationGradient
from auxtune.selectors.protocol import Done, Measure, Outcome, Problem, Proposal, TaskInfo

RNG = np.random.default_rng(2)
INPUTS = RNG.normal(size=(4, 50, 6))  # four batches of a shared linear model's inputs
TEXTS = RNG.normal(size=(3, 300, 5))  # three layers' hidden states
OTHER_TEXTS = RNG.normal(size=(3, 300, 5))


def logistic_gradients(labels):
    """The gradients of the logistic loss of one linear model at zero weights, (batches, 1, width), for labels ±1."""
    return -0.5 * np.einsum("bn,bnd->bd", labels, INPUTS)[:, None] / labels.shape[1]


LABELS = np.sign(INPUTS[..., 0] + 0.3 * RNG.normal(size=(4, 50)))
UNRELATED = np.sign(RNG.normal(size=(4, 50)))


def run(hidden=TEXTS, labels=LABELS, texts="batch", point="encoder"):
    gradients = logistic_gradients(labels)
    return {
        "hidden_states": {"hidden": hidden, "texts": np.array(texts)},
        "gradients": {
            "projections": gradients,
            "norms": np.linalg.norm(gradients, axis=2),
            "blocks": np.array(["linear"]),
            "point": np.array(point),
        },
    }


def answer(selector, runs, primary=None, models=None):
    """The selection after a run of each task; of a task without arrays it failed."""
    problem = Problem(tuple(TaskInfo(name, "classification", 1000) for name in runs), primary, 1, models)
    state, evidence = selector.start(problem), {}
    for number in range(len(runs)):
        asked = selector.propose(state, evidence)
        assert isinstance(asked, Proposal)
        (task,) = asked.tasks
        keys = {probe: f"{probe} {task}" for probe in runs[task] or ()}
        evidence.update({key: runs[task][probe] for probe, key in keys.items()})
        state = selector.proposed(state, number, asked)
        outcome = Outcome(0.5, evidence=keys) if keys else Outcome(None, why="error")
        state = selector.told(state, number, outcome)
    assert selector.propose(state, evidence) == Done()
    return selector.select(state, evidence)


def served(selection):
    assert all(group["tasks"] == group["serves"] for group in selection.groups)
    return [group["tasks"] for group in selection.groups]


def of_pair(selection, name, i=0, j=1):
    return selection.belief[name]["recipient_by_source"][i][j]


def test_every_task_is_run_alone_the_primary_first_all_at_once():
    selector = RepresentationGradient(batches=3)
    state = selector.start(Problem(tuple(TaskInfo(n, "classification", 9) for n in "abc"), "b", 4))
    for number, task in enumerate("bac"):
        asked = selector.propose(state, {})
        assert (asked.tasks, asked.seed) == ((task,), 4)
        assert asked.measure == (Measure("hidden_states"), Measure("gradients", {"batches": 3}))
        state = selector.proposed(state, number, asked)
    assert selector.propose(state, {}) == Done()


@pytest.mark.parametrize("layers", ["min", "mean"])
@pytest.mark.parametrize("unbiased", [True, False])
def test_copies_of_one_task_share_a_model_under_any_threshold(layers, unbiased):
    selector = RepresentationGradient(representation=0.999, gradient=0.999, layers=layers, unbiased=unbiased)
    assert served(answer(selector, {"a": run(), "copy": run()}, models=2)) == [["a", "copy"]]


def test_a_task_and_its_negation_have_cosine_minus_1_and_never_share():
    runs = {"a": run(), "negated": run(labels=-LABELS)}
    for gradient in (-0.999, 0.0, 0.5):
        selection = answer(RepresentationGradient(gradient=gradient), runs, models=2)
        assert of_pair(selection, "gradient") == pytest.approx(-1.0)
        assert of_pair(selection, "magnitude") == pytest.approx(1.0)
        assert of_pair(selection, "conflict") == 1.0
        assert served(selection) == [["a"], ["negated"]]


def test_tasks_that_represent_texts_differently_in_one_layer_do_not_share():
    hidden = np.array([TEXTS[0], OTHER_TEXTS[1], TEXTS[2]])
    runs = {"a": run(), "b": run(hidden=hidden)}
    selection = answer(RepresentationGradient(), runs, models=2)
    assert served(selection) == [["a"], ["b"]]
    assert abs(of_pair(selection, "representation")) < 0.1
    assert of_pair(selection, "representation_mean") == pytest.approx(2 / 3, abs=0.05)
    assert served(answer(RepresentationGradient(layers="mean"), runs, models=2)) == [["a", "b"]]


def test_a_layer_that_is_the_same_for_all_texts_is_left_out():
    first_token = np.ones((1, 300, 5))
    runs = {name: run(hidden=np.concatenate([first_token, TEXTS])) for name in "ab"}
    selection = answer(RepresentationGradient(), runs, models=2)
    assert served(selection) == [["a", "b"]] and of_pair(selection, "representation") == pytest.approx(1.0)


RUNS = {
    "a": run(),
    "odd": run(labels=-LABELS),
    "b": run(),
    "alien": run(hidden=OTHER_TEXTS),
    "c": run(),
}


def test_in_a_group_every_pair_agrees():
    selection = answer(RepresentationGradient(), RUNS, models=4)
    assert served(selection) == [["a", "b", "c"], ["odd"], ["alien"]]
    assert selection.belief["joined_against_the_rule"] is False


def test_where_models_are_fewer_than_groups_the_nearest_are_joined_and_that_is_said():
    selection = answer(RepresentationGradient(), RUNS, models=2)
    assert served(selection) == [["a", "b", "alien", "c"], ["odd"]]
    assert selection.belief["joined_against_the_rule"] is True


@pytest.mark.parametrize(("primary", "tasks"), [("b", ("a", "b", "c")), ("odd", ("odd",))])
def test_with_a_primary_the_answer_is_who_may_share_with_it(primary, tasks):
    selection = answer(RepresentationGradient(), RUNS, primary)
    assert (selection.kind, selection.tasks) == ("mixture", tasks)
    row = selection.belief["onto_primary"]
    assert set(row) == set(RUNS) - {primary} and {task for task in row if row[task] >= 0} == set(tasks) - {primary}
    assert ("why" in selection.belief) == (primary == "odd")


def test_with_a_primary_who_shares_with_it_need_not_agree_with_each_other():
    """The primary lies between two tasks that are too far apart to be in one group."""
    between = LABELS.copy()
    between[:, :20] = UNRELATED[:, :20]
    runs = {"left": run(labels=LABELS), "middle": run(labels=between), "right": run(labels=2 * between - LABELS)}
    told = answer(RepresentationGradient(), runs, models=3)
    least = 0.98 * min(of_pair(told, "gradient", 1, side) for side in (0, 2))
    selector = RepresentationGradient(gradient=least)
    grouped = answer(selector, runs, models=3)
    assert of_pair(grouped, "gradient", 0, 2) < least and len(grouped.groups) == 2
    assert answer(selector, runs, primary="middle").tasks == ("left", "middle", "right")


@pytest.mark.parametrize(
    "other",
    [None, run(texts="another batch"), run(point="another encoder"), run(hidden=TEXTS[:, :100])],
    ids=["failed", "other texts", "other point", "few texts"],
)
def test_what_cannot_be_compared_does_not_agree(other):
    if other is not None and other["hidden_states"]["hidden"].shape[1] < 300:
        other["hidden_states"]["texts"] = np.array("few")
    runs = {"a": run(), "b": run(), "other": other}
    assert served(answer(RepresentationGradient(), runs, models=3)) == [["a", "b"], ["other"]]
    assert answer(RepresentationGradient(), runs, primary="other").tasks == ("other",)


def test_where_nothing_can_be_compared_the_primary_is_alone_and_without_one_all_are_together():
    few = {name: run(hidden=TEXTS[:, :100]) for name in "abc"}
    assert answer(RepresentationGradient(), few, primary="b").tasks == ("b",)
    assert served(answer(RepresentationGradient(), few, models=2)) == [["a", "b", "c"]]


def test_one_task_needs_no_run():
    selector, problem = RepresentationGradient(), Problem((TaskInfo("a", "classification", 9),), None, 1, 2)
    assert selector.propose(selector.start(problem), {}) == Done()
    assert selector.fewest(problem) == 0
    assert selector.select(selector.start(problem), {}).groups == ({"tasks": ["a"], "serves": ["a"]},)


def test_the_rule_is_said_to_be_ours():
    assert "the rule is ours" in RepresentationGradient.paper
