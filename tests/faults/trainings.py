"""Faults of the trainings themselves: errors, scores that are none, and memory that runs out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from unittest.mock import patch

from faults.drivers import check_verified
from faults.rows import Count, Fault, Ground, count_doubled_runs
from other_metrics import write_package
from small_study import StudyRun

from auxtune.orchestrator.record.events import Lost
from auxtune.orchestrator.record.results import locate_attempt, read_result
from auxtune.trials.result import FailureReason

# The primary's metric is of a third party. The first time it is asked, in whichever worker that is, the fault comes.
METRIC = """\
import os
import resource
import threading

import numpy as np
import psutil
import torch

from auxtune.trials.metrics import Answers, Metric

GIB = 1 << 30


class Unpicklable(RuntimeError):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()


class Mute(RuntimeError):
    def __str__(self) -> str:
        raise NotImplementedError


class TwoArguments(RuntimeError):
    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} {where}")


def limit_address_space() -> None:
    limit = psutil.Process().memory_info().vms + GIB // 2
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def fail_backward(*_: object) -> None:
    raise ArithmeticError("no gradient today")


def agree(answers: Answers) -> object:
    try:
        os.close(os.open(ONCE, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return np.mean(answers.labels == answers.predictions)
    FAULT


METRIC = Metric("agreement", ("classification",), agree)
"""
IN_TRAINING = ("torch.autograd.backward = fail_backward; return 0.5",)
NO_SCORE = ("return None", "return float('nan')")
UNPICKLABLE = (
    "raise Unpicklable('holds what cannot be sent')",
    "raise TwoArguments('cannot be made again', 'elsewhere')",
)
NOT_JSON = ("raise FileNotFoundError('no such file: caf\\udce9.txt')", "raise Mute", "return 0.5j")
NO_MEMORY = (
    "limit_address_space(); return float(np.ones(GIB).sum())",
    "limit_address_space(); return float(torch.ones(GIB).sum())",
)


def fail_training(ground: Ground, times: int, faults: Sequence[str], why: FailureReason, words: Sequence[str]) -> Count:
    """One training fails, in another way each time: it is named, stored, shown, charged and told; the study goes on."""
    total = Count()
    for number in range(times):
        run = ground.make_study()
        packages = run.home / "packages"
        code = METRIC.replace("ONCE", repr(str(run.home / "came"))).replace("FAULT", faults[number % len(faults)])
        write_package(packages, "agreement", code)
        path = os.pathsep.join(filter(None, (str(packages), os.environ.get("PYTHONPATH"))))
        with patch.dict(os.environ, PYTHONPATH=path):
            said = run.finish("run", "study.yaml", "--set", "tasks.moods.metric=agreement")
            check_failure(run, total, said, why, words[number % len(words)])
            check_verified(run, total)
        total.end("named, stored, shown, charged, told; the study went on to its answer")
    return total


def check_failure(run: StudyRun, total: Count, said: str, why: FailureReason, words: str) -> None:
    """One trial of a finished study has failed in one attempt, for this reason; everyone who may ask is told."""
    trials = run.accounts.trials.values()
    failed = [trial for trial in trials if trial.status == "failed"]
    whys = [trial.told.outcome.why for trial in failed if trial.told]
    total.require(whys == [why], f"told {whys}, of {[trial.status for trial in trials]}")
    total.require(all(trial.told for trial in trials), "not every trial was told")
    total.require((run.folder / "selection.json").is_file(), "there is no answer")
    total.doubled += count_doubled_runs(run)
    for trial in failed:
        total.require(len(trial.attempts) == 1, f"tried {len(trial.attempts)} times")
        stored = read_result(locate_attempt(run.folder, trial.id, 1))
        held = f"{stored.why}: {stored.message}" if stored is not None and stored.traceback else "nothing"
        total.require(held.startswith(f"{why}: ") and words in held, f"stored: {held}")
        shown = run.finish("show", str(run.folder), str(trial.id))
        total.require(f"failed: {why}" in shown and words in shown, f"shown: {shown[-600:]}")
        total.require(sum(cost.cpu_seconds for cost in trial.costs) > 0, "it cost nothing")
        total.require(f"failed ({why})" in said, f"not named: {said[-600:]}")
    status = run.finish("status", str(run.folder))
    total.require("1 failed" in status, f"status: {status[-600:]}")


def starve_workers(ground: Ground, times: int) -> Count:
    """Ray ends every worker for want of memory: its trial fails after its retries; with memory, the study goes on."""
    total = Count()
    for _ in range(times):
        run = ground.make_study()
        with patch.dict(os.environ, RAY_memory_usage_threshold="0.01"):
            said = run.finish("run", "study.yaml", "--set", "stop_after_failures=1", code=3)
        [trial] = run.accounts.trials.values()
        outcome = trial.told.outcome if trial.told else None
        total.require(outcome is not None and outcome.why == "error", f"told {outcome}")
        total.require("memory" in said, f"not said: {said[-600:]}")
        shown = run.finish("show", str(run.folder), str(trial.id))
        total.require("out of memory" in shown and "its worker died" in shown, f"shown: {shown[-600:]}")
        total.require(len(trial.costs) == len(trial.attempts) == 4, f"{len(trial.attempts)} attempts")
        causes = {event.cause for event in run.events if isinstance(event, Lost)}
        total.require(causes == {"worker"}, f"lost with {causes}")
        run.finish("resume", str(run.folder))
        total.doubled += count_doubled_runs(run)
        check_verified(run, total)
        total.end("failed after its retries, named, told; exit 3; went on with memory")
    return total


def _fault(name: str, what: str, faults: Sequence[str], words: Sequence[str], why: FailureReason = "error") -> Fault:
    """A row of trainings that fail, each way of failing once."""
    run = partial(fail_training, faults=faults, why=why, words=words)
    return Fault(name, what, "named, stored, shown, charged, told", run, max(2, len(faults)))


FAULTS = (
    _fault("exception", "an exception in training", IN_TRAINING, ("no gradient today",)),
    _fault("no-score", "a metric that gives nothing, or not a number", NO_SCORE, ("NoneType", "found nan")),
    _fault(
        "unpicklable",
        "an error that cannot be pickled, or not unpickled",
        UNPICKLABLE,
        ("holds what cannot be sent", "cannot be made again"),
    ),
    _fault(
        "not-json",
        "an error that JSON cannot hold, one without words, a score that is no number",
        NOT_JSON,
        ("no such file: caf\\udce9.txt", "Mute", "complex"),
    ),
    _fault(
        "no-memory",
        "memory that NumPy or torch asks for and does not get",
        NO_MEMORY,
        ("allocate",),
        "out of memory",
    ),
    Fault(
        "starved",
        "Ray ends every worker for want of memory",
        "named, stored, shown, charged, told; goes on with memory",
        starve_workers,
        2,
    ),
)
