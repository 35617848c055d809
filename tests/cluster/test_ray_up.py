"""``ray up`` of the on-prem example over SSH, a study on it from elsewhere, and ``ray down``.

The example is adapted to one machine: no workers, a head that trains, and ports that are free here.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from machine import ROOT, Laptop, free_port, machine, missing, wait_for
from mlflow import MlflowClient
from mlflow.entities import Run

pytestmark = pytest.mark.skipif(
    os.environ.get("AUXTUNE_CLUSTER_TEST") != "1",
    reason="installs a machine from the package index, which takes minutes: make cluster-test",
)
STORAGE = "/mnt/shared/studies"                        # the machine's name for what is shared/ on its disk


@dataclass
class Up:
    """A cluster that is up: where to type, its file, and the addresses of its tunnels."""

    laptop: Laptop
    file: Path
    disk: Path
    ssh: list[str]
    jobs: str
    mlflow: str                                        # from here
    there: str                                         # from the machine

    def auxtune(self, *arguments: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return self.laptop.run("auxtune", *arguments, "--address", self.jobs, timeout=timeout)


def adapted(key: Path, gcs: int, dashboard: int, mlflow: int) -> str:
    """The example as somebody with one machine fills it in."""
    text = (ROOT / "examples" / "cluster-onprem.yaml").read_text(encoding="utf-8")
    for placeholder, value in {
        "<HEAD_IP>": "127.0.0.1", "<USER>": "root", "<SSH_KEY>": str(key), "<SHARED_FOLDER>": "/mnt/shared",
        "[<WORKER_IP_1>, <WORKER_IP_2>]": "[]", "_workers: 2": "_workers: 0", "--num-cpus=0 --num-gpus=0": "",
        "--port=6379": f"--port={gcs}", ":6379": f":{gcs}", "5000": str(mlflow),
        "--dashboard-host=127.0.0.1": "--dashboard-host=127.0.0.1 "
        f"--dashboard-port={dashboard} --dashboard-agent-listen-port={free_port()}",
        "dist/auxtune": f"{ROOT}/dist/auxtune", ": constraints.txt": f": {ROOT}/constraints.txt",
    }.items():
        assert placeholder in text
        text = text.replace(placeholder, value)
    return text


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    if why_not := missing():
        pytest.skip(why_not)
    disk, home = tmp_path_factory.mktemp("machine"), tmp_path_factory.mktemp("laptop")
    (home / "tmp").mkdir()
    gcs, dashboard, mlflow = free_port(), free_port(), free_port()
    with machine(disk) as key, (home / "log.txt").open("w") as log:
        laptop = Laptop(home, log)
        file = home / "cluster.yaml"
        file.write_text(adapted(key, gcs, dashboard, mlflow))
        assert laptop.run("ray", "get-auth-token", "--generate").returncode == 0
        found = laptop.run("auxtune", "doctor", file, "--json")
        assert found.returncode == 0, found.stdout
        brought = laptop.run("ray", "up", "-y", "--no-config-cache", file, timeout=1200)
        assert brought.returncode == 0, brought.stdout
        jobs_here, mlflow_here = free_port(), free_port()
        trusting = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        ssh = ["-i", str(key), *trusting, "root@127.0.0.1"]
        tunnels = [
            laptop.start("ray", "dashboard", file, "--port", jobs_here, "--remote-port", dashboard),
            laptop.start("ssh", "-N", "-L", f"{mlflow_here}:127.0.0.1:{mlflow}", *ssh),
        ]
        wait_for(f"http://127.0.0.1:{jobs_here}/api/version")
        wait_for(f"http://127.0.0.1:{mlflow_here}/health")
        yield Up(
            laptop, file, disk, ssh, f"http://127.0.0.1:{jobs_here}", f"http://127.0.0.1:{mlflow_here}",
            f"http://127.0.0.1:{mlflow}",
        )
        for tunnel in tunnels:
            tunnel.terminate()
            tunnel.wait()


def test_doctor_finds_nothing_wrong_on_the_machine(up: Up) -> None:
    asked = f"RAY_AUTH_MODE=token auxtune doctor --address auto --storage {STORAGE} --tracking {up.there}"
    done = up.laptop.run("ray", "exec", up.file, asked)
    assert done.returncode == 0, done.stdout
    assert "errors: 0, warnings: 0" in done.stdout


def test_the_quickstart_is_submitted_followed_and_asked_for_from_elsewhere(up: Up, tmp_path: Path) -> None:
    assert up.laptop.run("auxtune", "examples", "cp", "quickstart.yaml", here=tmp_path).returncode == 0
    settings = [f"--set=storage={STORAGE}", f"--set=tracking.uri={up.there}"]
    done = up.auxtune("submit", tmp_path / "quickstart.yaml", *settings, "--follow", timeout=600)
    assert done.returncode == 0, done.stdout
    assert "selected" in done.stdout
    assert "View run" not in done.stdout               # MLflow's own lines, which would come between ours
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
    settings += ["--set=confirm={seeds: 1, controls: [single_task]}", "--set=selector.rounds=500"]
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
    assert "mlflow" in left.stdout                     # its runs are still to be looked at


def runs_of(address: str, experiment_study: str) -> list[Run]:
    """All runs of a study, over HTTP."""
    client = MlflowClient(address)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, f"tags.`auxtune.study` = '{experiment_study}'"))
