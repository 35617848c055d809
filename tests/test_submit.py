"""A study submitted from elsewhere to a real Ray with its job server: run, asked, stopped and resumed there."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from machine import free_port
from small_study import StudyRun

pytest.importorskip("aiohttp_cors", reason="Ray's job server needs ray[default]")
pytestmark = pytest.mark.slow

STUDY = """
study: shipped
primary: mood
tasks: {mood: {builtin: mood, rows: 200}, own: {path: own.csv, text: [a], label: b}}
training: {steps: STEPS, batch_size: 8, evaluate_every: 4, checkpoint_every: 1}
selector: {name: random_subset, trials: 1}
confirm: {seeds: 1, controls: [single_task]}
budget: {trials: 3}
resources: {gpus: 0, concurrent: 1}
"""


@dataclass
class There:
    address: str
    home: Path
    here: Path

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """A command typed in another directory than the cluster's, with no auxtune home of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "auxtune.orchestrator", *map(str, arguments)],
            cwd=self.here,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    def auxtune(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """The same, to its end."""
        process = StudyRun(self.here).start(*map(str, arguments))
        said, wrong = process.communicate(timeout=240)
        assert process.returncode is not None
        return subprocess.CompletedProcess(arguments, process.returncode, said, wrong)


def environment(**more: str) -> dict[str, str]:
    """With our Python first on the PATH, as where a cluster's machines are set up."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1", **more}


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[There]:
    home, here = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("here")
    port, agent = free_port(), free_port()
    rows = "\n".join(f"{'good' if i % 2 else 'bad'} {i},{i % 2}" for i in range(3000))
    (here / "own.csv").write_text(f"a,b\n{rows}\n")
    # A folder of its own: in the shared one, jobs would be sent to whichever Ray of this machine was started last.
    session = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--port=0", "--num-cpus=3"]
    ray += ["--dashboard-host=127.0.0.1", f"--dashboard-port={port}", f"--dashboard-agent-listen-port={agent}"]
    ray += [f"--temp-dir={session}", "--disable-usage-stats"]
    head = subprocess.Popen(ray, stdout=subprocess.DEVNULL, env=environment(AUXTUNE_HOME=str(home)))
    wait_for(port, head)
    yield There(f"http://127.0.0.1:{port}", home, here)
    head.terminate()
    head.wait(60)
    shutil.rmtree(session)


def wait_for(port: int, head: subprocess.Popen[bytes]) -> None:
    """Until the job server listens."""
    end = time.monotonic() + 120
    while True:
        assert head.poll() is None and time.monotonic() < end
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.5)


def test_a_study_is_run_there_followed_asked_and_answers_at_once_the_second_time(there: There) -> None:
    (there.here / "study.yaml").write_text(STUDY.replace("STEPS", "8"))
    done = there.auxtune("submit", "study.yaml", "--address", there.address, "--follow")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "selected" in done.stdout
    assert "ssh -N -L 5000:127.0.0.1:5000" in done.stdout
    answer = json.loads((there.home / "studies" / "shipped" / "selection.json").read_text())
    assert answer["report"].keys() == {"mood"}
    status = there.auxtune("status", "studies/shipped", "--address", there.address, "--json", "--verify")
    assert status.returncode == 0, status.stdout + status.stderr
    told = json.loads(status.stdout)
    assert (told["state"], told["differences"]) == ("done", [])
    watched = there.auxtune("status", "studies/shipped", "--watch", "--address", there.address)
    assert watched.returncode == 0 and watched.stdout.count("shipped: done, 1 sessions\n") == 1, watched.stdout
    again = there.auxtune("submit", "study.yaml", "--address", there.address, "--follow")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "started" not in again.stdout  # no trial is run twice


def test_a_running_study_is_attached_to_stopped_and_resumed(there: There) -> None:
    (there.here / "long.yaml").write_text(STUDY.replace("STEPS", "100000").replace("shipped", "long"))
    first = there.auxtune("submit", "long.yaml", "--address", there.address)
    assert "submitted as" in first.stdout, first.stdout + first.stderr
    assert "runs already as" in there.auxtune("submit", "long.yaml", "--address", there.address).stdout
    other = there.auxtune("submit", "long.yaml", "--address", there.address, "--set", "seed=1")
    assert other.returncode == 2
    assert "runs another version of this study; stop it first" in other.stderr
    checkpoint = there.home / "studies" / "long" / "trials" / "0000" / "1" / "checkpoint"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.5)
    stopped = there.auxtune("stop", "studies/long", "--address", there.address)
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert "interrupted" in stopped.stdout
    resumed = there.start("resume", "studies/long", "--address", there.address)
    assert resumed.stdout is not None
    lines = []
    for line in resumed.stdout:
        lines.append(line)
        if "continues from its checkpoint" in line:
            there.auxtune("stop", "studies/long", "--address", there.address)
    assert "continues from its checkpoint" in "".join(lines)
    assert resumed.wait(60) == 130  # what the job there ended with


def test_no_job_server_is_said_with_a_remedy(there: There) -> None:
    done = there.auxtune("submit", "study.yaml", "--address", "http://127.0.0.1:1")
    assert done.returncode == 2
    assert "expected the job server of a Ray cluster" in done.stderr
    assert "Traceback" not in done.stderr
