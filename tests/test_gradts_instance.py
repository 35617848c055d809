"""GradTS with instances: the rows of what was chosen, in a simulated world; and all three forms in it."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest

from auxtune.selectors import registry
from auxtune.selectors.kit.kept_rows import find_kept_rows
from auxtune.selectors.kit.pipeline import Pipeline
from auxtune.selectors.methods.controls import RandomSubset
from auxtune.selectors.methods.gradts_instance import GradTSInstance
from auxtune.selectors.methods.gradts_threshold import GradTSThreshold
from auxtune.selectors.methods.gradts_trial import GradTSTrial
from auxtune.selectors.protocol import Done, Outcome, Problem, Proposal, Selection, Selector, TaskInfo
from auxtune.selectors.testing.benchmark import SyntheticBenchmark
from auxtune.selectors.testing.contract import SelectorContract
from auxtune.selectors.testing.study import simulate_study
from auxtune.trials.probes.probe import complete_options

EFFECTS = {"helps": 0.05, "too": 0.04, "not": -0.05}
NAMES = ("not", "target", "helps", "too")


def story_of(selector: Selector, world: SyntheticBenchmark | None = None) -> tuple[Selection, Any]:
    tasks = tuple(TaskInfo(name, "classification", 400) for name in NAMES)
    story = simulate_study(selector, Problem(tasks, "target", 8), world or SyntheticBenchmark(EFFECTS), trials=60)
    assert isinstance(story.steps[-1].reply, Done)
    return story.steps[-1].selection, story


def test_a_threshold_of_minus_1_is_gradts_trial_and_one_above_1_the_primary_alone() -> None:
    chosen, _ = story_of(GradTSTrial())
    assert chosen.tasks == ("target", "helps", "too")
    everything, story = story_of(GradTSInstance(threshold=-1))
    assert replace(everything, belief={}) == replace(chosen, belief={})
    assert story.proposals[-1].stage == "instances.rows" and story.proposals[-1].rows == {}
    nothing, story = story_of(GradTSInstance(threshold=1.01))
    assert (nothing.tasks, nothing.instances) == (("target",), None)
    assert story.proposals[-1].tasks == ("target",)


def test_rows_of_the_auxiliaries_are_kept_and_all_of_the_primary() -> None:
    answer, story = story_of(GradTSInstance(threshold=0.42))
    assert answer.tasks == ("target", "helps", "too")
    assert answer.instances is not None and set(answer.instances) == {"helps", "too"}
    for task, kept in answer.instances.items():
        numbers = find_kept_rows(kept.rule, story.evidence)
        assert 0 < len(numbers) == kept.kept < kept.rows == 400
        assert task in kept.rule["instances"] and "target" in kept.rule["profile"]
    assert story.proposals[-1].rows == answer.instances
    assert answer.belief["instances"]["cuts"][0]["kept"]["helps"]["rows"] == 400


def test_of_several_thresholds_the_best_score_wins_and_their_rows_are_nested() -> None:
    thresholds = [-1.0, 0.2, 0.42, 0.6, 1.5, 2.0]
    answer, story = story_of(GradTSInstance(threshold=thresholds), SyntheticBenchmark(EFFECTS, noise=0.01))
    cuts = answer.belief["instances"]["cuts"]
    assert [cut["threshold"] for cut in cuts] == thresholds[:5], "2.0 keeps the rows of 1.5: none"
    kept = [cut["kept"]["helps"]["kept"] for cut in cuts]
    assert kept == sorted(kept, reverse=True) and kept[0] == 400 and kept[-1] == 0 and len(set(kept)) == 5
    best = max(cuts, key=lambda cut: cut["score"])
    assert answer.belief["instances"]["threshold"] == best["threshold"]
    rules = [proposal.rows["helps"].rule for proposal in story.proposals if proposal.rows]
    sets = [set(find_kept_rows(rule, story.evidence).tolist()) for rule in rules]
    assert len(sets) == 3 and all(higher < lower for lower, higher in itertools.pairwise(sets))


def test_the_rows_are_measured_on_the_runs_that_ranked_the_tasks() -> None:
    _, story = story_of(GradTSInstance())
    runs = [proposal for proposal in story.proposals if proposal.measure]
    ranked, measured = runs[:4], runs[4:]
    assert [run.stage for run in measured] == ["instances.single"] * 3
    assert len({run.seed for run in runs}) == 1
    assert all(run.measure[0] in other.measure for run in ranked for other in measured)
    assert {run.tasks[0]: [one.probe for one in run.measure] for run in measured} == {
        "target": ["head_importance"],
        "helps": ["head_importance", "instance_importance"],
        "too": ["head_importance", "instance_importance"],
    }


def test_every_stage_of_a_pipeline_measures_with_the_seed_of_the_first() -> None:
    chain = Pipeline((("few", RandomSubset(trials=1, size=3)), ("alike", GradTSThreshold(threshold=-1))))
    nested = Pipeline((("chain", chain), ("rows", GradTSInstance())))
    for selector in (chain, nested):
        _, story = story_of(selector)
        runs = [proposal for proposal in story.proposals if proposal.measure]
        assert len(runs) >= 4 and {run.seed for run in runs} == {8}


def test_an_auxiliary_whose_rows_could_not_be_measured_keeps_all() -> None:
    selector = GradTSInstance(threshold=1.01).stages[1][1]
    problem = Problem(tuple(TaskInfo(name, "classification", 400) for name in ("p", "a", "b")), "p", 8)
    world, state = SyntheticBenchmark({}), selector.start(problem)
    evidence: dict[str, Any] = {}
    for number in range(3):
        asked = selector.propose(state, {})
        assert isinstance(asked, Proposal)
        evidence.update(world.evidence(problem, asked))
        failed = Outcome(None, why="error")
        outcome = failed if asked.tasks == ("a",) else world.train(problem, number, asked)
        state = selector.told(selector.proposed(state, number, asked), number, outcome)
    cut = selector.propose(state, evidence)
    assert isinstance(cut, Proposal) and (cut.tasks, dict(cut.rows)) == (("p", "a"), {})
    state = selector.proposed(state, 3, cut)
    before = selector.select(state, evidence)
    assert before.tasks == ("p", "a", "b") and before.belief["why"] == "no cut of the rows gave a score: all rows"
    assert selector.select(selector.told(state, 3, failed), evidence).tasks == ("p", "a", "b")
    assert selector.select(selector.told(state, 3, Outcome(0.5)), evidence).tasks == ("p", "a")


@pytest.mark.parametrize("value", [[], ["0.4"], [0.4, None], "0.4", -1.5, [-1.5]])
def test_thresholds_that_are_no_numbers_are_refused(value: Any) -> None:
    expected = "selector.threshold must be a number of at least -1 or a list of at least one, each a number"
    with pytest.raises(ValueError, match=expected):
        registry.make("gradts_instance", {"threshold": value})


@pytest.mark.parametrize("name", ["gradts_threshold", "gradts_trial", "gradts_instance"])
def test_released_measures_key_and_value_weights_and_normalises_by_the_sum(name: str) -> None:
    for released, form, norm in ((False, "mask", "l2"), (True, "key_value", "sum")):
        options = {"released": released} | ({"threshold": 0.3} if name == "gradts_instance" else {})
        answer, story = story_of(registry.make(name, options))
        measures = [one for proposal in story.proposals for one in proposal.measure]
        assert {one.options["form"] for one in measures} == {form}
        for one in measures:  # what study files ask for is what the probes know
            rows = {"split": "train"} if one.probe == "head_importance" else {}
            assert not released or one.options == {"form": form, **rows}
            assert complete_options(one.probe, one.options).items() >= one.options.items()
        assert {kept.rule["rows_norm"] for kept in (answer.instances or {}).values()} <= {norm}
        assert bool(answer.instances) == (name == "gradts_instance")


GOLDEN = [
    ("gradts_threshold", {}, 12, ("target", "helps", "too"), 0.27922),
    ("gradts_threshold", {"released": True}, 12, ("target", "helps", "too"), 0.34753),
    ("gradts_trial", {}, 7, ("target", "helps", "too"), None),
    ("gradts_instance", {}, 11, ("target", "helps", "too"), 0.42),
]


@pytest.mark.parametrize(("name", "options", "trials", "tasks", "threshold"), GOLDEN)
def test_golden(
    name: str, options: dict[str, Any], trials: int, tasks: tuple[str, ...], threshold: float | None
) -> None:
    answer, story = story_of(registry.make(name, options))
    belief = answer.belief.get("instances", answer.belief)
    assert (len(story.proposals), answer.tasks) == (trials, tasks)
    assert belief.get("threshold") == (None if threshold is None else pytest.approx(threshold, abs=5e-5))
    assert json.loads(json.dumps(answer.belief)) == answer.belief


class TestManyThresholds(SelectorContract):
    selector = GradTSInstance(threshold=[0.2, 0.42], compare_alone=True)
