"""What earlier versions stored is still read, folded, resumed and shown as it was: the fixtures in ``golden/``.

They fix reading, not what a later version of a selector would propose. ``golden/README.md`` says what each file is.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from golden_files import (
    EXPECTED,
    MADE_IN,
    NEW,
    STORAGE,
    assert_same_json,
    assert_same_text,
    differences_of,
    fold_study,
    read_status,
    read_study,
    readings,
    rebuild_answer,
    simulate_table,
    study_names,
)
from pydantic import TypeAdapter

from auxtune.orchestrator.planning.context import StudyContext
from auxtune.orchestrator.planning.verification import verify_study
from auxtune.orchestrator.record.accounts import read_accounts
from auxtune.orchestrator.record.events import Proposed, Selected, read_event, write_event
from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.record.results import EVIDENCE, Entry, EvidenceStore, read_kept_rows, read_result
from auxtune.orchestrator.report.material import Material
from auxtune.orchestrator.study import Study
from auxtune.selectors.registry import SELECTORS
from auxtune.trials.result import Result

STUDIES = study_names()
TRIALS = {"proposed", "started", "lost", "told", "judged", "retried", "selected", "control_selected"}
KINDS = {"opened", *TRIALS, "remeasured", "tracked", "nodes", "closed"}


def stored_events(name: str) -> list[dict[str, object]]:
    """The events of a ledger as they are stored, without today's reader."""
    segments = sorted((STORAGE / name / "ledger").glob("[0-9]*.json"))
    return [event for segment in segments for event in json.loads(segment.read_text())["events"]]


def expected(name: str, file: str) -> str:
    return (EXPECTED / name / file).read_text(encoding="utf-8")


@pytest.fixture(scope="module", params=STUDIES)
def material(request: pytest.FixtureRequest) -> Material:
    """Each study in turn, read once for all tests of it."""
    return read_study(request.param)


@pytest.fixture(scope="module")
def shown(material: Material) -> dict[str, str]:
    """What is shown of it, drawn once."""
    return readings(material.folder.name)


def test_every_selector_has_a_ledger_and_every_kind_of_event_is_in_one() -> None:
    assert set(SELECTORS.shipped) <= set(STUDIES)
    assert {event["event"] for name in STUDIES for event in stored_events(name)} == KINDS


def test_no_path_of_a_machine_is_recorded() -> None:
    opened = [event for name in STUDIES for event in stored_events(name) if event["event"] == "opened"]
    assert {event[key] for event in opened for key in ("study_folder", "working_folder")} == {str(MADE_IN)}


def test_events_are_read_and_say_what_was_stored(material: Material) -> None:
    stored = stored_events(material.folder.name)
    assert len(material.events) == len(stored)
    for number, (event, told) in enumerate(zip(material.events, stored, strict=True)):
        assert read_event(told) == event
        # A field may have come since, with a default; none may have gone.
        lost = [line for line in differences_of(told, write_event(event)) if not line.endswith(NEW)]
        assert not lost, "\n".join([f"event {number}, {told['event']}:", *lost])


def test_the_fold_comes_to_the_same_state(material: Material) -> None:
    name = material.folder.name
    assert_same_json(json.loads(expected(name, "folded.json")), fold_study(material), name)


def test_asked_again_the_selector_proposes_what_is_recorded(material: Material) -> None:
    context = StudyContext.from_events(material.study, material.events, material.folder)
    verified = verify_study(context, material.events)
    assert verified.differences == ()
    assert verified.not_asked_again == context.describe_other_versions(material.events), "evidence is as it was"


def test_the_answer_follows_from_the_events(material: Material) -> None:
    if material.answer is None:
        assert not any(isinstance(event, Selected) for event in material.events)
        return
    stored, rebuilt = material.answer.as_json(), rebuild_answer(material).as_json()
    # The answer counts the seconds until the moment at which it is made, and no event tells that.
    assert 0 < stored["cost"].pop("wall_hours") <= rebuilt["cost"].pop("wall_hours")
    assert_same_json(stored, rebuilt, f"{material.folder.name}/selection.json")


def test_status_is_the_same(material: Material) -> None:
    name = material.folder.name
    assert_same_json(json.loads(expected(name, "status.json")), read_status(material), name)


def test_it_is_shown_alike(material: Material, shown: dict[str, str]) -> None:
    name = material.folder.name
    assert sorted(shown) == sorted(path.name for path in (EXPECTED / name).iterdir())
    for file in sorted(shown.keys() & {"report.html", "note.md", "summary.txt"}):
        assert_same_text(expected(name, file), shown[file], f"{name}/{file}")


@pytest.mark.parametrize("path", sorted(STORAGE.glob("*/trials/*/*/result.json")), ids=lambda path: path.parts[-5])
def test_a_trial_s_report_is_read(path: Path) -> None:
    report = read_result(path.parent)
    assert report is not None
    assert_same_json(json.loads(path.read_text()), TypeAdapter(Result).dump_python(report, mode="json"), str(path))


@pytest.mark.parametrize("key", list(EvidenceStore(STORAGE)))
def test_evidence_is_read(key: str) -> None:
    entry = EvidenceStore(STORAGE).find(key)
    assert entry is not None
    stored = json.loads((STORAGE / EVIDENCE / key / "evidence.json").read_text())
    assert_same_json(stored, TypeAdapter(Entry).dump_python(entry, mode="json"), key)
    if entry.sha256 is not None:
        assert EvidenceStore(STORAGE).arrays(key)


def test_rows_that_a_rule_keeps_are_read_and_worked_out_again(tmp_path: Path) -> None:
    material = read_study("gradts_instance")
    assert material.accounts.selected is not None
    chosen = material.accounts.selected.selection.instances or {}
    assert chosen
    for kept in chosen.values():
        stored = read_kept_rows(kept, material.folder, material.evidence)
        assert stored.tolist() == read_kept_rows(kept, tmp_path, material.evidence).tolist()
        assert (tmp_path / "rows" / f"{kept.sha256}.npy").exists()


def test_a_recorded_table_gives_the_same_answers() -> None:
    assert_same_json(json.loads((EXPECTED / "simulated.json").read_text()), json.loads(simulate_table()), "simulate")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tag", "gp_mixing_2"])
def test_a_finished_study_that_is_run_again_trains_nothing(name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(STORAGE, tmp_path / STORAGE.name) / name
    before = json.loads((folder / "selection.json").read_text())
    database = f"tracking.uri=sqlite:///{tmp_path / 'mlflow.db'}"
    study = Study.from_folder(folder, [database])
    result = study.run(allow_drift=True)  # the version is another one, some day
    accounts = read_accounts(folder)
    assert [session.closed.reason for session in accounts.sessions if session.closed] == ["done", "done"]
    second = read_events(folder / "ledger")[len(read_study(name).events) :]
    assert not any(isinstance(event, (Proposed, Selected)) for event in second)
    after = json.loads(json.dumps(result.selection))
    before["cost"].pop("wall_hours"), after["cost"].pop("wall_hours")
    assert_same_json(before, after, f"{name}/selection.json")
