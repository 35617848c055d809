"""A study's folder written without training: a ledger of three trials and the files that their attempts would leave.

Trial 0 finished at its second attempt, trial 1 failed, trial 2 has no outcome (``until="done"``: it finished too).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

from small_study import STUDY

from auxtune.orchestrator.record.events import Lost, Opened, Proposed, Started, Told
from auxtune.orchestrator.record.ledger import Ledger
from auxtune.orchestrator.record.results import locate_attempt, write_result
from auxtune.selectors.protocol import Outcome, Problem, Proposal, TaskInfo
from auxtune.trials.result import Cost, Result

PROBLEM = Problem((TaskInfo("moods", "classification", 200), TaskInfo("noises", "classification", 900)), "moods", 3)
SPENT = Cost(wall_seconds=10.0, gpu_seconds=0.0, cpu_seconds=10.0)
FILES = ("metrics.jsonl", "predictions.npz", "log.txt", "alive", "checkpoint/model", "weights/model")

# A driver that trains nothing: it ends after a signal and a file named `end`, and notes how many signals came.
DRIVER = """
import sys, time
from pathlib import Path
from written_study import opened
from auxtune.orchestrator.record import driver
from auxtune.orchestrator.record.ledger import Ledger

driver.BEAT = 0.05
folder = Path(sys.argv[1])
with driver.StopSignals() as signals, driver.Heartbeat(folder, "driver", lambda: bool(signals.came)), signals.held():
    ledger = Ledger(folder / "ledger", opened("driver"))
    print("ready", flush=True)
    while not (signals.came and (folder / "end").exists()):
        time.sleep(0.02)
    ledger.close("interrupted")
print(len(signals.came))
"""


def opened(session: str, text: str = STUDY) -> Opened:
    """The beginning of a session."""
    return Opened(
        session=session,
        time=1000.0,
        study=text,
        overrides=(),
        study_folder="/s",
        working_folder="/w",
        problem=PROBLEM,
        fingerprint={},
        versions={},
    )


def written_study(folder: Path, until: Literal["interrupted", "done"] = "interrupted", text: str = STUDY) -> Path:
    """Write the study into ``folder``, and return it."""
    ledger = Ledger(folder / "ledger", opened("first", text))
    for number, tasks in enumerate([("moods", "noises"), ("moods",), ("moods", "noises")]):
        shares = {task: 1 / len(tasks) for task in tasks}
        proposal = Proposal(tasks, shares, seed=number + 70)
        ledger.append(Proposed(id=number, time=1001.0, proposal=proposal, phase="search", after=number))
        ledger.append(Started(id=number, attempt=1, time=1002.0, session="first", cpus=1, gpus=0))
    ledger.append(Lost(id=0, attempt=1, time=1010.0, cost=SPENT, cause="driver"))
    ledger.append(Started(id=0, attempt=2, time=1011.0, session="first", resume_from=1, cpus=1, gpus=0))
    metrics = {"moods": {"accuracy": 0.75}}
    ledger.append(Told(id=0, attempt=2, time=1020.0, outcome=Outcome(0.75, metrics), cost=SPENT))
    broke = Outcome(None, why="error")
    ledger.append(Told(id=1, attempt=1, time=1030.0, outcome=broke, cost=SPENT, message="ValueError: no such word"))
    if until == "done":
        ledger.append(Told(id=2, attempt=1, time=1040.0, outcome=Outcome(0.5, metrics), cost=SPENT))
    ledger.close(until)
    for trial, attempt in ((0, 1), (0, 2), (1, 1), (2, 1)):
        for name in FILES:
            file = locate_attempt(folder, trial, attempt) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(f"{name} {line} of {trial}/{attempt}\n" for line in range(30)))
    write_result(locate_attempt(folder, 0, 2), Result(0.75, SPENT))
    failure = Result(None, SPENT, why="error", message="ValueError: no such word", traceback="Traceback: in words.py\n")
    write_result(locate_attempt(folder, 1, 1), failure)
    (folder / "tune" / "first").mkdir(parents=True)
    (folder / "tune" / "first" / "scratch").write_text("x" * 5000)
    (folder / "study.yaml").write_text(text)
    (folder / "selection.json").write_text("{}")
    return folder


def start_driver(folder: Path) -> subprocess.Popen[str]:
    """A process that works on the study in ``folder`` (``DRIVER``), once it has said that it is ready."""
    command = [sys.executable, "-c", DRIVER, str(folder)]
    found = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}  # also with PYTHONSAFEPATH
    process = subprocess.Popen(command, env=found, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process
