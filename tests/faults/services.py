"""Faults of what a study uses: its disk, its MLflow server, and trainings that fail."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faults.rows import Census, Count, Fault, Ground
from small_study import StudyRun
from test_tracking_trouble import be_broken, be_gone, be_silent

SMALL_DISK = "200m"  # the study itself takes some 30
WILD = ("training.learning_rate=1.0e+30", "training.clip=null", "stop_after_failures=2")


def fill_disk(ground: Ground, times: int) -> Count:
    """A disk that fills up while trials train, for real; with room again, the study goes on."""
    total = Count()
    for _ in range(times):
        run = ground.make_study()
        census = Census(run)
        with small_disk(run.home / "studies") as disk:
            process = run.start()
            run.wait_for(run.trains, process)
            fill(disk)
            out, err = process.communicate(timeout=300)
            census.note()
            total.require_exit(process, out + err, 2, 3)
            total.require_no_traceback(out + err)
            (disk / "filler").unlink()
            run.finish()
            census.close(total, ground.whole)
            failed = [trial.id for trial in run.accounts.trials.values() if trial.status == "failed"]
            total.require(not failed, f"charged to trials {failed}")
        total.end(f"exit {process.returncode} with one line, went on with room")
    return total


def fail_to_converge(ground: Ground, times: int) -> Count:
    """Losses that are not numbers: each trial is named, stored, charged and told, and many end the study with 3."""
    total = Count()
    for _ in range(times):
        run = ground.make_study()
        said = run.finish("run", "study.yaml", *(word for each in WILD for word in ("--set", each)), code=3)
        failed = [trial for trial in run.accounts.trials.values() if trial.status == "failed"]
        whys = {trial.told.outcome.why for trial in failed if trial.told}
        total.require(whys == {"non-finite"} and len(failed) == 2, f"{len(failed)} failed, because {whys}")
        total.require(
            all(sum(cost.cpu_seconds for cost in trial.costs) > 0 for trial in failed), "a failure cost nothing"
        )
        total.require("2 of 2 trials failed" in said, f"not said: {said[-300:]}")
        total.end("named, stored, charged, told; exit 3 after as many as the study file says")
    return total


def hang_worker(ground: Ground, times: int) -> Count:
    """A worker that hangs is ended after its time and told as a failure; the study goes on."""
    total = Count()
    for _ in range(times):
        run = ground.make_study()
        process = run.start("run", "study.yaml", "--set", "resources.trial_minutes=0.5")
        run.wait_for(run.trains, process)
        run.worker().suspend()
        out, err = process.communicate(timeout=300)
        total.require_exit(process, out + err, 0)
        whys = [trial.told.outcome.why for trial in run.accounts.trials.values() if trial.told]
        total.require(whys.count("hang") == 1 and whys.count(None) == len(whys) - 1, f"told {whys}")
        total.end("ended after its time, named, the study goes on")
    return total


def lose_mlflow(ground: Ground, times: int) -> Count:
    """An MLflow server that refuses, hangs or answers 500 during the whole study; filled in later, none twice."""
    total = Count()
    for number in range(times):
        run = ground.make_study()
        census = Census(run)
        with (be_gone, be_silent, be_broken)[number % 3](run.home) as uri:
            said = run.finish("run", "study.yaml", "--set", f"tracking.uri={uri}")
        census.note()
        total.require_no_traceback(said)
        total.require("MLflow" in said, f"{uri}: not said: {said[-300:]}")
        filled = f"tracking.uri=sqlite:///{run.home / 'mlflow.db'}"
        run.finish("run", "study.yaml", "--set", filled)
        census.close(total, ground.whole)
        total.require(count_runs(run) == 1 + len(run.accounts.trials), "not every trial has its run")
        total.end("the search unharmed, one line, filled in by the next session")
    return total


def count_runs(run: StudyRun) -> int:
    """How many runs the study's MLflow store has."""
    with sqlite3.connect(run.home / "mlflow.db") as store:
        (number,) = store.execute("SELECT count(*) FROM runs WHERE lifecycle_stage = 'active'").fetchone()
    return int(number)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own at ``folder``. Raises ``PermissionError`` where none can be mounted."""
    folder.mkdir(parents=True)
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", folder], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise PermissionError("nothing can be mounted here") from error
    try:
        yield folder
    finally:
        for _ in range(50):  # who worked there may still be leaving
            if subprocess.run(["umount", folder], capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.2)


def fill(disk: Path) -> None:
    """Leave no byte free."""
    with (disk / "filler").open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(os.urandom(size))
            except OSError:
                continue


FAULTS = (
    Fault(
        "disk",
        "the disk full while trials train",
        "ends with one line; no trial is charged; goes on with room",
        fill_disk,
        3,
    ),
    Fault("non-finite", "losses that are not numbers", "named, stored, charged, told", fail_to_converge, 2),
    Fault("hang", "a worker that hangs", "ended after its time, named", hang_worker, 2),
    Fault(
        "mlflow",
        "an MLflow server that refuses, hangs or fails",
        "the search unharmed, filled in later, none twice",
        lose_mlflow,
        3,
    ),
)
