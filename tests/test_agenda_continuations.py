"""Legs and early stopping over a real ledger: what a trial starts from, what is deleted, when an end is durable."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from test_agenda import World, differences

from auxtune.orchestrator.errors import BudgetTooSmall
from auxtune.orchestrator.planning.agenda import Agenda
from auxtune.orchestrator.planning.budget import check_confirm
from auxtune.orchestrator.record import results
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.events import Judged, Told
from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.record.results import locate_weights
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.selectors.protocol import Selection

PULLS = ("selector={name: thompson, mode: trials, rounds: 8, round_steps: 20}", "budget.trials=30")


def kept(world: World) -> set[int]:
    """The trials whose weights are on disk."""
    return {int(folder.parent.parent.name) for folder in world.folder.glob("trials/*/*/weights")}


SEVERAL = (*PULLS[:1], "search_seeds=2", "budget.trials=40")
LATER = ("selector=[{name: random_subset, trials: 2}, {name: thompson, mode: trials, rounds: 8}]", "budget.trials=40")


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("overrides", [PULLS, SEVERAL, LATER], ids=["one search", "several searches", "a later stage"])
def test_every_leg_finds_the_weights_that_it_starts_from(
    tmp_path: Path, slots: int, overrides: tuple[str, ...]
) -> None:
    world = World(tmp_path, overrides=overrides)
    searches = world.study.options.search_seeds
    agenda, live = world.session(), []
    for _ in range(100):
        while len(live) < slots and (trial := agenda.next()) is not None:
            begin = agenda.start_of(trial)
            assert begin is None or begin.is_dir(), trial
            assert (begin is None) == (trial.proposal.continuation is None or trial.proposal.continuation.start is None)
            if begin is not None:  # of the same search
                former = agenda.accounts.trials[int(begin.parent.parent.name)]
                assert former.proposal.stage == trial.proposal.stage
                assert former.proposal.notes.get("search") == trial.proposal.notes.get("search")
            live.append(trial)
        if not live:
            break
        ended = live.pop(-1 if len(live) % 2 else 0)  # in no good order
        world.report(ended)
        agenda.end_attempt(ended.id, len(ended.attempts))
        held = {int(begin.parent.parent.name) for begin in map(agenda.start_of, live) if begin is not None}
        assert held <= kept(world)
        assert len(kept(world)) <= len(held) + searches  # and each search's incumbent
    assert agenda.finished
    assert differences(world.study, read_events(world.folder / "ledger")) == []


def test_weights_that_are_gone_are_not_looked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a long study would look at every former attempt after every trial, in an object store by a request each."""
    looked = Counter[tuple[int, int]]()

    def locate(study: StoredPath, trial: int, attempt: int) -> StoredPath:
        looked[trial, attempt] += 1
        return locate_weights(study, trial, attempt)

    monkeypatch.setattr(results, "locate_weights", locate)
    monkeypatch.setattr(Agenda, "start_of", lambda self, trial: None)  # which looks for a start where it is needed
    world = World(tmp_path, overrides=PULLS)
    agenda = world.session()
    world.run(agenda)
    assert agenda.finished
    assert len(looked) == 7 and set(looked.values()) == {1}  # but for the last, which is held


def test_pulls_really_go_side_by_side(tmp_path: Path) -> None:
    world = World(tmp_path, overrides=PULLS)
    agenda = world.session()
    first = agenda.next()
    assert first is not None and agenda.next() is None  # the reference is waited for
    world.report(first)
    agenda.end_attempt(first.id, 1)
    assert all(agenda.next() is not None for _ in range(4))


def test_after_a_kill_the_same_incumbent_is_there(tmp_path: Path) -> None:
    """What was deleted follows from what was told, so what was told must be durable before."""
    world = World(tmp_path, overrides=PULLS)
    before = world.session()
    first = before.next()
    assert first is not None
    world.report(first)
    before.end_attempt(first.id, 1)
    pulls = [pull for pull in (before.next(), before.next(), before.next()) if pull is not None]
    for pull in reversed(pulls):  # not in the order in which a new session would find them
        world.report(pull)
        before.end_attempt(pull.id, 1)
    after = world.session()  # without a word from the session before
    assert kept(world) == after._fold.held()
    following = after.next()
    assert following is not None
    begin = after.start_of(following)
    assert begin is not None and begin.is_dir()
    assert begin == locate_weights(world.folder, pulls[-1].id, 1)


def test_a_trial_that_was_stopped_early_is_told_as_censored(tmp_path: Path) -> None:
    world = World(tmp_path, overrides=("training.early_stopping=asha",))
    agenda = world.session()
    trial = agenda.next()
    assert trial is not None and agenda.may_stop(trial)
    agenda.record(Judged(id=trial.id, attempt=1, step=100, score=0.4, stop=True))
    agenda.end_attempt(trial.id, 1)
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
    agenda.end_attempt(trial.id, 1)
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
    assert trained.count({"p", "a"}) >= 2 and trained.count({"p", "b"}) >= 2  # of p + a + b, with two seeds


def test_leaving_out_a_task_never_brings_in_one_that_was_not_trained(tmp_path: Path) -> None:
    world = World(tmp_path)
    confirmation = world.session()._confirmation
    barely = Selection("mixture", ("p", "a", "b"), {"p": 0.5, "a": 0.499, "b": 0.001})  # b gets no step
    arms = replace(confirmation, leave_one_out=True).arms(barely)
    assert {name: one[0][0].tasks for name, one in arms.items() if name.startswith("without ")} == {"without a": ("p",)}


def test_a_finished_study_whose_confirm_grows_beyond_its_budget_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    agenda = world.session()
    world.run(agenda)
    trained = len(agenda.accounts.trials)
    check_confirm(14, trained, agenda.owed)  # nothing is owed
    asked = World(tmp_path, overrides=("confirm.leave_one_out=true",)).session()
    assert asked.owed > 0
    with pytest.raises(BudgetTooSmall, match=f"set it to {trained + asked.owed} or more"):
        check_confirm(14, trained, asked.owed)
    check_confirm(trained + asked.owed, trained, asked.owed)


def test_an_end_is_durable_also_where_nothing_more_is_begun(tmp_path: Path) -> None:
    world = World(tmp_path)
    agenda = world.session()
    trial, other = agenda.next(), agenda.next()
    assert trial is not None and other is not None
    world.report(trial)
    agenda.end_attempt(trial.id, 1)
    assert agenda.next(lambda proposal: False) is None
    assert [event.id for event in read_events(tmp_path / "ledger") if isinstance(event, Told)] == [trial.id]
