"""Folders of any name, a project that was moved, and a temporary folder with a long path."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow.tracking import MlflowClient
from small_study import StudyRun, small_study
from written_study import written_study

from auxtune.orchestrator import Study, cli
from auxtune.orchestrator.record.events import Opened
from auxtune.orchestrator.record.ledger import Ledger, read_events
from auxtune.orchestrator.study_file.paths import format_sqlite_uri, parse_sqlite_uri, resolve_tracking_uri
from auxtune.orchestrator.study_file.reading import parse_study
from auxtune.orchestrator.tracking.mlflow_runs import StudyRuns
from auxtune.orchestrator.tracking.store import describe_runs_place, find_experiment, locate_artifacts, move_artifacts

ODD = ("what?", "no. #1", "50 %41", 'größe\'s "x"', "a&b=c;d", "plain", "file:x", "q?uri=true#y%3F")


@pytest.mark.parametrize("name", ODD)
def test_the_uri_of_a_file_leads_back_to_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / "mlflow.db"
    assert parse_sqlite_uri(format_sqlite_uri(path)) == path
    text = "study: x\nprimary: p\ntasks: {p: {builtin: mood}}\nselector: single_task\nbudget: {trials: 9}\n"
    study = parse_study(text, "study.yaml", tmp_path, (), tmp_path / name)
    assert parse_sqlite_uri(resolve_tracking_uri(study)) == path


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD)
def test_mlflow_keeps_runs_and_files_in_the_folder_that_is_meant_and_nowhere_else(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    home.mkdir()
    uri = format_sqlite_uri(home / "mlflow.db")
    runs = StudyRuns(uri, "auxtune", "small", "key")
    parent = runs.parent(None, 1000.0, {})
    MlflowClient(uri).log_text(parent, "something", "note.txt")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert sorted(path.name for path in home.iterdir()) == ["mlartifacts", "mlflow.db"]
    assert [path.read_text() for path in home.glob("mlartifacts/**/note.txt")] == ["something"]
    assert find_experiment(uri, "auxtune") == runs.experiment_id


def test_what_is_printed_can_be_typed() -> None:
    assert (
        describe_runs_place("sqlite:////tmp/mlflow.db", Path("my studies/what?"), "1")
        == "auxtune ui 'my studies/what?'"
    )


def stored(home: Path) -> str:
    """A store with a run that has a file; the run's id. Where MLflow itself wrote, it remembers in this process."""
    uri = format_sqlite_uri(home / "mlflow.db")
    run = StudyRuns(uri, "auxtune", "small", "key").parent(None, 1000.0, {})
    note = home / "mlartifacts" / run / "artifacts" / "note.txt"
    assert MlflowClient(uri).get_run(run).info.artifact_uri == note.parent.as_uri()
    note.parent.mkdir(parents=True)
    note.write_text("from before")
    return run


@pytest.mark.slow
@pytest.mark.parametrize("copied", [False, True])
def test_runs_of_a_project_that_was_moved_or_copied_write_where_it_is_now(tmp_path: Path, copied: bool) -> None:
    (tmp_path / "one").mkdir()
    run = stored(tmp_path / "one")
    (shutil.copytree if copied else shutil.move)(tmp_path / "one", tmp_path / "two")
    before = sorted(tmp_path.rglob("one/**/*"))
    uri = format_sqlite_uri(tmp_path / "two" / "mlflow.db")
    runs, client = StudyRuns(uri, "auxtune", "small", "key"), MlflowClient(uri)
    assert runs.parent(run, 1000.0, {}) == run, "it is the same study's run"
    client.log_text(run, "from now", "later.txt")
    fresh = client.create_run(runs.experiment_id).info
    client.log_text(fresh.run_id, "new", "new.txt")
    beside = locate_artifacts(tmp_path / "two" / "mlflow.db")
    assert all(client.get_run(each).info.artifact_uri.startswith(f"{beside}/") for each in (run, fresh.run_id))
    found = {path.name for path in (tmp_path / "two" / "mlartifacts").rglob("*.txt")}
    assert found == {"note.txt", "later.txt", "new.txt"}
    assert sorted(tmp_path.rglob("one/**/*")) == before and (tmp_path / "one").exists() == copied


def test_an_address_that_somebody_chose_stays(tmp_path: Path) -> None:
    for location in (f"{tmp_path.as_uri()}/elsewhere/files", "s3://bucket/mlartifacts", f"{tmp_path}/mlartifacts"):
        store = tmp_path / "mlflow.db"
        store.unlink(missing_ok=True)
        with closing(sqlite3.connect(store)) as connection, connection:
            connection.execute("create table experiments (artifact_location text)")
            connection.execute("insert into experiments values (?)", [location])
        move_artifacts(store, location)
        with closing(sqlite3.connect(store)) as connection:
            assert connection.execute("select artifact_location from experiments").fetchall() == [(location,)]


def test_a_study_is_found_where_its_last_session_was_that_is_still_there(tmp_path: Path) -> None:
    folder = written_study(tmp_path / "two" / "studies" / "small")
    first = next(event for event in read_events(folder / "ledger") if isinstance(event, Opened))
    for number, place in enumerate(("one", "two", "job")):
        (tmp_path / "two").mkdir(exist_ok=True)
        where = str(tmp_path / place)
        event = Opened(**{**vars(first), "session": f"s{number}", "study_folder": where, "working_folder": where})
        Ledger(folder / "ledger", event).close("interrupted")
    study = Study.from_folder(folder).file
    assert (study.folder, study.working_folder) == (tmp_path / "two", tmp_path / "two")
    assert resolve_tracking_uri(study) == f"sqlite:///{tmp_path}/two/mlflow.db"


@pytest.mark.slow
def test_a_project_that_was_moved_goes_on_and_is_found_there_from_then_on(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    small_study(one).finish("run", "study.yaml", "--plain")
    shutil.move(one, two)
    moved = StudyRun(two)
    for command in (("resume", str(moved.folder)), ("export", str(moved.folder), "--to", str(tmp_path / "model"))):
        said = moved.finish(*command, code=2)
        assert f"{one}/tasks/moods" in said and "`auxtune run FILE`" in said, said
    assert not one.exists()
    moved.finish("run", "study.yaml", "--plain", "--set", "confirm.seeds=2")
    assert not one.exists(), "nothing is written to the old place"
    moved.finish("export", str(moved.folder), "--to", str(tmp_path / "model"))
    assert (tmp_path / "model" / "auxtune.json").is_file()
    moved.finish("resume", str(moved.folder), "--plain")
    assert not one.exists()
    client = MlflowClient(format_sqlite_uri(two / "mlflow.db"))
    experiment = client.get_experiment_by_name("auxtune")
    assert experiment is not None and experiment.artifact_location == (two / "mlartifacts").as_uri()
    assert list((two / "mlartifacts").rglob("selection.json"))


def test_the_store_of_runs_is_looked_for_beside_the_storage_where_both_were_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the old folder would be made again, by a study that needs no other file of it."""
    folder = written_study(tmp_path / "two" / "studies" / "small")
    first = next(event for event in read_events(folder / "ledger") if isinstance(event, Opened))
    gone = str(tmp_path / "one")
    Ledger(folder / "ledger", Opened(**{**vars(first), "session": "s", "study_folder": gone, "working_folder": gone}))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    moved = Study.from_folder(folder).file
    assert moved.working_folder == tmp_path / "two"
    assert resolve_tracking_uri(moved) == f"sqlite:///{tmp_path}/two/mlflow.db"


@pytest.mark.slow
def test_a_study_runs_with_a_long_temporary_folder_in_a_folder_of_odd_name(tmp_path: Path) -> None:
    home, long = tmp_path / "what? #1 %41 'ü", tmp_path / ("x" * 75) / ("y" * 75)
    for folder in (home, long):
        folder.mkdir(parents=True)
    small_study(home)
    command = [sys.executable, "-m", "auxtune.orchestrator", "run", "study.yaml", "--plain"]
    environment = {**os.environ, "TMPDIR": str(long)}
    run = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False, timeout=400)
    assert run.returncode == 0, run.stderr + run.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((home.name, long.parent.name))
    client = MlflowClient(format_sqlite_uri(home / "mlflow.db"))
    assert [each.name for each in client.search_experiments()] == ["auxtune", "Default"]
    asked = CliRunner().invoke(cli.main, ["status", str(home / "studies" / "small")])
    assert asked.exit_code == 0, asked.output
