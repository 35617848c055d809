"""Stores of runs that are gone, silent, broken, locked or opened by many at once: a study ends soon all the same."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from small_study import COLD, StudyRun, make_store
from test_mirror import mirrored_in, runs, story

from auxtune.orchestrator.session.session import PATIENCE
from auxtune.orchestrator.tracking.mlflow_runs import StudyRuns
from auxtune.orchestrator.tracking.run_content import Ending
from auxtune.orchestrator.tracking.tracker import Tracker

PROMISED = 10.0  # seconds that the end of a study waits for a store in trouble
PROMISED_INTERRUPTED = 3.0


@contextmanager
def be_gone(folder: Path) -> Iterator[str]:
    """The address of a port at which no one listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@contextmanager
def be_silent(folder: Path) -> Iterator[str]:
    """The address of a server that takes requests and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def be_broken(folder: Path) -> Iterator[str]:
    """The address of a server that answers everything with 500."""

    class Broken(BaseHTTPRequestHandler):
        def do(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(500)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = do_PATCH = do  # noqa: N815  # names of the base class

        def log_message(self, *said: object) -> None:
            """Log nothing between the lines of the tests."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@contextmanager
def be_locked(folder: Path) -> Iterator[str]:
    """The URI of an SQLite file that another process keeps for itself."""
    (folder / "mlflow.db").write_bytes(make_store())
    with closing(sqlite3.connect(folder / "mlflow.db", isolation_level=None)) as holder:
        holder.execute("begin exclusive")
        yield f"sqlite:///{folder}/mlflow.db"


Trouble = Callable[[Path], AbstractContextManager[str]]
in_trouble = pytest.mark.parametrize("trouble", [be_gone, be_silent, be_broken, be_locked])
SAID = {
    be_gone: "does not answer as MLflow does ([Errno 111] Connection refused)",
    be_silent: "gave no answer within 2 s; see whether its server is well",
    be_broken: "does not answer as MLflow does (too many 500 error responses)",
    be_locked: "gave no answer within 2 s; another process may hold it",
}


@pytest.fixture(autouse=True)
def _write_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auxtune.orchestrator.tracking.tracker.INTERVAL", 0.05)


@in_trouble
def test_the_end_of_a_study_waits_no_longer_than_promised(
    trouble: Trouble, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert PATIENCE < PROMISED
    with trouble(tmp_path) as uri:
        tracker = Tracker(mirrored_in(tmp_path, uri=uri), story([0.5, 0.75]))
        tracker.start()
        began = time.monotonic()
        tracker.finish(Ending("done"), patience=2.0)
        assert time.monotonic() - began < 2.0 + (PROMISED - PATIENCE)
        assert tracker.trouble == f"{uri} {SAID[trouble]}"
        tracker.abandon()
    assert "Traceback" not in capfd.readouterr().err


@in_trouble
def test_ctrl_c_at_the_end_ends_the_waiting_and_is_no_success(trouble: Trouble, tmp_path: Path) -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    with trouble(tmp_path) as uri:
        tracker = Tracker(mirrored_in(tmp_path, uri=uri), story([0.5, 0.75]))
        tracker.start()
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            with pytest.raises(KeyboardInterrupt):
                tracker.finish(Ending("done"), patience=60.0)
        finally:
            signal.signal(signal.SIGALRM, previous)
        began = time.monotonic()
        tracker.finish(Ending("done"), patience=0.0)
        assert time.monotonic() - began < PROMISED_INTERRUPTED
        assert tracker.trouble, "it has not written a run, and says so"
        tracker.abandon()


def test_a_store_that_was_locked_is_filled_in_by_the_next_session_and_nothing_is_there_twice(tmp_path: Path) -> None:
    study = mirrored_in(tmp_path)
    with be_locked(tmp_path):
        tracker = Tracker(study, story([0.5, 0.75]))
        tracker.start()
        tracker.finish(Ending("done"), patience=1.0)
        assert tracker.trouble
        tracker.abandon()
    tracker.join(60)
    later = Tracker(study, story([0.5, 0.75]))
    later.start()
    later.finish(Ending("done"), patience=60)
    assert later.trouble is None
    (parent,), trials = runs(study)
    assert [run.info.status for run in (parent, *trials)] == ["FINISHED"] * 3


@pytest.mark.slow
def test_a_store_that_is_slow_but_writes_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mlflow.db").write_bytes(make_store())
    study, real = mirrored_in(tmp_path), StudyRuns.end_child

    def end_slowly(self: StudyRuns, *arguments: object) -> None:
        time.sleep(1.0)
        real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(StudyRuns, "end_child", end_slowly)
    tracker = Tracker(study, story([0.5] * 6)[:1])
    tracker.start()
    while not tracker.made():  # its store is open, and the study's run there
        time.sleep(0.05)
    for event in story([0.5] * 6)[1:]:
        tracker.hear(event)
    tracker.finish(Ending("done"), patience=4.0)
    assert tracker.trouble is None


OPEN = """
import sys
from auxtune.orchestrator.tracking.mlflow_runs import StudyRuns
sys.stdin.readline()  # all begin at once
runs = StudyRuns(sys.argv[1], "together", sys.argv[2], sys.argv[2])
runs.parent(None, 1.0, {})
"""


@pytest.mark.slow
def test_three_studies_may_open_a_fresh_store_at_once(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, uri, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("first", "second", "third")
    ]
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.write("\n")
        opener.stdin.flush()
    printed = [opener.communicate(timeout=300)[1] for opener in openers]
    assert [opener.returncode for opener in openers] == [0, 0, 0], "\n".join(printed)
    assert not any("Traceback" in text or "Error" in text for text in printed), "\n".join(printed)
    with closing(sqlite3.connect(tmp_path / "new" / "mlflow.db")) as store:
        assert sorted(store.execute("select name from runs")) == [("first",), ("second",), ("third",)]
        assert sorted(store.execute("select name from experiments")) == [("Default",), ("together",)]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mlflow.db"]


@pytest.mark.slow
def test_ctrl_c_while_a_study_waits_for_a_silent_server_ends_it_with_its_answer(
    whole: StudyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = StudyRun(tmp_path / "again")
    shutil.copytree(whole.home, run.home)
    page = run.folder / "report.html"
    before = page.stat().st_mtime_ns
    with be_silent(tmp_path) as uri:
        environment = {**os.environ, "MLFLOW_TRACKING_URI": uri}
        process = subprocess.Popen(
            [*COLD, "run", "study.yaml"],
            cwd=run.home,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        run.wait_for(lambda: page.stat().st_mtime_ns != before, process)
        time.sleep(2.0)  # its figures for MLflow are drawn
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        said, _ = process.communicate(timeout=60)
    assert time.monotonic() - began < 2 * PROMISED_INTERRUPTED, said  # the machine may be busy
    assert process.returncode == 0 and "Traceback" not in said
    [line] = [line for line in said.splitlines() if "MLflow could not be" in line]
    assert "`auxtune resume" in line and line.endswith("fills it in.")
