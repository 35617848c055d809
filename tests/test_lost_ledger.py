"""A study's folder that has lost its ledger is not taken for a new study."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from object_store import BUCKET, s3_server
from small_study import STUDY, StudyRun, write_task
from written_study import start_driver, written_study

from auxtune.orchestrator.cli import main
from auxtune.orchestrator.errors import LedgerDamaged, Locked
from auxtune.orchestrator.record.ledger import LedgerReader
from auxtune.orchestrator.session.prepare import check_ledger_is_there, set_aside
from auxtune.orchestrator.storage.stores import parse_path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a study file, whose study has an answer and trials but no ledger."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY)
    for name in ("moods", "echoes", "noises"):
        write_task(tmp_path / "tasks" / name, 2, rows=10)
    study = written_study(tmp_path / "studies" / "small")
    (study / "selection.json").write_text("{}")
    shutil.rmtree(study / "ledger")
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["run", "study.yaml", *arguments])


def test_it_is_refused_with_what_is_missing_what_is_there_and_the_ways_out(home: Path) -> None:
    before = sorted(home.rglob("*"))
    result = run()
    assert result.exit_code == 2, result.output
    assert "studies/small/ledger: missing, though an earlier session left selection.json, trials" in result.stderr
    assert "another name" in result.stderr and "--from-nothing" in result.stderr
    assert sorted(home.rglob("*")) == before


@pytest.mark.parametrize("trace", ["selection.json", "trials", "tune", "rows", "report.html"])
def test_each_trace_of_an_earlier_session_counts(trace: str, tmp_path: Path) -> None:
    (tmp_path / trace).mkdir()
    (tmp_path / "ledger").mkdir()  # empty: its files are gone
    with pytest.raises(LedgerDamaged, match=f"left {trace} beside it"):
        check_ledger_is_there(tmp_path, LedgerReader(tmp_path / "ledger"))


def test_a_folder_that_was_only_prepared_is_new(tmp_path: Path) -> None:
    for name in ("heartbeat.json", "smoke.json"):
        (tmp_path / name).write_text("{}")
    check_ledger_is_there(tmp_path, LedgerReader(tmp_path / "ledger"))
    assert set_aside(tmp_path) is None


def test_what_is_there_is_kept_under_another_name(home: Path) -> None:
    folder = home / "studies" / "small"
    (home / "studies" / "small.aside-1").mkdir()
    result = run("--from-nothing", "--set", "budget.trials=1")  # which is then too small
    assert result.exit_code == 2 and "budget.trials: 1" in result.stderr, result.output
    kept = home / "studies" / "small.aside-2"
    assert f"is now in {kept}" in result.stderr and (kept / "selection.json").read_text() == "{}"
    assert not (folder / "trials").exists()


def test_a_study_that_has_its_ledger_is_never_set_aside(tmp_path: Path) -> None:
    study = written_study(tmp_path / "small")
    with pytest.raises(LedgerDamaged, match="this one has its ledger; run it without"):
        set_aside(study)


def test_a_study_that_a_process_works_on_is_not_set_aside(home: Path) -> None:
    folder = home / "studies" / "small"
    driver = start_driver(folder)
    shutil.rmtree(folder / "ledger")
    with pytest.raises(Locked, match="auxtune stop"):
        set_aside(folder)
    driver.kill()
    driver.communicate()
    assert (folder / "selection.json").exists()


def test_a_folder_of_an_object_store_cannot_be_set_aside_and_the_other_way_is_named() -> None:
    with s3_server():
        folder = parse_path(f"s3://{BUCKET}/lost/small")
        (folder / "selection.json").write_text("{}")
        with pytest.raises(LedgerDamaged, match=r"another name.*which an object store does not allow"):
            check_ledger_is_there(folder, LedgerReader(folder / "ledger"))
        with pytest.raises(LedgerDamaged, match="cannot be renamed; give the study another name"):
            set_aside(folder)


@pytest.mark.slow
def test_begun_again_it_comes_to_its_answer(small: StudyRun) -> None:
    shutil.rmtree(written_study(small.folder) / "ledger")
    small.finish(code=2)
    small.finish("run", "study.yaml", "--from-nothing")
    assert (small.folder / "selection.json").exists() and len(small.accounts.sessions) == 1
