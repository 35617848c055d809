"""Groups from estimated trainings: planted blocks come back, noise is not believed, and what is asked of the run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from auxtune.selectors.extensions import Predicts
from auxtune.selectors.kit.affinity import count_independent, draw_subsets
from auxtune.selectors.kit.linearised import build_linearised
from auxtune.selectors.methods.grad_tag import GradTag, measure_skill
from auxtune.selectors.protocol import Done, Kept, Measure, Outcome, Problem, Proposal, TaskInfo

TASKS = ("a", "b", "c", "d", "e", "f")
BLOCKS = (("a", "c", "e"), ("b", "d", "f"))


def problem_of(tasks=TASKS, primary=None, models=None):
    return Problem(tuple(TaskInfo(name, "classification", 1000) for name in tasks), primary, seed=6, models=models)


def arrays(tasks=TASKS, strength=1.0, rows=60, seed=0, blocks=BLOCKS):
    """Rows whose classes one direction per block tells apart, the other way round for the tasks of other blocks."""
    rng = np.random.default_rng(seed)
    found = {"tasks": np.array(tasks), "kinds": np.array(["classification"] * len(tasks))}
    for part in ("train", "probe"):
        gradients = rng.normal(size=(len(tasks) * rows, 20)).astype(np.float32)
        for place, task in enumerate(tasks):
            own = gradients[place * rows : (place + 1) * rows]
            for number, block in enumerate(blocks):
                own[:, number] += strength * (1 if task in block else -1)
        found |= {
            f"{part}_gradients": gradients,
            f"{part}_margins": rng.normal(size=len(gradients)).astype(np.float32),
            f"{part}_task": np.repeat(np.arange(len(tasks)), rows),
        }
    return found


def told(selector, problem, outcome=None):
    """The state after the joint run."""
    state = selector.start(problem)
    asked = selector.propose(state, {})
    assert isinstance(asked, Proposal)
    key = Outcome(0.7, evidence={"output_gradients": "key"})
    return selector.told(selector.proposed(state, 3, asked), 3, outcome or key)


def answer(selector, problem, **changed):
    return selector.select(told(selector, problem), {"key": arrays(problem.names, **changed)})


def test_all_tasks_are_trained_together_once_and_measured():
    selector, problem = GradTag(rows=50, projection=30), problem_of(models=2)
    state = selector.start(problem)
    asked = selector.propose(state, {})
    measure = Measure("output_gradients", {"rows": 50, "size": 30})
    assert (asked.tasks, asked.measure, asked.seed) == (TASKS, (measure,), 6)
    state = selector.proposed(state, 0, asked)
    assert selector.propose(state, {}) == Done(), "already while it runs, so that a plan knows that it is the only one"
    assert selector.propose(selector.told(state, 0, Outcome(None, why="oom")), {}) == Done()
    narrowed = replace(problem, seed=99, measured_with=6)
    for other in (GradTag(rows=50, projection=30, subsets=7), GradTag(rows=50, projection=30, finaliser="cover")):
        assert other.propose(other.start(narrowed), {}) == asked, "runs are shared by stages and by what reads them"


@pytest.mark.parametrize("finaliser", ["clusters", "cover"])
def test_planted_blocks_come_back(finaliser):
    selection = answer(GradTag(finaliser=finaliser), problem_of(models=2))
    assert [group["tasks"] for group in selection.groups] == [list(block) for block in BLOCKS]
    assert [group["serves"] for group in selection.groups] == [list(block) for block in BLOCKS]
    table = np.array(selection.belief["affinity"]["recipient_by_source"])
    for place, task in enumerate(TASKS):
        kin = [TASKS.index(other) for block in BLOCKS if task in block for other in block if other != task]
        strange = [TASKS.index(other) for block in BLOCKS if task not in block for other in block]
        assert table[place, kin].min() > 0 > table[place, strange].max()
    assert selection.belief["skill"]["lower"] > 0.3 and selection.belief["estimate"] > 0.05
    assert selection.belief["subsets"] == selection.belief["affinity"]["subsets"] == 20


def test_three_blocks_among_sixteen_tasks_from_random_subsets():
    tasks = [f"t{i}" for i in range(16)]
    blocks = (tasks[:6], tasks[6:11], tasks[11:])
    selection = answer(GradTag(subsets=120), problem_of(tasks, models=3), blocks=blocks)
    assert [group["serves"] for group in selection.groups] == [list(block) for block in blocks]


def test_the_tasks_of_the_run_may_be_named_in_another_order():
    problem = problem_of(models=2)
    selection = GradTag().select(told(GradTag(), problem), {"key": arrays(TASKS[::-1])})
    assert {frozenset(group["tasks"]) for group in selection.groups} == {frozenset(block) for block in BLOCKS}
    assert selection.belief["affinity"]["tasks"] == list(TASKS)


@pytest.mark.parametrize("primary", TASKS)
def test_with_a_primary_it_is_trained_with_what_is_not_estimated_to_harm_it(primary):
    for options in ({}, {"models": 1}, {"models": 6}, {"finaliser": "cover"}):
        selection = answer(GradTag(**options), problem_of(primary=primary), rows=200)
        kin = next(block for block in BLOCKS if primary in block)
        assert (selection.kind, selection.weights) == ("mixture", None)
        assert selection.tasks == tuple(task for task in TASKS if task in kin), "whatever the others need"
        model = build_linearised(arrays(rows=200), GradTag().regularisation)
        told = {each["with"]: each["loss"] for each in selection.belief["estimates"]}
        ranked = [primary, *selection.belief["onto_primary"]]
        for kept, loss in told.items():
            fit = model.estimate_losses(dict.fromkeys(ranked[: kept + 1], 1.0))
            assert loss == pytest.approx(fit[TASKS.index(primary)])
        assert set(told) == set(range(6)) and max(told[0], told[1], told[2]) < told[3] < told[4] < told[5]


def test_a_primary_that_nothing_helps_is_alone():
    """Every other task pulls against it."""
    selection = answer(GradTag(), problem_of(primary="a"), rows=200, blocks=(("a",), TASKS[1:]))
    assert selection.tasks == ("a",) and selection.belief["why"].endswith("harm a: the primary alone")


def test_fewer_clusters_than_may_be_served_where_they_are_estimated_better():
    alike = (TASKS, ())
    selection = answer(GradTag(), problem_of(models=6), blocks=(TASKS[:3], TASKS[3:]))
    assert 2 <= len(selection.groups) < 6
    noisy = answer(GradTag(), problem_of(models=2), blocks=alike, strength=0.0)
    assert len(noisy.groups) == 1


def test_noise_is_not_believed_and_then_all_tasks_share_a_model():
    believed = 0
    for seed in range(40):
        selection = answer(GradTag(), problem_of(models=2), strength=0.0, seed=seed)
        if "why" in selection.belief:
            assert selection.groups == ({"tasks": list(TASKS), "serves": list(TASKS)},)
            assert selection.belief["skill"]["lower"] <= 0
            assert selection.belief["why"] == "the halves of the rows do not agree: one model"
        else:
            believed += 1
    assert believed <= 6, "one in twenty is promised"
    assert answer(GradTag(), problem_of(primary="b"), strength=0.0).tasks == TASKS


@pytest.mark.parametrize("failed", [True, False])
def test_before_anything_is_known_the_primary_alone_or_all_in_one(failed):
    for problem, tasks in ((problem_of(models=2), TASKS), (problem_of(primary="d"), ("d",))):
        selector = GradTag()
        state = told(selector, problem, Outcome(None, why="error")) if failed else selector.start(problem)
        selection = selector.select(state, {})
        assert (selection.tasks or tuple(selection.groups[0]["tasks"])) == tasks
        assert selection.belief["affinity"] is None


def test_few_tasks():
    one = problem_of(["a"], models=2)
    assert GradTag().propose(GradTag().start(one), {}) == Done() and GradTag().fewest(one) == 0
    two = answer(GradTag(), problem_of(["a", "b"], models=2))
    assert two.groups == ({"tasks": ["a", "b"], "serves": ["a", "b"]},)
    ordered = (("a", "c"), ("a", "c"), ("b", "c"))  # a and c are most alike, a and b least
    three = answer(GradTag(), problem_of(["a", "b", "c"], models=2), rows=200, blocks=ordered)
    assert [group["tasks"] for group in three.groups] == [["a", "c"], ["b"]]
    assert GradTag().fewest(problem_of(["a", "b", "c"])) == 1


def test_a_row_each_says_nothing_of_agreement():
    selection = answer(GradTag(), problem_of(models=2), rows=1)
    assert selection.belief["skill"] == {"spearman": None, "lower": None} and len(selection.groups) == 1


def test_predictions_are_minus_the_losses_of_the_fits():
    selector, problem = GradTag(regularisation=0.3), problem_of(models=2)
    state, evidence = told(selector, problem), {"key": arrays()}
    assert isinstance(selector, Predicts)
    asked = [Proposal(("a", "c")), Proposal(("a", "b")), Proposal(("a", "b"), weights={"a": 0.9, "b": 0.1})]
    alike, apart, mostly = selector.predict(state, evidence, asked)
    losses = build_linearised(evidence["key"], 0.3).estimate_losses({"a": 1.0, "c": 1.0})
    assert alike == {"a": -losses[0], "c": -losses[2]}
    assert alike["a"] > mostly["a"] > apart["a"] and apart["b"] > mostly["b"]
    primary = told(selector, problem_of(primary="a"))
    assert selector.predict(primary, evidence, asked[:1]) == [{"a": alike["a"]}]


def test_nothing_is_predicted_of_what_the_run_says_nothing_of():
    selector, problem = GradTag(), problem_of(models=2)
    state, evidence = told(selector, problem), {"key": arrays()}
    kept = {"a": Kept({"statistic": "tau"}, 100, 50, "digest")}
    for strange in (
        Proposal(("a", "new")),
        Proposal(("a",), trains=False),
        Proposal(("a",), shuffled=3),
        Proposal(("a", "b"), rows=kept),
    ):
        assert selector.predict(state, evidence, [strange]) == [{}]
    assert selector.predict(selector.start(problem), {}, [Proposal(("a",))]) == [{}]


def test_the_skill_of_many_tasks_counts_only_numbers_that_their_subsets_make_independent():
    """Of every subset of a size all are; 200 of five of 20 tasks are worth half of the 360, 63 of 12 as little."""

    def worth(tasks, size, count):
        return count_independent(draw_subsets(tasks, size, count, np.random.default_rng(0)))

    assert worth(5, 3, 200) == pytest.approx(15) and worth(8, 3, 200) == pytest.approx(48)
    assert worth(20, 5, 200) == pytest.approx(174, abs=8)
    assert worth(12, 3, 63) == pytest.approx(62, abs=5)
    assert worth(20, 5, 200) < worth(20, 5, 475) < worth(20, 5, 2000) < 360


@pytest.mark.slow
def test_noise_in_20_tasks_shows_no_skill_more_often_than_is_promised():
    """One in twenty; of 100, with three standard errors. Counting all 360 numbers twelve of 100 were believed."""
    tasks, believed = [f"t{i}" for i in range(20)], 0
    for seed in range(100):
        model = build_linearised(arrays(tasks, strength=0.0, rows=20, seed=1000 + seed, blocks=((), ())), 0.001)
        masks = draw_subsets(20, 5, 200, np.random.default_rng([seed, 1]))
        believed += measure_skill(model, masks)["lower"] > 0
    assert believed <= 11
