"""The demo's commands ask nobody beyond this machine for anything, with no offline mode set."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from outside_world import OutsideWorld, outside_world

pytestmark = pytest.mark.slow
SMALL = [
    "training.steps=8", "training.evaluate_every=4", "selector={name: random_subset, trials: 2}", "confirm.seeds=1",
    "confirm.controls=[single_task]", "budget.trials=4", "tasks.mood.rows=60",
]  # fmt: skip
IN_PYTHON = """
from auxtune.orchestrator import Study
from auxtune.trials import load_model

print(Study.from_folder("studies/quickstart").status()["state"])
print(load_model("model").predict("mood", ["it is bright"]))
"""
TELL_ON_ITSELF = """
import threading
from mlflow import MlflowClient

MlflowClient("sqlite:///m.db").create_experiment("told")
for thread in threading.enumerate():
    if thread.name == "GetTelemetryConfig":
        thread.join(60)
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OutsideWorld]:
    with outside_world(tmp_path / "outside") as world:
        yield world


def command(world: OutsideWorld, home: Path, *arguments: str) -> str:
    """What a Python process says, once it has ended well."""
    run = subprocess.run(
        [sys.executable, *arguments], env=world.environment, cwd=home, capture_output=True, text=True, timeout=500
    )
    assert run.returncode == 0, f"{arguments}\n{run.stdout}\n{run.stderr}"
    return run.stdout


def look_at_the_page(world: OutsideWorld, home: Path) -> None:
    """``auxtune ui`` from its start to Ctrl-C, and what a browser would ask its server for first."""
    ui = [sys.executable, "-m", "auxtune.orchestrator", "ui", "studies/quickstart", "--no-browser"]
    with subprocess.Popen(ui, env=world.environment, cwd=home, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().partition("/#")[0]
            direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            for path in ("/", "/health", "/ajax-api/3.0/mlflow/ui-telemetry"):
                direct.open(f"{address}{path}", timeout=30).read()
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(60) in (0, 130)


def test_the_demos_commands_ask_nobody_beyond_this_machine(world: OutsideWorld, tmp_path: Path) -> None:
    home, auxtune = tmp_path / "home", ("-m", "auxtune.orchestrator")
    home.mkdir()
    changes = [part for change in SMALL for part in ("--set", change)]
    command(world, home, *auxtune, "examples", "cp", "quickstart.yaml")
    command(world, home, *auxtune, "validate", "quickstart.yaml", "--smoke", *changes)
    command(world, home, *auxtune, "run", "quickstart.yaml", *changes)
    command(world, home, *auxtune, "status", "studies/quickstart")
    command(world, home, *auxtune, "report", "studies/quickstart")
    look_at_the_page(world, home)
    command(world, home, *auxtune, "export", "studies/quickstart", "--to", "model")
    (home / "new.csv").write_text("text\nit is bright\nit is dark\n")
    command(world, home, *auxtune, "predict", "model", "--task", "mood", "new.csv", "--text", "text")
    assert "done" in command(world, home, "-c", IN_PYTHON)
    assert all(map(world.heard_of, ("auxtune.orchestrator run", "default_worker.py", "mlflow", "auxtune.trials")))
    assert world.asked == []
    assert world.strangers() == []


def test_a_report_of_use_would_have_been_heard(world: OutsideWorld, tmp_path: Path) -> None:
    """What the other test finds none of: MLflow's, where the environment allows it."""
    command(world, tmp_path, "-c", TELL_ON_ITSELF)
    assert any("mlflow-telemetry.io" in asked for asked in world.asked)


def test_an_address_that_needs_no_proxy_would_have_been_heard(world: OutsideWorld, tmp_path: Path) -> None:
    """By UDP, for which nothing is sent: 192.0.2.1 is reserved for documentation."""
    send = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 9))"
    with suppress(AssertionError):  # where there is no route at all; it was tried all the same
        command(world, tmp_path, "-c", send)
    [heard] = world.strangers()
    assert "192.0.2.1" in heard
