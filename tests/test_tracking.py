"""MLflow as its own client sees it: SQLite and a real server over HTTP, which may vanish."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from small_study import StudyRun, kill

pytestmark = pytest.mark.slow


class Server:
    """An ``mlflow server`` on loopback that can be ended and started again over the same store."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self._port}"
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        store = ["--backend-store-uri", f"sqlite:///{self._home}/server.db", "--workers", "1"]
        files = ["--artifacts-destination", str(self._home / "artifacts")]
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        with (self._home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *store, *files], cwd=self._home, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                    return
            except OSError:
                assert time.monotonic() < end, (self._home / "server.log").read_text()
                time.sleep(0.3)

    def stop(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    home = tmp_path / "server"
    home.mkdir()
    server = Server(home)
    server.start()
    yield server
    server.stop()


def runs_of(uri: str) -> tuple[Run, list[Run]]:
    """The parent and its children."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("auxtune")
    assert experiment is not None
    every = client.search_runs([experiment.experiment_id])
    parents = [run for run in every if run.data.tags["auxtune.role"] == "study"]
    assert len(parents) == 1
    return parents[0], [run for run in every if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]


def check_mirror(run: StudyRun, uri: str) -> None:
    """One finished child per trial with its score, and costs that add up."""
    parent, children = runs_of(uri)
    trials = run.accounts.trials
    assert sorted(int(child.data.tags["auxtune.proposal_id"]) for child in children) == sorted(trials)
    assert {child.info.status for child in (parent, *children)} == {"FINISHED"}
    for child in children:
        trial = trials[int(child.data.tags["auxtune.proposal_id"])]
        assert child.data.metrics["score"] == pytest.approx(trial.score)
        assert child.data.tags["auxtune.tasks"] == " ".join(trial.proposal.tasks)
        assert child.data.tags["auxtune.phase"] == trial.phase
        shares = {k.removeprefix("weight/"): float(v) for k, v in child.data.params.items() if k.startswith("weight/")}
        assert shares == pytest.approx(dict(trial.proposal.weights or {}))
    for name in ("wall_seconds", "cpu_seconds", "gpu_seconds", "examples", "tokens", "usd"):
        total = sum(child.data.metrics[f"cost/{name}"] for child in children)
        assert parent.data.metrics[f"cost/{name}"] == pytest.approx(total)


def test_the_runs_of_a_study_say_what_the_ledger_says(whole: StudyRun) -> None:
    uri = f"sqlite:///{whole.home}/mlflow.db"
    check_mirror(whole, uri)
    parent, children = runs_of(uri)
    assert parent.data.metrics["best_score"] == pytest.approx(whole.accounts.best.score)  # type: ignore[union-attr]
    client = MlflowClient(uri)
    curve = client.get_metric_history(children[0].info.run_id, "selection/moods/accuracy")
    assert [point.step for point in curve] == [10, 20, 30, 40]
    files = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {"study.yaml", "selection.json"} <= files


def test_resuming_after_a_kill_makes_no_second_run_and_leaves_none_open(small: StudyRun) -> None:
    uri = f"sqlite:///{small.home}/mlflow.db"
    process = small.start()
    small.wait_for(lambda: small.told >= 1 and small.accounts.trials[0].run_id is not None, process)
    kill(process)
    small.finish()
    parent, children = runs_of(uri)
    assert len(children) == len(small.accounts.trials)
    assert {child.info.status for child in (parent, *children)} == {"FINISHED"}
    assert {run.run_id for run in small.accounts.trials.values()} == {child.info.run_id for child in children}
    for child in children:
        curve = MlflowClient(uri).get_metric_history(child.info.run_id, "selection/moods/accuracy")
        assert [point.step for point in curve] == [10, 20, 30, 40]


def test_over_http_while_the_server_is_away_trials_go_on_and_are_filled_in(small: StudyRun, server: Server) -> None:
    process = small.start("run", "study.yaml", "--set", f"tracking.uri={server.uri}")
    small.wait_for(lambda: small.told >= 1, process)
    server.stop()
    small.wait_for(lambda: small.told >= 3, process)
    server.start()
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    check_mirror(small, server.uri)


def test_a_server_that_never_came_back_is_said_and_the_next_session_fills_in(small: StudyRun, server: Server) -> None:
    server.stop()
    said = small.finish("run", "study.yaml", "--set", f"tracking.uri={server.uri}")
    assert "MLflow could not be brought up to date" in said
    server.start()
    said = small.finish("resume", str(small.folder))
    assert "could not be" not in said
    check_mirror(small, server.uri)
