"""Stopping a study from outside: the right process is asked, once, and waited for."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from small_study import StudyRun
from written_study import start_driver, written_study

from auxtune.orchestrator import cli
from auxtune.orchestrator.record.driver import Heartbeat, find_active_driver, read_process_start


def stop(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli.main, ["stop", str(folder), *arguments])


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return written_study(tmp_path / "small")


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with the study."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


def sign(study: Path, **said: object) -> None:
    """Write a heartbeat as a driver, perhaps of an older version, would have left it."""
    usual = {"session": "s", "pid": os.getpid(), "host": platform.node(), "time": time.time()}
    (study / "heartbeat.json").write_text(json.dumps({**usual, **said}))


def test_the_driver_ends_its_session_and_the_way_on_is_said(study: Path) -> None:
    driver = start_driver(study)
    (study / "end").touch()
    result = stop(study)
    assert result.exit_code == 0, result.output
    assert f"process {driver.pid} was asked to stop" in result.stdout
    assert f"small: interrupted; `auxtune resume {study}` continues from there" in result.stdout
    assert driver.communicate(timeout=30)[0] == "1\n"
    assert not (study / "heartbeat.json").exists()


def test_asked_twice_the_driver_hears_of_it_once(study: Path) -> None:
    driver = start_driver(study)
    first = json.loads(stop(study, "--timeout", "0", "--json").stdout)
    assert first == {"study": "small", "process": driver.pid, "stopped": False, "state": None}
    while not (said := find_active_driver(study)) or not said.stopping:
        time.sleep(0.02)
    late = stop(study, "--timeout", "0.3")
    assert late.exit_code == 2 and "is stopping already" in late.stdout and "not ended within 0.3 s" in late.stderr
    threading.Timer(1.0, (study / "end").touch).start()  # not before the next command has found it at work
    assert json.loads(stop(study, "--json").stdout) == {**first, "stopped": True, "state": "interrupted"}
    assert driver.communicate(timeout=30)[0] == "1\n"


def test_a_driver_says_at_once_that_it_was_asked(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks again must see it, or the second signal would not wait for running trials."""
    monkeypatch.setattr("auxtune.orchestrator.record.driver.BEAT", 3600.0)
    asked = threading.Event()
    with Heartbeat(study, "s", asked.is_set):
        assert not json.loads((study / "heartbeat.json").read_text())["stopping"]
        asked.set()
        while not json.loads((study / "heartbeat.json").read_text())["stopping"]:
            time.sleep(0.05)


def test_a_clean_up_that_waits_is_not_signalled(study: Path) -> None:
    sign(study, session="clean-x", pid=1, started=read_process_start(1))
    result = stop(study)
    assert result.exit_code == 2 and "cleans this study" in result.stderr


def test_where_nothing_runs_that_is_said(study: Path) -> None:
    result = stop(study)
    assert result.exit_code == 0 and "small: nothing is running" in result.stdout


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    result = stop(tmp_path)
    assert result.exit_code == 2 and "expected the folder of a study" in result.stderr and not result.stdout


def test_a_driver_on_another_host_is_named(study: Path) -> None:
    sign(study, host="elsewhere", pid=12)
    result = stop(study, "--timeout", "0")
    assert result.exit_code == 2 and "run `auxtune stop` on elsewhere" in result.stderr


def test_a_process_that_was_given_the_drivers_number_is_left_alone(
    study: Path, bystander: subprocess.Popen[bytes]
) -> None:
    sign(study, pid=bystander.pid, started="long ago")
    result = stop(study, "--timeout", "0")
    assert result.exit_code == 0 and "nothing is running" in result.stdout
    assert bystander.poll() is None


def test_a_sign_of_an_older_version_is_read_but_not_trusted(study: Path, bystander: subprocess.Popen[bytes]) -> None:
    sign(study, pid=bystander.pid)
    assert find_active_driver(study) is not None
    result = stop(study, "--timeout", "0")
    assert result.exit_code == 2 and f"kill -INT {bystander.pid}" in result.stderr
    assert bystander.poll() is None


def test_a_suspended_driver_is_alive_and_one_that_only_its_parent_waits_for_is_not(
    study: Path, bystander: subprocess.Popen[bytes]
) -> None:
    hours_ago = time.time() - 7200
    sign(study, pid=bystander.pid, started=read_process_start(bystander.pid), time=hours_ago)
    assert find_active_driver(study) is not None
    bystander.kill()
    end = time.monotonic() + 10
    while find_active_driver(study) is not None:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_moment_of_beginning_belongs_to_one_process(bystander: subprocess.Popen[bytes]) -> None:
    assert read_process_start(bystander.pid) == read_process_start(bystander.pid) is not None
    assert read_process_start(bystander.pid) != read_process_start(os.getpid())
    assert read_process_start(2**22 + 1) is None  # beyond the largest number that Linux gives


@pytest.mark.slow
def test_a_stopped_and_cleaned_study_goes_on_from_its_checkpoint(small: StudyRun) -> None:
    # Long enough to be still at it when `stop` has started.
    process = small.start("run", "study.yaml", "--set", "training.steps=500", "--set", "selector.trials=1")
    small.wait_for(small.trains, process)
    said = small.finish("stop", str(small.folder))
    assert f"auxtune resume {small.folder}" in said
    assert process.wait(timeout=60) == 130
    unfinished = next(trial for trial in small.accounts.trials.values() if trial.told is None)
    assert "Ray's scratch" in small.finish("clean", str(small.folder), "--yes")
    assert not (small.folder / "tune").exists()

    small.finish("resume", str(small.folder))
    assert small.accounts.trials[unfinished.id].attempts[-1].resume_from == 1
    before = small.story
    assert "superseded attempts" in small.finish("clean", str(small.folder), "--yes")
    assert not list(small.folder.glob("trials/*/*/checkpoint")) and list(small.folder.glob("trials/*/*/result.json"))
    assert "nothing to delete" in small.finish("clean", str(small.folder))
    assert "verified" in small.finish("status", str(small.folder), "--verify")
    small.finish("resume", str(small.folder))
    assert small.story == before
