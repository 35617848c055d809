"""Secrets in URIs: refused in files and overrides before anything is written, and hidden in whatever is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from small_study import STUDY, StudyRun

from auxtune.orchestrator.cli import main
from auxtune.orchestrator.engine.loop import set_ray_defaults, withhold_credentials
from auxtune.orchestrator.errors import StudyFileError
from auxtune.orchestrator.study_file.reading import parse_study
from auxtune.orchestrator.tracking.store import describe_error, describe_runs_place
from auxtune.orchestrator.uri_secrets import has_literal_secret, hide_secrets

LITERAL = (
    "http://s3cret@host:5000",
    "https://ada:s3cret@host",
    "https://:s3cret@host",
    "postgresql://ada:s3cret@host/db",
    "http://host:5000/?token=s3cret",
    "http://host/path?a=1&api_key=s3cret",
    "postgresql://host/db?user=ada&password=s3cret",
    "https://host/x?X-Amz-Signature=s3cret",
    "http://host/#access_token=s3cret",
    "postgresql://ada:${PASSWORD:-s3cret}@host/db",
)
FREE = (
    "http://host:5000",
    "postgresql://ada@host/db",
    "sqlite:///mlflow.db",
    "s3://bucket/token=1",
    "https://host/?keyword=a&page=2",
    "write to ada@host",
)


@pytest.mark.parametrize("uri", LITERAL)
@pytest.mark.parametrize("place", ["tracking", "override", "task"])
def test_a_literal_secret_is_refused_with_the_remedy_and_not_shown(place: str, uri: str, tmp_path: Path) -> None:
    text = {
        "tracking": STUDY + f"tracking: {{uri: '{uri}'}}\n",
        "override": STUDY,
        "task": STUDY.replace("tasks/echoes", uri.replace("${", "$${")),
    }[place]
    overrides = (f"tracking.uri='{uri}'",) if place == "override" else ()
    with pytest.raises(StudyFileError) as error:
        parse_study(text, "study.yaml", tmp_path, overrides)
    said = str(error.value)
    assert "holds a password or a token; write ${VARIABLE} in its place" in said or place == "task"
    assert "s3cret" not in said


@pytest.mark.parametrize("uri", FREE)
def test_what_holds_none_is_left_alone(uri: str) -> None:
    assert not has_literal_secret(uri)


@pytest.mark.parametrize("uri", [uri for uri in LITERAL if "${" not in uri])
def test_a_secret_from_the_environment_is_never_shown(uri: str, tmp_path: Path) -> None:
    assert "s3cret" not in hide_secrets(uri) + describe_runs_place(uri, tmp_path, "1")
    failure = ConnectionError(f"no answer from {uri}/api/2.0, asked as s3cret")
    assert "s3cret" not in describe_error(failure, uri)


def test_a_variable_in_its_place_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "s3cret")
    study = parse_study(STUDY + 'tracking: {uri: "http://${KEY}@host/?token=${KEY}"}\n', "study.yaml", tmp_path)
    assert study.options.tracking.uri == "http://s3cret@host/?token=s3cret" and "s3cret" not in study.text


def test_nothing_is_written_before_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY)
    result = CliRunner().invoke(main, ["run", "study.yaml", "--set", "tracking.uri=http://s3cret@host"])
    assert result.exit_code == 2 and "s3cret" not in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]


def test_no_credentials_are_in_the_runtime_environment_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    set_ray_defaults()
    from ray.tune.execution.class_cache import _ActorClassCache

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "s3cret")
    withhold_credentials()
    made: Any = _ActorClassCache().get(type("Worker", (), {}))
    assert "s3cret" not in str(made._default_options)


@pytest.mark.slow
def test_ray_writes_no_credentials_down(
    small: StudyRun, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = Path("/tmp") / tmp_path_factory.mktemp("r").name  # its sockets need a short path
    monkeypatch.setenv("RAY_TMPDIR", str(logs))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret-key")
    small.finish("run", "study.yaml", "--set", "confirm.seeds=1")
    written = [path for path in logs.rglob("*") if path.is_file() and b"s3cret-key" in path.read_bytes()]
    assert written == []
