"""Small real tasks on disk, and studies over them that run in a process of their own."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import psutil
from nursery import Nursery, WarmProcess

from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.events import Event, Proposed, Told
from auxtune.orchestrator.record.ledger import read_events

ENVIRONMENT: dict[str, str] = {}  # before any test has changed it; conftest.py fills it
COLD = (sys.executable, "-m", "auxtune.orchestrator")  # ``auxtune``, where it cannot be forked
Process: TypeAlias = WarmProcess | subprocess.Popen[str]
STUDY = """\
study: small
primary: moods
tasks:
  moods: {path: tasks/moods, rows: 200}
  echoes: {path: tasks/echoes}
  noises: {path: tasks/noises}
model: {name: tiny, max_length: 16, pooling: mean}
training: {steps: 40, batch_size: 16, learning_rate: 1.0e-3, evaluate_every: 10, checkpoint_every: 0.05}
selector: {name: random_subset, trials: 2}
confirm: {seeds: 1, controls: [single_task]}
budget: {trials: 8}
resources: {cpus: 1, gpus: 0, concurrent: 1}
prices: {cpu_hour: 0.04}
seed: 3
"""


def write_task(folder: Path, seed: int, rows: int = 900) -> None:
    """Sentences of six words; the label says whether the good words are in the majority (or, odd seeds, the last)."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    words = [f"w{i}" for i in range(60)]
    for part, count in (("train", rows), ("validation", 250)):
        lines = []
        for _ in range(count):
            chosen = rng.integers(60, size=7)
            label = int((chosen < 30).sum() > 3) if seed % 2 == 0 else int(chosen[-1] < 30)
            sentence = " ".join(words[i] for i in chosen)
            lines.append(json.dumps({"sentence1": sentence, "sentence2": None, "label": label}))
        (folder / f"{part}.jsonl").write_text("\n".join(lines) + "\n")
    meta = {"kind": "classification", "labels": ["bad", "good"], "metric": "accuracy", "pair": False}
    (folder / "meta.json").write_text(json.dumps(meta))


@cache
def start_nursery() -> Nursery:
    """The process that this one's commands are forked from, in the environment that conftest.py has set."""
    folder = tempfile.TemporaryDirectory(prefix="nursery")
    nursery = Nursery(Path(folder.name), environment=ENVIRONMENT)
    atexit.register(folder.cleanup)
    atexit.register(nursery.close)
    return nursery


@dataclass
class StudyRun:
    """A study file in a folder, and the command line over it in processes of their own."""

    home: Path

    @property
    def folder(self) -> Path:
        """``<storage>/<study>``."""
        return self.home / "studies" / "small"

    @property
    def events(self) -> list[Event]:
        """The ledger's events, as they are now."""
        return read_events(self.folder / "ledger") if self.folder.is_dir() else []

    @property
    def accounts(self) -> Accounts:
        """The accounts, as they are now."""
        return Accounts(self.events)

    @property
    def told(self) -> int:
        """How many trials have ended."""
        return sum(trial.told is not None for trial in self.accounts.trials.values())

    @property
    def story(self) -> list[object]:
        """Every proposal and outcome in the ledger's order, without times."""
        return [
            (e.id, e.phase, e.proposal) if isinstance(e, Proposed) else (e.id, e.outcome, e.test)
            for e in self.events
            if isinstance(e, (Proposed, Told))
        ]

    def start(self, *arguments: str) -> Process:
        """``auxtune ARGUMENTS``, by default ``run study.yaml``, in the background."""
        arguments = arguments or ("run", "study.yaml")
        if (nursery := start_nursery()).fits(os.environ):
            return nursery.start(self.home, arguments)
        command = [*COLD, *arguments]
        return subprocess.Popen(
            command, cwd=self.home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def finish(self, *arguments: str, code: int = 0) -> str:
        """The same in the foreground: its output, once it has ended with ``code``."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=400)
        assert process.returncode == code, f"exit {process.returncode}\n{out}\n{err}"
        return out + err

    def ask(self, *arguments: str) -> Any:
        """The same, for a command that prints JSON: what that says."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=400)
        assert process.returncode == 0, f"exit {process.returncode}\n{out}\n{err}"
        return json.loads(out)

    def wait_for(self, condition: Callable[[], bool], process: Process, seconds: float = 600) -> None:
        """Wait until something is true of the running study; long, since a busy machine is no fault."""
        end = time.monotonic() + seconds
        while not condition():
            assert process.poll() is None, process.communicate()
            if time.monotonic() > end:
                story, folder = self.story, self.folder
                kill(process)
                raise AssertionError(f"waited {seconds} s in {folder}; the ledger so far: {story}")
            time.sleep(0.05)

    def running_attempt(self) -> Path | None:
        """The folder of the attempt that is running now, once it has a checkpoint."""
        for trial in self.accounts.trials.values():
            folder = self.folder / "trials" / f"{trial.id:04d}" / str(len(trial.attempts))
            if trial.status == "running" and (folder / "checkpoint" / "checkpoint.safetensors").exists():
                return folder
        return None

    def trains(self) -> bool:
        """Whether an attempt is running and has a checkpoint."""
        return self.running_attempt() is not None

    def worker(self) -> psutil.Process:
        """The process that trains the running attempt."""
        folder = self.running_attempt()
        assert folder is not None, "nothing is running"
        while not (sign := (folder / "alive").read_text()):  # it is being written again
            time.sleep(0.01)
        return psutil.Process(int(sign.split()[0]))


def kill(process: Process) -> None:
    """SIGKILL a driver; its Ray dies with it, and this waits until it has."""
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    psutil.wait_procs(children, timeout=30)


@cache
def make_store() -> bytes:
    """An empty store of runs as MLflow makes it, which takes seconds and is the same each time."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with tempfile.TemporaryDirectory() as folder:
        SqlAlchemyStore(f"sqlite:///{folder}/mlflow.db", folder)
        return (Path(folder) / "mlflow.db").read_bytes()


def small_study(home: Path) -> StudyRun:
    """The study file and its tasks in a folder: half a minute from start to answer, one trial at a time."""
    for name, seed in (("moods", 2), ("echoes", 4), ("noises", 5)):
        write_task(home / "tasks" / name, seed)
    (home / "study.yaml").write_text(STUDY)
    (home / "mlflow.db").write_bytes(make_store())
    return StudyRun(home)
