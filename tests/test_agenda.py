"""The agenda over a real ledger on disk, with workers that only write their reports: order, resume, retries, budget."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from auxtune.orchestrator.engine.search import LedgerSearcher
from auxtune.orchestrator.errors import SelectorError
from auxtune.orchestrator.planning.agenda import Agenda
from auxtune.orchestrator.planning.budget import Budget, has_equal_cost
from auxtune.orchestrator.planning.context import StudyContext
from auxtune.orchestrator.planning.control_search import list_control_versions
from auxtune.orchestrator.planning.slots import Slots
from auxtune.orchestrator.record.accounts import Trial
from auxtune.orchestrator.record.events import (
    Event,
    Opened,
    Proposed,
    Told,
    is_same_proposal,
    read_event,
    round_trip,
    write_event,
)
from auxtune.orchestrator.record.ledger import Ledger, read_events
from auxtune.orchestrator.record.results import Refusal, locate_attempt, touch_heartbeat, write_result
from auxtune.orchestrator.study_file.reading import StudyFile, parse_study
from auxtune.selectors.protocol import Measure, Problem, Proposal, TaskInfo
from auxtune.trials.checkpoint import write_checkpoint
from auxtune.trials.result import Cost, Result

NAMES = ("p", "a", "b", "c")
WORTH = {"p": 0.5, "a": 0.2, "b": 0.05, "c": -0.3}
STUDY = """
study: x
primary: p
tasks: {p: {path: p}, a: {path: a}, b: {path: b}, c: {path: c}}
selector: random_subset
confirm: {seeds: 2, controls: [single_task, random_subset]}
budget: {trials: 14}
seed: 5
"""


@dataclass
class World:
    """One study's folder, and sessions over it. A worker's report is a function of what it was asked to train."""

    folder: Path
    text: str = STUDY
    overrides: tuple[str, ...] = ()
    problem: Problem = field(
        default_factory=lambda: Problem(tuple(TaskInfo(n, "classification", 100) for n in NAMES), "p", seed=5)
    )

    @property
    def study(self):
        return parse_study(self.text, "study.yaml", self.folder, self.overrides)

    def session(self) -> Agenda:
        study = self.study
        opened = Opened(
            session=uuid.uuid4().hex,
            time=0.0,
            study=study.text,
            overrides=study.overrides,
            study_folder=str(self.folder),
            working_folder=str(self.folder),
            problem=self.problem,
            fingerprint={},
            versions={},
            control_versions=list_control_versions() if has_equal_cost(study.options) else {},
        )
        ledger = Ledger(self.folder / "ledger", opened)
        context = StudyContext.from_events(study, ledger.events, self.folder)
        return Agenda(context, ledger, Budget(study.options, context.translator.steps, Slots(1, 0, 2)))

    def report(self, trial: Trial, **changes: object) -> None:
        """What a worker would leave for the trial's present attempt."""
        noise = np.random.default_rng(trial.proposal.seed).normal(scale=0.01)
        score = sum(WORTH[task] for task in trial.proposal.tasks) + float(noise)
        told = Result(score, Cost(10.0, 0.0, 10.0, examples=5, tokens=50), 60, 60, {"p": {"accuracy": score}})
        folder = self.attempt(trial)
        folder.mkdir(parents=True)
        if trial.proposal.continuation is not None:
            write_checkpoint(folder / "weights", {"encoder.weight": torch.zeros(2)}, {})
        write_result(folder, Result(**{**vars(told), **changes}))

    def attempt(self, trial: Trial) -> Path:
        return locate_attempt(self.folder, trial.id, trial.latest.number)

    def run(self, agenda: Agenda, slots: int = 1, at_most: int = 1000) -> list[Trial]:
        """Work like Ray would, oldest first, until nothing is left or ``at_most`` trials have ended."""
        live: list[Trial] = []
        for _ in range(at_most):
            while len(live) < slots and (trial := agenda.next()) is not None:
                live.append(trial)
            if not live:
                break
            trial = live.pop(0)
            self.report(trial)
            agenda.end_attempt(trial.id, trial.latest.number)
        return live

    def events(self) -> list[object]:
        """What was proposed and told, without times."""
        return [
            (e.id, e.proposal, e.phase) if isinstance(e, Proposed) else (e.id, e.outcome)
            for e in read_events(self.folder / "ledger")
            if isinstance(e, (Proposed, Told))
        ]


def differences(study: StudyFile, events: Sequence[Event]) -> list[str]:
    """What ``auxtune status --verify`` would say."""
    return list(StudyContext.from_events(study, events).differences(events))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_study_runs_to_its_answer_within_its_budget(world: World) -> None:
    agenda = world.session()
    world.run(agenda)
    assert agenda.finished
    selected = agenda.accounts.selected
    assert selected is not None
    search, confirm = agenda.accounts.in_phase("search"), agenda.accounts.in_phase("confirm")
    assert len(search) == 7  # every subset of three, before the budget's 14 - 6
    assert len(confirm) <= 6
    assert set(selected.selection.tasks) == {"p", "a", "b"}


def test_what_another_processor_rounds_differently_is_the_same_proposal() -> None:
    recorded = Proposal(("p", "a"), {"p": 0.3, "a": 0.7}, notes={"point": [0.42129629629629617], "round": 3})
    elsewhere = replace(recorded, weights={"p": 0.1 + 0.2, "a": 0.7}, notes={"point": [0.4212962962962963], "round": 3})
    assert elsewhere != recorded and is_same_proposal(elsewhere, recorded)
    assert not is_same_proposal(replace(recorded, weights={"p": 0.3 + 1e-8, "a": 0.7 - 1e-8}), recorded)
    assert not is_same_proposal(replace(recorded, notes={"point": [0.42129629629629617], "round": 4}), recorded)
    assert not is_same_proposal(replace(recorded, notes={"point": []}), recorded)


def test_values_of_the_recipe_are_recorded_and_refused_where_none_can_be_applied(world: World) -> None:
    asked = Proposal(("p", "a"), params={"learning_rate": 1e-3})
    assert round_trip(asked) == asked != Proposal(("p", "a"))
    with pytest.raises(SelectorError, match="values of the recipe \\(learning_rate\\)"):
        world.session()._translator.execute(asked)


def test_the_search_stops_where_confirm_begins_to_need_the_rest(tmp_path: Path) -> None:
    world = World(tmp_path, overrides=("budget.trials=9",))
    agenda = world.session()
    world.run(agenda)
    assert agenda.exhausted == "trials"
    assert len(agenda.accounts.in_phase("search")) == 3
    assert len(agenda.accounts.trials) <= 9


@pytest.mark.parametrize("cut", range(13))
def test_interrupted_anywhere_it_ends_with_the_same_proposals_scores_and_selection(tmp_path: Path, cut: int) -> None:
    whole = World(tmp_path / "whole")
    first = whole.session()
    whole.run(first)
    broken = World(tmp_path / "broken")
    before = broken.session()
    broken.run(before, at_most=cut)
    before.next()  # started, and gone with its driver
    after = broken.session()
    broken.run(after)
    assert broken.events() == whole.events()
    assert after.accounts.selected.selection == first.accounts.selected.selection
    finished_before = sum(trial.told is not None for trial in before.accounts.trials.values())
    assert sum(len(t.attempts) for t in after.accounts.trials.values()) <= len(after.accounts.trials) + 1
    assert finished_before == cut


def test_at_any_concurrency_the_ledger_verifies(tmp_path: Path) -> None:
    for slots in (1, 2, 5):
        world = World(tmp_path / str(slots))
        world.run(world.session(), slots)
        assert differences(world.study, read_events(world.folder / "ledger")) == []


def test_verification_catches_a_proposal_that_does_not_follow(world: World) -> None:
    world.run(world.session())
    problem = Problem(world.problem.tasks, "p", seed=6)
    events = [
        event if not isinstance(event, Opened) else Opened(**{**vars(event), "problem": problem})
        for event in read_events(world.folder / "ledger")
    ]
    assert any("the selector now asks for" in line for line in differences(world.study, events))


def test_what_another_version_of_the_selector_proposed_is_not_asked_again(world: World) -> None:
    world.run(world.session())
    recorded = read_events(world.folder / "ledger")
    assert StudyContext.from_events(world.study, recorded).describe_other_versions(recorded) is None
    problem = Problem(world.problem.tasks, "p", seed=6)  # with another seed, nothing recorded would follow
    events = [
        event if not isinstance(event, Opened) else Opened(**{**vars(event), "problem": problem, "selector_version": 2})
        for event in recorded
    ]
    assert list(differences(world.study, events)) == []
    assert StudyContext.from_events(world.study, events).describe_other_versions(events) == (
        "not asked again: 7 proposals of version 2 of the selector, which is at version 1 now"
    )


def test_a_ledger_from_before_selectors_had_versions_is_of_version_1(world: World) -> None:
    world.session()
    opened = read_events(world.folder / "ledger")[0]
    before = write_event(opened)
    assert before.pop("selector_version") == 1
    assert read_event(before) == opened


def test_work_that_finished_unheard_is_known_by_its_result(world: World) -> None:
    before = world.session()
    trial = before.next()
    assert trial is not None
    world.report(trial)  # the driver dies before it hears
    after = world.session()
    assert after.accounts.trials[trial.id].status == "finished"
    assert len(after.accounts.trials[trial.id].attempts) == 1


def test_lost_work_goes_first_again_from_its_latest_checkpoint_and_is_charged(world: World) -> None:
    before = world.session()
    trial = before.next()
    assert trial is not None
    folder = world.attempt(trial)
    write_checkpoint(folder / "checkpoint", {}, {})
    touch_heartbeat(folder)
    after = world.session()
    again = after.next()
    assert again is not None and again.id == trial.id
    assert [attempt.resume_from for attempt in again.attempts] == [None, 1]
    assert again.attempts[0].cost is not None
    third = world.session().next()  # died before its first own checkpoint: the former one serves
    assert third is not None and third.attempts[-1].resume_from == 1


def test_a_worker_may_die_three_times_but_not_four(world: World) -> None:
    agenda = world.session()
    for attempt in range(1, 5):
        trial = agenda.next()
        assert trial is not None
        assert (trial.id, len(trial.attempts)) == (0, attempt)
        agenda.end_attempt(trial.id, attempt)
    assert agenda.accounts.trials[0].status == "failed"
    assert "4 attempts ended without a result" in str(agenda.accounts.trials[0].told.message)
    following = agenda.next()
    assert following is not None and following.id == 1


def test_what_cannot_write_pauses_the_study_and_is_tried_again_by_every_session(world: World) -> None:
    """However often: the retries are for workers that die, and the selector hears nothing of it."""
    for attempt in range(1, 7):
        agenda = world.session()
        [trial, other] = [agenda.next(), agenda.next()]
        assert trial is not None and other is not None
        assert (trial.id, len(trial.attempts)) == (0, attempt)
        world.attempt(trial).mkdir(parents=True)
        touch_heartbeat(world.attempt(trial), 3.0)
        agenda.end_attempt(trial.id, attempt, refusal=Refusal("/disk cannot be written (full)", seconds=7.0))
        assert agenda.refused == "/disk cannot be written (full)"
        assert agenda.next() is None, "the next one could not write either"
        assert not agenda.failing and agenda.accounts.failed_in_a_row == 0
        lost = agenda.accounts.trials[0].attempts[-1]
        assert lost.was_refused and not lost.worker_died and lost.cost == Cost(7.0, 0.0, 7.0)
        agenda.flush()
    assert agenda.accounts.trials[0].told is None
    world.run(after := world.session())
    assert after.refused is None and after.finished
    assert differences(world.study, read_events(world.folder / "ledger")) == []
    assert sum(cost.cpu_seconds for cost in after.accounts.trials[0].costs) == 6 * 7.0 + 10.0


def test_dying_drivers_do_not_use_up_the_retries(world: World) -> None:
    for attempt in range(1, 9):
        trial = world.session().next()
        assert trial is not None
        assert (trial.id, len(trial.attempts)) == (0, attempt)


def test_no_more_is_proposed_than_there_is_room_for_while_nodes_come_and_go(world: World) -> None:
    """Ray's side of it: what the searcher hands out. Work that was lost waits for room as well."""
    agenda, slots = world.session(), [Slots(1, 0, 2, after_scaling=1)]
    searcher = LedgerSearcher(agenda, lambda trial: trial.id, lambda trial: None, lambda: slots[-1])

    def asked(*names: str) -> list[int | None]:
        said = [searcher.suggest(name) for name in names]
        return [None if one is None else one["assignment"] for one in said]

    assert asked("a", "b", "c", "d") == [0, 1, 2, None]  # the third waits for the node that would come
    assert len(agenda.accounts.trials) == 3
    slots.append(Slots(1, 0, 2))
    searcher.on_trial_complete("b", error=True)
    assert agenda.accounts.trials[1].status == "waiting"
    assert asked("d") == [None]
    slots.append(Slots(1, 0, 4))
    assert asked("e", "f", "g") == [1, 3, None]
    slots.append(Slots(1, 0, 0))  # all nodes are gone: one may ask, so that a new one is started
    for name in "aec":
        assert asked(f"after {name}") == [None]
        searcher.on_trial_complete(name, error=True)
    searcher.on_trial_complete("f", error=True)
    assert asked("h", "i") == [3, None]


def test_a_probe_takes_its_own_share_of_the_slots(world: World) -> None:
    slots = Slots(1, 1, 2, probes=Slots(1, 0.25, 8))
    probe, usual = Proposal(("a",), measure=(Measure("covariance"),)), Proposal(("p",))
    agenda = world.session()
    searcher = LedgerSearcher(agenda, lambda trial: trial.id, lambda trial: None, lambda: slots)
    assert searcher.suggest("a") is not None
    assert searcher._has_room(usual) and searcher._has_room(probe)
    assert searcher.suggest("b") is not None
    assert not searcher._has_room(probe)


def test_a_completion_heard_twice_or_of_an_old_attempt_changes_nothing(world: World) -> None:
    agenda = world.session()
    trial = agenda.next()
    assert trial is not None
    world.report(trial)
    agenda.end_attempt(trial.id, 1)
    told = agenda.accounts.trials[0].told
    agenda.end_attempt(trial.id, 1)
    agenda.end_attempt(trial.id, 7)
    assert agenda.accounts.trials[0].told is told
    assert len(agenda.accounts.trials[0].attempts) == 1


def test_failures_in_a_row_end_the_session_and_a_new_one_may_try_again(tmp_path: Path) -> None:
    world = World(tmp_path, overrides=("stop_after_failures=2",))
    agenda = world.session()
    for _ in range(2):
        trial = agenda.next()
        assert trial is not None
        world.report(trial, score=None, why="non-finite", message="loss is nan")
        agenda.end_attempt(trial.id, 1)
    assert agenda.failing
    assert agenda.next() is None
    assert not world.session().failing


def test_a_larger_budget_extends_a_finished_study_and_reuses_its_controls(tmp_path: Path) -> None:
    small = World(tmp_path, overrides=("budget.trials=9",))
    small.run(small.session())
    again = small.session()
    assert again.finished
    assert again.next() is None
    large = World(tmp_path, overrides=("budget.trials=30",))
    agenda = large.session()
    assert not agenda.finished
    large.run(agenda)
    assert agenda.finished
    assert len(agenda.accounts.in_phase("search")) == 7
    singles = [t for t in agenda.accounts.in_phase("confirm") if t.proposal.tasks == ("p",)]
    assert len(singles) == 2  # one per seed, trained once


def test_wall_time_holds_back_what_confirm_will_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Trials of 10 s, two at a time: confirm's six need 30 s of the 45 s. The session began at time 0.
    world = World(tmp_path, overrides=("budget={wall_hours: 0.0125}",))
    agenda = world.session()
    clock = iter(np.arange(0.0, 1e6, 1.0))
    monkeypatch.setattr("auxtune.orchestrator.planning.agenda.read_time", lambda: float(next(clock)))
    world.run(agenda)
    assert agenda.exhausted == "wall_hours"
    assert agenda.finished


def test_the_arms_of_confirm_share_seeds_steps_and_best_checkpoint_rule(world: World) -> None:
    agenda = world.session()
    world.run(agenda)
    translator = agenda._translator
    recipes = [translator.recipe(trial.proposal, "confirm") for trial in agenda.accounts.in_phase("confirm")]
    assert len({(r.steps, r.evaluate_every, r.evaluate, r.test, r.decay) for r in recipes}) == 1
    seeds = {
        arm: {p.seed for (p,) in per_seed}
        for arm, per_seed in agenda._confirmation.arms(agenda.accounts.selected.selection).items()
    }
    assert len(set(map(frozenset, seeds.values()))) == 1
    searched = {trial.proposal.seed for trial in agenda.accounts.in_phase("search")}
    assert not searched & {recipe.seed for recipe in recipes}
