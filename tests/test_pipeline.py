"""Stages in turn, and searches side by side: what narrows, what reaches the next stage, how the ledger replays it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest

from auxtune.selectors.kit.pipeline import Pipeline
from auxtune.selectors.kit.searches import Searches
from auxtune.selectors.methods.autosem import AutoSeM
from auxtune.selectors.methods.controls import RandomSubset
from auxtune.selectors.methods.gp_mixing import GPMixing
from auxtune.selectors.methods.gradts_instance import GradTSInstance
from auxtune.selectors.methods.gradts_threshold import GradTSThreshold
from auxtune.selectors.protocol import Done, Outcome, Problem, Proposal, Selector, TaskInfo, Wait

TASKS = ("a", "b", "p", "c", "d")


def problem_of(seed: int = 3) -> Problem:
    return Problem(tuple(TaskInfo(name, "classification", 1000) for name in TASKS), "p", seed)


def score_of(proposal: Proposal) -> float:
    """A world in which only ``b`` and ``d`` help, more by more."""
    shares = proposal.weights or dict.fromkeys(proposal.tasks, 1 / len(proposal.tasks))
    return 0.5 + 0.2 * min(shares.get("b", 0.0), 0.4) + 0.1 * min(shares.get("d", 0.0), 0.2)


def outcome_of(proposal: Proposal) -> Outcome:
    if proposal.inner is None:
        return Outcome(score_of(proposal))
    level, rounds = 0.5, [("p", 0.5)]
    for number in range(60):
        task = TASKS[number % 5]
        level += {"b": 0.01, "d": 0.01}.get(task, -0.01)
        rounds.append((task, level))
    return Outcome(0.5, rounds=tuple(rounds))


def run(selector: Selector, problem: Problem) -> tuple[Any, list[Proposal]]:
    """Trial by trial to the end: the state and all proposals."""
    state, proposals = selector.start(problem), []
    while isinstance(asked := selector.propose(state, {}), Proposal):
        proposals.append(asked)
        state = selector.proposed(state, len(proposals) - 1, asked)
        state = selector.told(state, len(proposals) - 1, outcome_of(asked))
    assert isinstance(asked, Done)
    return state, proposals


def stages_of(proposals: Sequence[Proposal]) -> list[str]:
    return list(dict.fromkeys(proposal.stage for proposal in proposals))


def test_autosem_chooses_tasks_and_then_mixes_only_those() -> None:
    selector = AutoSeM(rounds=60, samples=6, seeds=1, gamma=0)
    state, proposals = run(selector, problem_of())
    assert stages_of(proposals) == ["thompson", "gp_mixing"]
    assert [len(proposal.tasks) for proposal in proposals if proposal.stage == "thompson"] == [5]
    mixtures = [proposal for proposal in proposals if proposal.stage == "gp_mixing"]
    assert len(mixtures) == 6
    assert all({"p"} <= set(mixture.tasks) <= {"p", "b", "d"} for mixture in mixtures)
    answer = selector.select(state, {})
    assert set(answer.tasks) <= {"p", "b", "d"}
    assert answer.weights is not None and sum(answer.weights.values()) == pytest.approx(1)
    assert answer.belief["thompson"]["utility"]["b"] > 0.5 > answer.belief["thompson"]["utility"]["a"]


def test_the_first_stage_is_what_it_would_be_alone() -> None:
    alone, proposals = run(RandomSubset(trials=3), problem_of())
    _, staged = run(Pipeline((("wide", RandomSubset(trials=3)), ("narrow", RandomSubset(size=1)))), problem_of())
    assert [replace(one, stage="", notes=one.notes["notes"]) for one in staged[:3]] == proposals
    assert all(set(proposal.tasks) <= {*alone.trained[0], *alone.trained[1], *alone.trained[2]} for proposal in staged)


def test_what_a_stage_found_reaches_the_next_through_the_notes_alone() -> None:
    """The recorded proposal is all that a fold has: a first stage that would now answer otherwise is not asked."""
    selector = Pipeline((("wide", RandomSubset(trials=2)), ("narrow", RandomSubset(size=1, trials=1))))
    state, proposals = run(selector, problem_of())
    handed = json.loads(json.dumps(proposals[2].notes))["entered"]
    assert handed[0]["tasks"] == list(max(proposals[:2], key=score_of).tasks)
    turned = {**proposals[2].notes, "entered": [{**handed[0], "tasks": ["a", "p"]}]}
    folded = selector.start(problem_of())
    for number, proposal in enumerate(proposals[:2]):
        folded = selector.told(selector.proposed(folded, number, proposal), number, outcome_of(proposal))
    folded = selector.proposed(folded, 2, replace(proposals[2], tasks=("a", "p"), notes=turned))
    assert folded.inner.problem.names == ("a", "p")
    assert state.stage == folded.stage == 1


def test_a_stage_waits_for_the_trials_of_the_one_before() -> None:
    selector = Pipeline((("wide", RandomSubset(trials=2)), ("narrow", RandomSubset(size=1))))
    state = selector.start(problem_of())
    for number in range(2):
        state = selector.proposed(state, number, selector.propose(state, {}))
    assert isinstance(selector.propose(state, {}), Wait)
    state = selector.told(state, 1, Outcome(0.6))
    assert isinstance(selector.propose(state, {}), Wait)
    asked = selector.propose(selector.told(state, 0, Outcome(0.5)), {})
    assert isinstance(asked, Proposal) and asked.stage == "narrow"


def test_a_pipeline_inside_another_names_both() -> None:
    inner = Pipeline((("x", RandomSubset(trials=1)), ("y", RandomSubset(trials=1))))
    _, proposals = run(Pipeline((("first", inner), ("second", RandomSubset(trials=1)))), problem_of())
    assert stages_of(proposals) == ["first.x", "first.y", "second"]


def test_searches_share_trials_evenly_and_count_what_they_chose() -> None:
    selector = Searches(RandomSubset(trials=3, size=2), times=3)
    state, proposals = run(selector, problem_of())
    assert [proposal.notes["search"] for proposal in proposals] == [0, 1, 2] * 3
    answer = selector.select(state, {})
    assert score_of(Proposal(answer.tasks)) == max(map(score_of, proposals))
    assert answer.stability is not None
    chosen = [set(search["tasks"]) for search in answer.belief["searches"]]
    assert answer.stability == {task: sum(task in tasks for tasks in chosen) / 3 for task in TASKS}
    assert answer.stability["p"] == 1.0 and 0.0 in answer.stability.values()


def test_searches_are_compared_in_the_stage_that_they_came_to() -> None:
    selector = Searches(AutoSeM(rounds=60, samples=2, seeds=1), times=2)
    state = selector.start(problem_of())
    runs = {0: 0.9, 1: 0.8}  # the bandit's runs: another training than a mixture
    mixtures = {0: 0.6, 1: 0.7}
    for number in range(6):
        asked = selector.propose(state, {})
        assert isinstance(asked, Proposal)
        state = selector.proposed(state, number, asked)
        scores = runs if asked.inner is not None else mixtures
        state = selector.told(state, number, replace(outcome_of(asked), score=scores[asked.notes["search"]]))
    assert selector.select(state, {}).belief["winner"] == 1


def test_runs_that_only_measure_do_not_say_which_search_answers() -> None:
    """Their scores are of other tasks: the first answers, and each search has runs of its own."""
    selector = Searches(GradTSThreshold(threshold=0.5), times=2)
    state, seeds = selector.start(problem_of()), set()
    for number in range(2 * len(TASKS)):
        asked = selector.propose(state, {})
        assert isinstance(asked, Proposal) and asked.measure
        seeds.add(asked.seed)
        state = selector.proposed(state, number, asked)
        state = selector.told(state, number, Outcome(0.5 + 0.1 * asked.notes["search"]))
    assert isinstance(selector.propose(state, {}), Done) and len(seeds) == 2
    belief = selector.select(state, {}).belief
    assert belief["winner"] == 0 and [search["best_score"] for search in belief["searches"]] == [None, None]


def test_rows_are_kept_by_the_last_stage_only() -> None:
    """A later one narrows tasks and would train on all of their rows."""
    rows, mixing = ("gradts_instance", GradTSInstance()), ("gp_mixing", GPMixing())
    assert Pipeline((("random_subset", RandomSubset()), rows)).fewest(problem_of()) > 0
    with pytest.raises(ValueError, match="gradts_instance must be the last stage"):
        Pipeline((rows, mixing))


def test_the_first_search_is_the_one_that_a_single_search_would_be() -> None:
    _, alone = run(RandomSubset(trials=3), problem_of())
    _, several = run(Searches(RandomSubset(trials=3), times=2), problem_of())
    first = [replace(one, stage="", notes=one.notes["notes"]) for one in several if one.notes["search"] == 0]
    assert first == alone
    assert [one.tasks for one in several if one.notes["search"] == 1] != [one.tasks for one in alone]


def test_plain_values_all_the_way() -> None:
    _, proposals = run(Searches(AutoSeM(rounds=20, samples=2, seeds=1), times=2), problem_of())
    for proposal in proposals:
        assert json.loads(json.dumps(asdict(proposal))) == json.loads(json.dumps(asdict(proposal)))
        assert proposal.notes == json.loads(json.dumps(proposal.notes))
