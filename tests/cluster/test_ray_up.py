"""``ray up`` over SSH, a study on the cluster from elsewhere, and ``ray down``."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from brought_up import Up
from mlflow import MlflowClient
from mlflow.entities import Run

pytestmark = pytest.mark.slow

STORAGE = "/mnt/shared/studies"  # the machine's name for what is shared/ on its disk


def test_doctor_finds_nothing_wrong_on_the_machine(up: Up) -> None:
    asked = f"RAY_AUTH_MODE=token auxtune doctor --address auto --storage {STORAGE} --tracking {up.there}"
    done = up.laptop.run("ray", "exec", up.file, asked)
    assert done.returncode == 0, done.stdout
    assert "errors: 0, warnings: 0" in done.stdout


def test_the_quickstart_is_submitted_followed_and_asked_for_from_elsewhere(up: Up, tmp_path: Path) -> None:
    assert up.laptop.run("auxtune", "examples", "cp", "quickstart.yaml", here=tmp_path).returncode == 0
    settings = [f"--set=storage={STORAGE}", f"--set=tracking.uri={up.there}", "--set=training.steps=80"]
    done = up.auxtune("submit", tmp_path / "quickstart.yaml", *settings, "--follow", timeout=600)
    assert done.returncode == 0, done.stdout
    assert "selected" in done.stdout
    assert "View run" not in done.stdout  # MLflow's own lines, which would come between ours
    answer = json.loads((up.disk / "shared" / "studies" / "quickstart" / "selection.json").read_text())
    assert answer["lift"]["single_task"]["seeds"] == 4
    status = json.loads(up.auxtune("status", f"{STORAGE}/quickstart", "--json", "--verify").stdout)
    assert (status["state"], status["differences"]) == ("done", [])
    runs = runs_of(up.mlflow, "quickstart")
    assert sum(run.data.tags.get("auxtune.role") == "trial" for run in runs) == status["results"]
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_a_study_is_stopped_there_and_goes_on(up: Up, tmp_path: Path) -> None:
    assert up.laptop.run("auxtune", "examples", "cp", "quickstart.yaml", here=tmp_path).returncode == 0
    settings = [f"--set=storage={STORAGE}", f"--set=tracking.uri={up.there}", "--set=study=halted"]
    settings += ["--set=confirm={seeds: 1, controls: [single_task]}", "--set=selector={name: thompson, rounds: 500}"]
    settings += ["--set=training.checkpoint_every=1"]
    submitted = up.auxtune("submit", tmp_path / "quickstart.yaml", *settings)
    assert "submitted as" in submitted.stdout
    trials = up.disk / "shared" / "studies" / "halted" / "trials"
    end = time.monotonic() + 120
    while not list(trials.glob("*/1/checkpoint")):
        assert time.monotonic() < end
        time.sleep(0.5)
    stopped = up.auxtune("stop", f"{STORAGE}/halted")
    assert stopped.returncode == 0, stopped.stdout
    assert "interrupted" in stopped.stdout
    resumed = up.auxtune("resume", f"{STORAGE}/halted", timeout=600)
    assert resumed.returncode == 0, resumed.stdout
    assert "continues from its checkpoint" in resumed.stdout
    verified = up.auxtune("status", f"{STORAGE}/halted", "--verify")
    assert verified.returncode == 0, verified.stdout
    assert "2 sessions" in verified.stdout


def test_nobody_without_the_token_gets_in(up: Up) -> None:
    (up.laptop.home / ".ray" / "auth_token").rename(up.laptop.home / "put-away")
    try:
        refused = up.auxtune("status")
    finally:
        (up.laptop.home / "put-away").rename(up.laptop.home / ".ray" / "auth_token")
    assert refused.returncode == 2
    assert "token" in refused.stdout
    assert "Traceback" not in refused.stdout


def test_down_ends_ray_and_nothing_else(up: Up) -> None:
    done = up.laptop.run("ray", "down", "-y", up.file)
    assert done.returncode == 0, done.stdout
    left = up.laptop.run("ssh", *up.ssh, "ps -eo args")
    assert "gcs_server" not in left.stdout
    assert "mlflow" in left.stdout  # its runs are still to be looked at


def runs_of(address: str, experiment_study: str) -> list[Run]:
    """All runs of a study, over HTTP."""
    client = MlflowClient(address)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, f"tags.`auxtune.study` = '{experiment_study}'"))
