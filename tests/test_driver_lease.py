"""A sign of life that no driver wrote: it is taken as absent, that is said once, and no command breaks over it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from written_study import written_study

from auxtune.orchestrator import cli
from auxtune.orchestrator.record.driver import Heartbeat, find_active_driver

USUAL = {"session": "s", "pid": os.getpid(), "host": platform.node(), "time": time.time()}
DAMAGED = {
    "a huge process number": json.dumps({**USUAL, "pid": 10**30}),
    "a process number of 5,000 digits": '{"session": "s", "pid": ' + "9" * 5000 + "}",
    "all processes": json.dumps({**USUAL, "pid": -1}),
    "an infinite process number": json.dumps({**USUAL, "pid": float("inf")}),
    "no time": json.dumps({**USUAL, "pid": 1, "time": float("nan")}),
    "a list": "[1, 2]",
    "nothing": "",
    "half a file": json.dumps(USUAL)[:20],
    "brackets without end": "[" * 200_000,
    "bytes": "\udcff\udcfe",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_what_no_driver_wrote_is_absent_and_that_is_said_once(
    content: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "heartbeat.json").write_bytes(content.encode(errors="surrogateescape"))
    assert find_active_driver(tmp_path) is None
    assert find_active_driver(tmp_path) is None
    [said] = caplog.messages
    assert str(tmp_path / "heartbeat.json") in said and "taken as absent" in said


def test_a_new_driver_replaces_it(tmp_path: Path) -> None:
    (tmp_path / "heartbeat.json").write_text(DAMAGED["a huge process number"])
    with Heartbeat(tmp_path, "mine"):
        assert json.loads((tmp_path / "heartbeat.json").read_text())["pid"] == os.getpid()
    assert not (tmp_path / "heartbeat.json").exists()


def test_a_beat_from_a_future_day_is_no_life(tmp_path: Path) -> None:
    elsewhere = {**USUAL, "host": "another", "pid": 7, "time": time.time()}
    (tmp_path / "heartbeat.json").write_text(json.dumps(elsewhere))
    assert find_active_driver(tmp_path) is not None
    (tmp_path / "heartbeat.json").write_text(json.dumps({**elsewhere, "time": time.time() + 86_400}))
    assert find_active_driver(tmp_path) is None


@pytest.mark.parametrize("command", ["status", "stop", "list", "clean", "report"])
def test_no_command_breaks_over_it(command: str, tmp_path: Path) -> None:
    study = written_study(tmp_path / "small")
    (study / "heartbeat.json").write_text(DAMAGED["a huge process number"])
    given = [str(tmp_path if command == "list" else study), *(["--yes"] if command == "clean" else [])]
    result = CliRunner().invoke(cli.main, [command, *given])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (0, 2), result.output


@pytest.mark.slow
def test_a_command_says_it_in_one_line(tmp_path: Path) -> None:
    study = written_study(tmp_path / "small")
    (study / "heartbeat.json").write_text(DAMAGED["a huge process number"])
    run = subprocess.run(
        [sys.executable, "-m", "auxtune.orchestrator", "status", str(study)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    [said] = run.stderr.splitlines()
    assert "heartbeat.json: not a driver's sign of life" in said
