"""Legs and early stopping over a real ledger: what a trial starts from, what is deleted, what is told of a stop."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_agenda import World

from auxtune.orchestrator.planning.verification import differences
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.events import Judged, Told
from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.record.reports import weights_folder

PULLS = ("selector={name: thompson, mode: trials, rounds: 8, round_steps: 20}", "budget.trials=30")


def kept(world: World) -> set[int]:
    """The trials whose weights are on disk."""
    return {int(folder.parent.parent.name) for folder in world.folder.glob("trials/*/*/weights")}


@pytest.mark.parametrize("slots", [1, 3])
def test_every_leg_finds_the_weights_that_it_starts_from(tmp_path: Path, slots: int) -> None:
    world = World(tmp_path, overrides=PULLS)
    agenda, live = world.session(), []
    for _ in range(100):
        while len(live) < slots and (trial := agenda.next()) is not None:
            begin = agenda.start_of(trial)
            assert begin is None or begin.is_dir(), trial
            assert (begin is None) == (trial.proposal.leg is None or trial.proposal.leg.start is None)
            live.append(trial)
        if not live:
            break
        ended = live.pop(-1 if len(live) % 2 else 0)   # in no good order
        world.report(ended)
        agenda.ended(ended.id, len(ended.attempts))
        held = {int(t.proposal.leg.start) for t in live if t.proposal.leg and t.proposal.leg.start is not None}
        assert held <= kept(world)
        assert len(kept(world)) <= len(held) + 1       # and the incumbent
    assert agenda.finished
    assert list(differences(world.study, read_events(world.folder / "ledger"))) == []


def test_pulls_really_go_side_by_side(tmp_path: Path) -> None:
    world = World(tmp_path, overrides=PULLS)
    agenda = world.session()
    first = agenda.next()
    assert first is not None and agenda.next() is None  # the reference is waited for
    world.report(first)
    agenda.ended(first.id, 1)
    assert all(agenda.next() is not None for _ in range(4))


def test_after_a_kill_the_same_incumbent_is_there(tmp_path: Path) -> None:
    """What was deleted follows from what was told, so what was told must be durable before."""
    world = World(tmp_path, overrides=PULLS)
    before = world.session()
    first = before.next()
    assert first is not None
    world.report(first)
    before.ended(first.id, 1)
    pulls = [pull for pull in (before.next(), before.next(), before.next()) if pull is not None]
    for pull in reversed(pulls):                       # not in the order in which a new session would find them
        world.report(pull)
        before.ended(pull.id, 1)
    after = world.session()                            # without a word from the session before
    assert kept(world) == after._fold.held()
    following = after.next()
    assert following is not None
    begin = after.start_of(following)
    assert begin is not None and begin.is_dir()
    assert begin == weights_folder(world.folder, pulls[-1].id, 1)


def test_a_trial_that_was_stopped_early_is_told_as_censored(tmp_path: Path) -> None:
    world = World(tmp_path, overrides=("training.early_stopping=asha",))
    agenda = world.session()
    trial = agenda.next()
    assert trial is not None and agenda.may_stop(trial)
    agenda.record(Judged(id=trial.id, attempt=1, step=100, score=0.4, stop=True))
    agenda.ended(trial.id, 1)
    told = trial.told
    assert told is not None
    assert (told.outcome.score, told.outcome.why, told.outcome.censored) == (None, "stopped", 0.4)
    assert trial.status == "stopped"
    assert not agenda.failing
    world.run(agenda)
    assert agenda.finished
    selected = agenda.accounts.selected
    assert selected is not None and selected.selection.belief["best_score"] is not None


def test_killed_between_the_stop_and_its_word_the_trial_is_not_run_again(tmp_path: Path) -> None:
    world = World(tmp_path, overrides=("training.early_stopping=asha",))
    before = world.session()
    trial = before.next()
    assert trial is not None
    before.record(Judged(id=trial.id, attempt=1, step=100, score=0.4, stop=True))
    before.flush()
    after = world.session()
    again = after.accounts.trials[trial.id]
    assert (again.status, len(again.attempts)) == ("stopped", 1)
    after.flush()
    assert [event.id for event in read_events(world.folder / "ledger") if isinstance(event, Told)] == [trial.id]
    assert [event.step for event in Accounts(read_events(world.folder / "ledger")).judged] == [100]


def test_a_stop_that_came_too_late_changes_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, overrides=("training.early_stopping=asha",))
    agenda = world.session()
    trial = agenda.next()
    assert trial is not None
    agenda.record(Judged(id=trial.id, attempt=1, step=100, score=0.4, stop=True))
    world.report(trial)
    agenda.ended(trial.id, 1)
    assert trial.status == "finished" and trial.score is not None


def test_confirm_is_never_stopped_early(tmp_path: Path) -> None:
    world = World(tmp_path, overrides=("training.early_stopping=asha",))
    agenda = world.session()
    world.run(agenda)
    assert {trial.phase: agenda.may_stop(trial) for trial in agenda.accounts.trials.values()} == {
        "search": True,
        "confirm": False,
    }


def test_leaving_out_each_task_is_confirmed_too(tmp_path: Path) -> None:
    world = World(tmp_path, overrides=("confirm.leave_one_out=true", "budget.trials=40"))
    agenda = world.session()
    world.run(agenda)
    assert agenda.finished
    trained = [set(trial.proposal.tasks) for trial in agenda.accounts.in_phase("confirm")]
    assert trained.count({"p", "a"}) >= 2 and trained.count({"p", "b"}) >= 2        # of p + a + b, with two seeds
