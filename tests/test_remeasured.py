"""Evidence is a cache: what is gone or damaged of it is set aside and measured again, charged and on record."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from reported import told as read_report
from simulated_study import SPENT, SimulatedStudy, simulated

from auxtune.orchestrator.answer.cost import sum_cost
from auxtune.orchestrator.cli import main
from auxtune.orchestrator.errors import EvidenceError
from auxtune.orchestrator.planning.budget import price_of
from auxtune.orchestrator.planning.context import StudyContext
from auxtune.orchestrator.planning.measure_plan import KnownOutcome
from auxtune.orchestrator.planning.verification import Verification, verify_study
from auxtune.orchestrator.record.events import Event, Remeasured, Told
from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.record.results import Entry
from auxtune.selectors.protocol import Proposal

SELECTOR = "{name: gradts_threshold, threshold: -1.0}"
MEASURED = 5  # tasks, each measured by a trial of its own


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # type: ignore[arg-type]
    path.write_bytes(packed.getvalue())


def remove_all(evidence: Path) -> None:
    shutil.rmtree(evidence)


def empty_all(evidence: Path) -> None:
    for path in evidence.glob("*/*"):
        path.unlink()


def replace_all(write: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace_each(evidence: Path) -> None:
        for path in evidence.glob("*/arrays.npz"):
            write(path)

    return replace_each


DAMAGES: dict[str, Callable[[Path], None]] = {
    "removed": remove_all,
    "emptied": empty_all,
    "wrong": replace_all(lambda path: write_arrays(path, {"importance": np.ones((2, 2))})),
    "nan": replace_all(lambda path: write_arrays(path, {"importance": np.full((4, 4), np.nan)})),
    "pickle": replace_all(lambda path: path.write_bytes(pickle.dumps({"importance": 1}))),
}


@pytest.fixture
def study(tmp_path: Path) -> SimulatedStudy:
    return simulated(tmp_path, SELECTOR)


def evidence_of(study: SimulatedStudy) -> Path:
    return study.folder.parent / ".evidence"


def events_of(study: SimulatedStudy) -> list[Event]:
    return read_events(study.folder / "ledger")


def verified(study: SimulatedStudy, events: list[Event] | None = None) -> Verification:
    events = events or events_of(study)
    return verify_study(StudyContext.from_events(study.study, events, study.folder), events)


def begin(study: SimulatedStudy, trials: int = MEASURED) -> None:
    """A session that ends once so many trials have."""
    agenda = study.session()
    study.run(agenda, at_most=trials)
    study.close(agenda, "interrupted")


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_gone_or_damaged_is_measured_again_and_the_study_ends_as_it_would_have(
    study: SimulatedStudy, damage: str, tmp_path: Path
) -> None:
    whole = simulated(tmp_path / "whole", SELECTOR)
    whole.finish(whole.session())
    begin(study)
    DAMAGES[damage](evidence_of(study))
    agenda = study.session()
    study.finish(agenda)
    assert study.events() == whole.events(), "neither proposals nor outcomes differ"
    again = [event for event in events_of(study) if isinstance(event, Remeasured)]
    assert [(event.id, event.attempt, event.message) for event in again] == [(n, 2, None) for n in range(MEASURED)]
    told = {event.id: event for event in events_of(study) if isinstance(event, Told)}
    assert all(event.arrays == told[event.id].arrays and event.arrays for event in again), "made again they are equal"
    assert [agenda.accounts.trials[event.id].costs for event in again] == [[SPENT, SPENT]] * MEASURED
    assert agenda.accounts.trained == len(agenda.accounts.trials), "no trial more"
    damaged = list(evidence_of(study).glob(".damaged.*"))
    assert len(damaged) == (0 if damage in ("removed", "emptied") else MEASURED), "what was there is not deleted"
    found = verified(study)
    assert found.differences == () and found.not_asked_again is None
    assert found.compared == len(told) + MEASURED


def test_what_is_removed_while_the_study_runs_is_measured_again(study: SimulatedStudy) -> None:
    agenda = study.session()
    study.run(agenda, at_most=MEASURED)
    remove_all(evidence_of(study))
    study.finish(agenda)
    assert sum(isinstance(event, Remeasured) for event in events_of(study)) == MEASURED
    assert verified(study).differences == ()


def test_only_what_is_damaged_is_measured_again(study: SimulatedStudy) -> None:
    begin(study)
    [first, *_] = [event for event in events_of(study) if isinstance(event, Told)]
    [key] = first.outcome.evidence.values()
    (evidence_of(study) / key / "arrays.npz").unlink()
    study.finish(study.session())
    assert [event.id for event in events_of(study) if isinstance(event, Remeasured)] == [first.id]


def test_what_rests_on_other_arrays_is_not_asked_again_and_that_is_said(
    study: SimulatedStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(study)
    remove_all(evidence_of(study))
    create = study.store.create

    def measure_otherwise(key: str, entry: Entry, arrays: dict[str, np.ndarray]) -> bool:
        return create(key, entry, {name: array * 1.001 for name, array in arrays.items()})

    monkeypatch.setattr(study.store, "create", measure_otherwise)
    study.finish(study.session())
    events = events_of(study)
    told = [event for event in events if isinstance(event, Told)]
    again = [event for event in events if isinstance(event, Remeasured)]
    assert len(again) == MEASURED and all(event.arrays != told[event.id].arrays for event in again)
    found = verified(study)
    assert found.differences == ()
    assert found.not_asked_again is not None
    proposals = f"{MEASURED - 1} proposals rest"  # all but the first, which rests on nothing
    assert f"not asked again: {proposals} on evidence that was measured again" in found.not_asked_again

    without = [replace(event, arrays={}) if isinstance(event, Told) else event for event in events]
    assert verified(study, without).not_asked_again == found.not_asked_again, "of a ledger that has no digests"


def test_what_cannot_be_measured_again_ends_the_session_and_is_tried_by_the_next(study: SimulatedStudy) -> None:
    begin(study)
    remove_all(evidence_of(study))
    agenda = study.session()
    trial = agenda.next()
    assert trial is not None and trial.measures_again
    study.broken = {trial.id: "ValueError: no"}
    study.report(trial)
    with pytest.raises(
        EvidenceError, match=f"trial {trial.id} had measured .* could not be measured again: ValueError: no"
    ):
        agenda.end_attempt(trial.id, trial.latest.number)
    study.close(agenda, "failed")
    shown = CliRunner().invoke(main, ["show", str(study.folder), str(trial.id)])
    assert "could not measure its evidence again: ValueError: no" in shown.output
    study.broken = {}
    agenda = study.session()
    study.finish(agenda)
    assert [len(agenda.accounts.trials[n].remeasured) for n in range(MEASURED)] == [2, 1, 1, 1, 1]


def test_workers_and_drivers_may_die_over_it(study: SimulatedStudy) -> None:
    begin(study)
    remove_all(evidence_of(study))
    agenda = study.session()
    trial = agenda.next()
    assert trial is not None
    agenda.end_attempt(trial.id, trial.latest.number)  # its worker
    again = agenda.next()
    assert again is not None and (again.id, again.latest.number) == (trial.id, 3)
    study.report(again)  # heard by no one: the driver dies
    second = agenda.next()
    assert second is not None and second.id != trial.id
    agenda.flush()
    after = study.session()
    assert [attempt.worker_died for attempt in after.accounts.trials[trial.id].remeasured] == [True, False]
    study.finish(after)
    assert [len(after.accounts.trials[n].remeasured) for n in range(MEASURED)] == [2, 2, 1, 1, 1]
    assert all(trial.status == "finished" for trial in after.accounts.trials.values())


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_finished_study_says_what_it_cannot_show_and_measures_nothing(study: SimulatedStudy, damage: str) -> None:
    study.finish(study.session())
    before = read_report(study.folder)["search"]
    DAMAGES[damage](evidence_of(study))
    after = read_report(study.folder)["search"]
    assert len(after["pictures"]) < len(before["pictures"]) and "cannot be drawn: " in after["said"]
    assert study.session().next() is None
    checked = CliRunner().invoke(main, ["status", str(study.folder), "--verify"])
    assert checked.exit_code == 0, checked.output
    assert "proposals rest on evidence that was measured again since, or is gone or damaged" in checked.output


def test_arrays_that_are_forged_with_their_digest_cost_a_picture_and_not_the_page(study: SimulatedStudy) -> None:
    study.finish(study.session())
    for path in evidence_of(study).glob("*/arrays.npz"):
        write_arrays(path, {"other": np.ones(2)})
        about = path.with_name("evidence.json")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        about.write_text(json.dumps({**json.loads(about.read_text()), "sha256": digest}))
    assert "cannot be drawn: KeyError" in read_report(study.folder)["search"]["said"]
    assert verified(study).not_asked_again is not None


def test_what_another_study_has_restored_meanwhile_is_not_measured(study: SimulatedStudy, tmp_path: Path) -> None:
    begin(study)
    evidence = evidence_of(study)
    shutil.copytree(evidence, tmp_path / "copy")
    remove_all(evidence)
    agenda = study.session()
    first = agenda.next()
    assert first is not None and first.measures_again
    assert agenda.next() is not None, "a second one at the same time"
    agenda = study.session()  # their driver is gone, and so are they
    shutil.copytree(tmp_path / "copy", evidence)
    study.finish(agenda)
    assert not any(isinstance(event, Remeasured) for event in events_of(study))

    remove_all(evidence)
    agenda = study.session()
    agenda._settled = False  # as if the budget were larger
    agenda._remeasuring.find_damage()
    shutil.copytree(tmp_path / "copy", evidence)
    assert agenda._remeasuring.find_next() is None and not agenda._remeasuring.is_at_work


def test_evidence_of_others_is_measured_at_a_price_and_is_no_trial(study: SimulatedStudy) -> None:
    study.finish(study.session())
    known = {e.id: e.outcome for e in events_of(study) if isinstance(e, Told) and e.outcome.evidence}
    other = simulated(study.folder.parent / "other", SELECTOR)
    other.folder, other.store = study.folder.parent / "y", study.store
    agenda = other.session()

    def find_known(proposal: Proposal) -> KnownOutcome:
        number = len(agenda.accounts.trials) - 1
        if number == MEASURED - 1:  # the last look at the cache before the selector reads its arrays
            remove_all(evidence_of(other))
        return KnownOutcome(known[number], {}, f"x, trial {number}")

    agenda._find_known = find_known
    other.finish(agenda)
    trials = agenda.accounts.in_phase("measure")
    assert [trial.status for trial in trials] == ["reused"] * MEASURED
    measured = sum_cost(agenda.accounts, price_of(other.study.options), None).phases["measure"]
    assert (measured.trials, measured.attempts) == (0, MEASURED)
    assert agenda.accounts.trained == len(agenda.accounts.trials) - MEASURED
    assert measured.cpu_hours == pytest.approx(MEASURED * SPENT.cpu_seconds / 3600)


def test_rows_that_confirm_keeps_need_no_evidence_once_they_are_written(tmp_path: Path) -> None:
    study = simulated(tmp_path, "gradts_instance")
    agenda = study.session()
    while agenda.accounts.selected is None:
        trial = agenda.next()
        assert trial is not None
        if agenda.accounts.selected is None:
            study.report(trial)
            agenda.end_attempt(trial.id, trial.latest.number)
    assert any(kept.kept < kept.rows for kept in (agenda.accounts.selected.selection.instances or {}).values())
    study.close(agenda, "interrupted")
    shutil.rmtree(study.folder / "rows", ignore_errors=True)
    remove_all(evidence_of(study))
    study.finish(after := study.session())
    assert after.accounts.failed_in_a_row == 0
    asked = [
        kept for t in after.accounts.in_phase("confirm") for kept in t.proposal.rows.values() if kept.kept < kept.rows
    ]
    assert asked and {path.stem for path in (study.folder / "rows").iterdir()} == {kept.sha256 for kept in asked}


def test_what_clean_may_delete_of_it(study: SimulatedStudy) -> None:
    begin(study)
    remove_all(evidence_of(study))
    study.finish(study.session())
    for attempt in (1, 2):
        (study.folder / "trials" / "0000" / str(attempt) / "checkpoint").mkdir()
    cleaned = CliRunner().invoke(main, ["clean", str(study.folder), "--yes"])
    assert cleaned.exit_code == 0, cleaned.output
    for attempt in (1, 2):
        assert sorted(path.name for path in (study.folder / "trials" / "0000" / str(attempt)).iterdir()) == [
            "result.json"
        ]
    assert verified(study).compared == MEASURED + sum(isinstance(event, Told) for event in events_of(study))
