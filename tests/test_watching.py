"""Watching a study, here and from elsewhere: a view on a terminal that is left clean, plain lines anywhere else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from object_store import BUCKET, s3_server
from simulated_study import simulated
from small_study import StudyRun
from terminal import CommandTerminal, shown
from written_study import opened

from auxtune.orchestrator import cli
from auxtune.orchestrator.commands import watching
from auxtune.orchestrator.record.events import Closed, Event, Started
from auxtune.orchestrator.record.ledger import Ledger, LedgerReader
from auxtune.orchestrator.storage.object_path import ObjectPath
from auxtune.orchestrator.views.progress import prepare_lines
from auxtune.orchestrator.views.terminal import Terminal

RANDOM = "{name: random_subset, trials: 4}"
# Runs the trials of a study one by one, each when it is told to by a line, and says so.
DRIVER = """
import sys
from pathlib import Path
from auxtune.orchestrator.record.driver import Heartbeat
from simulated_study import simulated

study = simulated(Path(sys.argv[1]), sys.argv[2])
agenda = study.session()
with Heartbeat(study.folder, agenda._ledger.session):
    print("opened", flush=True)
    for line in sys.stdin:
        if line == "finish\\n":
            study.finish(agenda)
            break
        trial = agenda.next()
        agenda.flush()
        study.report(trial)
        agenda.end_attempt(trial.id, len(trial.attempts))
        agenda.flush()
        print(f"ended {trial.id}", flush=True)
"""


class Driver:
    """A process that runs a study of simulated trials, a step when it is asked to."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(home), RANDOM],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        )
        assert self._said() == "opened"

    def trial(self, number: int) -> None:
        """Run the next trial."""
        self._tell("trial")
        assert self._said() == f"ended {number}"

    def finish(self) -> None:
        """Run all that is left, to the answer."""
        self._tell("finish")
        assert self.process.wait(timeout=120) == 0

    def _tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def _said(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    running = Driver(tmp_path)
    yield running
    running.process.kill()
    running.process.communicate()


def is_left_clean(terminal: CommandTerminal) -> bool:
    """Whether the cursor is there and nothing is switched on that was off."""
    hidden, shown_again = terminal.text.rfind("\x1b[?25l"), terminal.text.rfind("\x1b[?25h")
    modes = set(re.findall(r"\x1b\[\?(\d+)h", terminal.text)) - {"25"}
    styles = re.findall(r"\x1b\[([0-9;]*)m", terminal.text)
    return hidden <= shown_again and not modes and styles[-1:] in ([], ["0"])


# From elsewhere


def test_status_watch_follows_another_process_to_its_answer(driver: Driver, tmp_path: Path) -> None:
    driver.trial(0)
    terminal = CommandTerminal(tmp_path, "status", "x", "--watch")
    terminal.wait_for(lambda: "1 finished" in terminal.screen)
    driver.trial(1)
    terminal.wait_for(lambda: "2 finished" in terminal.screen)
    driver.finish()
    assert terminal.ended() == 0
    lines = terminal.screen.splitlines()
    scores = [line for line in lines if re.match(r"\d\d:\d\d:\d\d  (search|confirm) \d{4} .* score 0\.", line)]
    assert len(scores) > 5 and not any("search 0000" in line for line in scores)  # that was before the watching
    view = lines[lines.index(scores[-1]) + 1 :]
    assert view[0].startswith("x by random_subset  done  ") and view[1].startswith("best ")
    assert view[2].startswith("answer   Train p with ") and is_left_clean(terminal)
    assert sum(line.startswith("best ") for line in lines) == 1  # the views before it are gone


def test_off_a_terminal_it_is_followed_in_plain_lines(driver: Driver, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "auxtune.orchestrator", "status", "x", "--watch"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "x: running, 1 sessions\n"
        while not process.stdout.readline().startswith("cost: "):
            pass
        driver.trial(0)
        lines = [process.stdout.readline(), process.stdout.readline()]
        driver.finish()
        rest = process.stdout.read()
    assert re.fullmatch(r"\d\d:\d\d:\d\d  search 0000 \(.*\) started\n", lines[0])
    assert re.fullmatch(r"\d\d:\d\d:\d\d  search 0000 \(.*\) score 0\.\d{4} in 10 s\n", lines[1])
    assert "x: done, 1 sessions\n" in rest and "\x1b" not in rest and process.returncode == 0


def test_a_study_that_nobody_runs_is_shown_once(tmp_path: Path) -> None:
    study = simulated(tmp_path, RANDOM)
    study.close(study.session(), "interrupted")
    result = CliRunner().invoke(cli.main, ["status", str(study.folder), "--watch"])
    assert result.exit_code == 0 and result.stdout.count("x: interrupted, 1 sessions\n") == 1


@pytest.mark.parametrize("live", [False, True], ids=["plain", "live"])
def test_a_line_has_the_time_of_its_event(live: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = simulated(tmp_path, RANDOM)
    agenda = study.session()
    assert agenda.next() is not None
    *earlier, started = agenda._ledger.events
    assert isinstance(started, Started)
    console = Terminal(force_terminal=True, width=200) if live else None
    prepare_lines(earlier, study.study, console)(replace(started, time=time.mktime((2026, 3, 1, 4, 5, 6, 0, 0, -1))))
    (line,) = filter(None, shown(capsys.readouterr().out))
    assert line.startswith("04:05:06  search 0000 ") and line.endswith(" started")


@pytest.mark.parametrize("other", ["--json", "--verify"])
def test_watching_goes_with_nothing_that_is_asked_once(other: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.main, ["status", str(tmp_path), "--watch", other])
    assert result.exit_code == 2 and f"expected --watch alone, found it with {other}" in result.stderr


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({"TERM": "dumb"}, set()), ({"NO_COLOR": "1"}, {"0", "1", "2"}), ({}, {"0", "1", "2", "1;32"})],
    ids=["dumb", "no colour", "colour"],
)
def test_the_terminal_and_its_user_say_what_they_want(
    environment: dict[str, str], expected: set[str], tmp_path: Path
) -> None:
    study = simulated(tmp_path, RANDOM)
    study.finish(study.session())
    terminal = CommandTerminal(tmp_path, "status", "x", "--watch", environment=environment)
    assert terminal.ended() == 0
    styles = set(re.findall(r"\x1b\[([0-9;]*)m", terminal.text))
    assert styles >= expected and (environment == {} or styles == expected)
    assert ("\x1b" in terminal.text) == (environment.get("TERM") != "dumb") and "done" in terminal.text


def test_ctrl_c_ends_the_watching_and_not_the_study(driver: Driver, tmp_path: Path) -> None:
    terminal = CommandTerminal(tmp_path, "status", "x", "--watch")
    terminal.wait_for(lambda: "budget" in terminal.screen)
    terminal.interrupt()
    assert terminal.ended() == 130 and is_left_clean(terminal) and "Traceback" not in terminal.text
    driver.trial(0)


def test_a_silence_of_the_storage_does_not_end_the_watching(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_FAR", 0.1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with s3_server() as server:
        folder = ObjectPath(f"s3://{BUCKET}/x")
        ledger, heard = Ledger(folder / "ledger", opened("first")), list[Event]()
        sign = {"session": "first", "pid": 1, "host": "elsewhere", "time": time.time()}
        (folder / "heartbeat.json").write_text(json.dumps(sign))

        def back() -> None:
            server.start()
            ledger.close("done")
            (folder / "heartbeat.json").unlink()

        again = threading.Timer(3.0, back)

        def see(events: list[Event]) -> None:
            if events and not heard:
                server.stop()
                again.start()
            heard.extend(events)

        watching._follow_events(folder, LedgerReader(folder / "ledger"), see)
        again.join()
        assert heard == ledger.events and isinstance(heard[-1], Closed)


# Where it runs


@pytest.mark.slow
def test_a_study_shows_itself_while_it_runs_and_only_its_lines_and_answer_stay(small: StudyRun) -> None:
    # Long enough that no trial is over between two drawings.
    terminal = CommandTerminal(small.home, "run", "study.yaml", "--set", "training.steps=300")
    terminal.wait_for(lambda: re.search(r"^search 000\d .* \d+ s$", terminal.screen, re.MULTILINE) is not None)
    seen = terminal.screen
    assert re.search(r"^belief +leans to moods", seen, re.MULTILINE)
    assert re.search(r"^budget +trials .* of 8$", seen, re.MULTILINE)
    assert terminal.ended() == 0
    lines = shown(terminal.text)
    assert not any(line.startswith(("belief", "budget", "next", "small by")) for line in lines)
    answer = next(place for place, line in enumerate(lines) if line.startswith("Train moods"))
    assert re.fullmatch(r"\d\d:\d\d:\d\d  study small in .*", lines[0])
    assert all(re.match(r"\d\d:\d\d:\d\d  \w+", line) for line in lines[:answer]) and answer >= 10
    assert is_left_clean(terminal)


@pytest.mark.slow
def test_ctrl_c_leaves_the_terminal_clean(small: StudyRun) -> None:
    terminal = CommandTerminal(small.home, "run", "study.yaml", "--set", "training.steps=100000")
    terminal.wait_for(lambda: re.search(r"^search 0000 .* \d+/100000 ", terminal.screen, re.MULTILINE) is not None)
    terminal.interrupt()
    assert terminal.ended() == 130 and is_left_clean(terminal)
    *lines, last = filter(None, shown(terminal.text))
    assert last.startswith("Interrupted; `auxtune resume ") and "Traceback" not in terminal.text
    assert all(re.match(r"\d\d:\d\d:\d\d  ", line) for line in lines)


@pytest.mark.slow
def test_plain_lines_on_a_terminal_if_they_are_asked_for(whole: StudyRun) -> None:
    terminal = CommandTerminal(whole.home, "resume", "studies/small", "--plain")
    assert terminal.ended() == 0
    before = terminal.text.partition("Train moods")[0].removesuffix("\x1b[1m")  # the verdict is bold
    assert "study small in" in before and "\x1b" not in before


def test_letters_that_a_terminal_lacks_are_not_drawn_on_it(tmp_path: Path) -> None:
    study = simulated(tmp_path, RANDOM)
    study.close(study.session(), "interrupted")
    terminal = CommandTerminal(tmp_path, "status", "x", "--watch", environment={"PYTHONIOENCODING": "latin-1"})
    assert terminal.ended() == 0
    assert "x: interrupted, 1 sessions" in terminal.text and "Traceback" not in terminal.text
