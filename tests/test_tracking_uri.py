"""Where a study's runs go: its file, else the environment; and what is secret there is never said."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import UNAUTHENTICATED
from simulated_study import STUDY
from small_study import StudyRun

from auxtune.orchestrator import cli
from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.study_file.models import check_tracking
from auxtune.orchestrator.study_file.paths import resolve_tracking_uri
from auxtune.orchestrator.study_file.reading import StudyFile, parse_study
from auxtune.orchestrator.tracking.store import describe_error, describe_runs_place, redact_secrets

TEXT = STUDY.replace("SELECTOR", "random_subset")


def study(folder: Path, more: str = "") -> StudyFile:
    return parse_study(TEXT + more, "study.yaml", folder, working_folder=folder)


def test_the_file_wins_over_the_environment_and_that_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resolve_tracking_uri(study(tmp_path)) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://team:5000")
    assert resolve_tracking_uri(study(tmp_path)) == "https://team:5000"
    assert resolve_tracking_uri(study(tmp_path, "tracking: {children: none}\n")) == "https://team:5000"
    assert (
        resolve_tracking_uri(study(tmp_path, "tracking: {uri: 'sqlite:///own.db'}\n")) == f"sqlite:///{tmp_path}/own.db"
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///theirs.db")
    assert resolve_tracking_uri(study(tmp_path)) == f"sqlite:///{tmp_path}/theirs.db"


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "databricks"])
def test_an_environment_that_names_no_store_is_refused(
    uri: str, small: StudyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(AuxtuneError, match="MLFLOW_TRACKING_URI in the environment: expected a URI such as") as said:
        resolve_tracking_uri(study(small.home))
    assert uri in str(said.value) and "or `tracking.uri`" in str(said.value)
    for command in ("validate", "run"):
        refused = CliRunner().invoke(cli.main, [command, str(small.home / "study.yaml"), "--set", "storage=s"])
        assert refused.exit_code == 2 and "MLFLOW_TRACKING_URI" in refused.output
    assert not (Path.cwd() / "s").exists()


def test_what_is_secret_is_not_in_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    uri = "http://ada:pass%2Fword@host:5000"
    said = describe_error(MlflowException(f"no answer from {uri}/api (pass/word, t0ken)\nand more"), uri)
    assert said == "MlflowException: no answer from http://host:5000/api (…, …)"
    assert (
        describe_runs_place(uri, tmp_path, "7") == "http://host:5000/#/experiments/7/runs?workflowType=machine_learning"
    )
    assert describe_runs_place(uri, tmp_path, None) == "http://host:5000"


def test_a_secret_that_holds_another_leaves_nothing_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "open")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "opensesame")
    assert redact_secrets("open said opensesame", "http://host") == "… said …"


@pytest.mark.parametrize("password", ["pa#ss", "pa/ss", "pa?ss"])
def test_a_password_whose_rest_would_be_shown_is_refused(password: str) -> None:
    with pytest.raises(ValueError, match=r"found 'https://…@host:5000'; write these as %2F %3F %23"):
        check_tracking(f"https://ada:{password}@host:5000")


def test_only_a_refusal_of_credentials_is_told_as_one() -> None:
    refused = MlflowException("failed with error code 401", error_code=UNAUTHENTICATED)
    assert describe_error(refused, "http://h/").startswith(
        "http://h asks for credentials (401): set MLFLOW_TRACKING_USER"
    )
    assert "refuses these credentials" in describe_error(refused, "http://ada:x@h")
    assert describe_error(TimeoutError(), "http://h") == "TimeoutError"
