"""What a row of the table of faults is, and how a study that was disturbed is compared with one that was not."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from small_study import Process, StudyRun, small_study

from auxtune.orchestrator.record.events import Proposed, Told

STUDY_FOR_FAULTS = ("selector: {name: random_subset, trials: 2}", "selector: {name: random_subset, trials: 4}")


@dataclass
class Count:
    """What came of one kind of fault."""

    times: int = 0
    lost: int = 0
    """Finished trials, and answers, that were there before the fault and not after it."""
    doubled: int = 0
    """Trials that were told, proposed or mirrored twice."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """How it ended -> how often."""
    wrong: list[str] = field(default_factory=list)
    """What should not have happened."""

    def end(self, outcome: str) -> None:
        """One more fault, and how it ended."""
        self.times += 1
        self.outcomes[outcome] += 1

    def require(self, is_right: bool, otherwise: str) -> None:
        """Take down what should not have happened."""
        if not is_right:
            self.wrong.append(otherwise)

    def require_exit(self, process: Process, said: str, *codes: int) -> None:
        """Take down what a process said that did not end with one of ``codes``."""
        self.require(process.returncode in codes, f"exit {process.returncode}: {said[-300:]}")

    def require_no_traceback(self, said: str) -> None:
        """Take down a traceback in what a command said."""
        self.require("Traceback" not in said, f"a traceback: {said[-600:]}")


@dataclass
class Ground:
    """Where a row makes its studies, all alike, and the undisturbed one that they are compared with."""

    home: Path
    seed: int = 0
    make_run: Callable[[Path], StudyRun] = small_study
    """Writes the small study into a folder."""
    _numbers: Iterator[int] = field(default_factory=count)
    _whole: StudyRun | None = None

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def make_study(self) -> StudyRun:
        """A study that was not begun: four trials of search and two of confirm."""
        return self._write_study(self.make_run)

    def _write_study(self, make_run: Callable[[Path], StudyRun]) -> StudyRun:
        folder = self.home / f"study{next(self._numbers)}"
        folder.mkdir(parents=True)
        run = make_run(folder)
        file = folder / "study.yaml"
        file.write_text(file.read_text().replace(*STUDY_FOR_FAULTS))
        return run

    @property
    def whole(self) -> StudyRun:
        """The undisturbed study, which is kept in a folder of this machine."""
        if self._whole is None:
            self._whole = self._write_study(small_study)
            self._whole.finish()
        return self._whole

    def draw_seconds(self) -> float:
        """A random time in which a session is somewhere between its first import and its last trial."""
        return float(self.rng.uniform(0.2, 14.0))


class Census:
    """What a study knew at any time: later it must know all of it, and nothing twice."""

    def __init__(self, run: StudyRun) -> None:
        self._run = run
        self._told: dict[int, Any] = {}

    def note(self) -> None:
        """Remember what has been told by now."""
        with suppress(OSError):  # nothing was written yet
            self._told |= {
                event.id: (event.outcome, event.test) for event in self._run.events if isinstance(event, Told)
            }

    def close(self, total: Count, whole: StudyRun) -> None:
        """Count in ``total`` what the finished study lost or doubled, and where it differs from the ``whole`` one."""
        told = [event for event in self._run.events if isinstance(event, Told)]
        now = {event.id: (event.outcome, event.test) for event in told}
        total.lost += sum(now.get(number) != outcome for number, outcome in self._told.items())
        proposed = Counter(event.id for event in self._run.events if isinstance(event, Proposed))
        total.doubled += sum(
            times - 1 for times in (proposed + Counter(event.id for event in told)).values() if times > 2
        )
        total.doubled += count_doubled_runs(self._run)
        total.require(
            sorted(self._run.story, key=str) == sorted(whole.story, key=str), "another story than undisturbed"
        )
        total.require(read_answer(self._run) == read_answer(whole), "another answer than undisturbed")


def read_answer(run: StudyRun) -> dict[str, Any]:
    """The answer of a finished study, without what differs between runs: its cost and what names it."""
    answer: dict[str, Any] = json.loads((run.folder / "selection.json").read_text())
    return {**answer, "cost": None}


def count_doubled_runs(run: StudyRun) -> int:
    """How many runs of the study's MLflow store are of a trial that has one already, or of a second parent."""
    with sqlite3.connect(run.home / "mlflow.db") as store:
        query = "SELECT value FROM tags JOIN runs USING (run_uuid) WHERE key = ? AND lifecycle_stage = 'active'"
        trials = [value for (value,) in store.execute(query, ("auxtune.proposal_id",))]
        parents = [value for (value,) in store.execute(query, ("auxtune.role",)) if value == "study"]
    return len(trials) - len(set(trials)) + max(len(parents) - 1, 0)


def wait_or_end(process: Process, seconds: float) -> bool:
    """Wait this long; whether the process has ended by itself."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            return True
        time.sleep(0.02)
    return False


Row = Callable[[Ground, int], Count]


@dataclass(frozen=True)
class Fault:
    """A row of the table."""

    name: str
    what: str
    promise: str
    run: Row
    times: int
