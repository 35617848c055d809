"""A study of which everything failed has no answer; another session tries again, and may come to one."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from small_study import StudyRun
from test_agenda import World, differences

from auxtune.orchestrator import cli
from auxtune.orchestrator.planning.agenda import Agenda
from auxtune.orchestrator.planning.confirm import find_failed_part
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.events import Retried, Selected
from auxtune.orchestrator.record.ledger import read_events

LIMITS = ("stop_after_failures=50", "budget.trials=24")
THREE = ("stop_after_failures=50", "budget.trials=60", "selector={name: random_subset, trials: 3}")


def work(world: World, agenda: Agenda, failing: tuple[str, ...]) -> list[int]:
    """Work through a session, in which trials of the ``failing`` phases fail; the trials that were started."""
    started = []
    while (trial := agenda.next()) is not None:
        started.append(trial.id)
        if trial.phase in failing:
            world.report(trial, score=None, why="non-finite", message="its loss is nan", test={})
        else:
            world.report(trial)
        agenda.end_attempt(trial.id, len(trial.attempts))
    return started


def test_a_search_all_of_whose_trials_failed_selects_nothing_and_is_tried_again(tmp_path: Path) -> None:
    world = World(tmp_path, overrides=LIMITS)
    agenda = world.session()
    failed = work(world, agenda, ("measure", "search"))
    assert failed and not agenda.finished and not agenda.failing
    assert agenda.failed_part == "search"
    assert agenda.accounts.selected is None, "nothing was learnt, so there is nothing to choose by"
    assert not any(isinstance(event, Selected) for event in read_events(tmp_path / "ledger"))
    # It was mended.
    world = World(tmp_path, overrides=("stop_after_failures=50", "budget.trials=60"))
    again = world.session()
    work(world, again, ())
    assert again.finished and again.failed_part is None and again.accounts.selected is not None


def test_where_the_selector_is_done_its_failed_trials_are_asked_for_anew(tmp_path: Path) -> None:
    world = World(tmp_path, overrides=THREE)
    agenda = world.session()
    first = work(world, agenda, ("measure", "search"))
    assert len(first) == 3 and agenda.failed_part == "search"
    again = world.session()
    assert all(again.accounts.trials[number].tried_again for number in first)
    work(world, again, ())
    assert again.finished
    search = again.accounts.in_phase("search")
    assert [t.proposal for t in search[3:]] == [t.proposal for t in search[:3]], "the same selector asks the same"
    assert [t.id for t in again.accounts.of_selector] == [t.id for t in search[3:]]
    assert again.accounts.trained == len(again.accounts.trials), "what failed was paid for all the same"
    events = read_events(tmp_path / "ledger")
    assert [event.ids for event in events if isinstance(event, Retried)] == [(0, 1, 2)]
    assert differences(world.study, events) == []


def test_a_selection_none_of_whose_trainings_ended_is_no_answer_and_is_confirmed_anew(tmp_path: Path) -> None:
    world = World(tmp_path, overrides=THREE)
    agenda = world.session()
    work(world, agenda, ("confirm",))
    assert agenda.accounts.selected is not None and agenda.owed == 0
    assert agenda.failed_part == "confirm" and not agenda.finished
    again = world.session()
    searched = len(again.accounts.of_selector)
    assert again.owed > 0 and again.failed_part is None
    work(world, again, ())
    assert again.finished and len(again.accounts.of_selector) == searched, "what the search found still holds"


def test_one_success_is_enough_to_choose_and_to_confirm_by(tmp_path: Path) -> None:
    world = World(tmp_path, overrides=THREE)
    agenda = world.session()
    seen: set[str] = set()
    while (trial := agenda.next()) is not None:
        fails = trial.phase in seen  # of each phase all but the first
        seen.add(trial.phase)
        world.report(trial, **({"score": None, "why": "error", "message": "no", "test": {}} if fails else {}))
        agenda.end_attempt(trial.id, len(trial.attempts))
    assert agenda.finished and agenda.failed_part is None
    assert not any(isinstance(event, Retried) for event in read_events(tmp_path / "ledger"))


def test_nothing_is_vain_before_anything_ended(tmp_path: Path) -> None:
    world = World(tmp_path)
    agenda = world.session()
    assert agenda.failed_part is None
    trial = agenda.next()
    assert trial is not None and agenda.failed_part is None
    assert find_failed_part(Accounts(read_events(tmp_path / "ledger")), agenda._confirmation) is None


@pytest.mark.slow
def test_it_ends_with_3_and_no_answer_and_goes_on_when_it_is_mended(small: StudyRun) -> None:
    """The learning rate is what fails here, so that a session may differ in it by --allow-drift."""
    wild = ("--set", "training.learning_rate=1.0e+30", "--set", "training.clip=null")
    said = small.finish("run", "study.yaml", "--plain", *wild, code=3)
    assert "There is no answer: nothing came of the search, all of its 2 trials failed" in said
    assert "auxtune resume" in said and "lower the learning rate" in said
    for words in ("Train moods", "rests on the others", "ERROR", "Trials did not complete", "selected"):
        assert words not in said
    assert not (small.folder / "selection.json").exists()
    small.finish("report", str(small.folder))
    page = (small.folder / "report.html").read_text(encoding="utf-8")
    assert "There is no answer yet: the study is failed" in page and "all of its 2 trials failed" in page
    assert "rests on the others" not in page
    assert "failed" in small.finish("status", str(small.folder))
    for command in ("compare", "export"):
        ask = (str(small.folder), str(small.folder)) if command == "compare" else (str(small.folder), "--to", "model")
        assert CliRunner().invoke(cli.main, [command, *ask]).exit_code == 2
    mended = ("--set", "training.learning_rate=1.0e-3", "--allow-drift")
    said = small.finish("resume", str(small.folder), "--plain", *mended)
    assert "what 2 failed trials tried is tried again" in said and "Train moods" in said
    assert (small.folder / "selection.json").is_file()
