"""Callbacks in Ray's loop: end what hangs, carry news between the loop and the tracker, honour a stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial as RayTrial

from auxtune.orchestrator.reports import read_report, write_report
from auxtune.orchestrator.trainable import Assignment
from auxtune.trials.report import Cost, Report

GRACE = 30.0                                           # seconds for an actor to start and load


class HangWatch(tune.Callback):
    """Ends attempts that show no sign of life for ``limit`` seconds: a failed report, and the actor is killed.

    A worker ends itself at its own time limit; this is for one that cannot, in a deadlock or a dead mount.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit + GRACE
        self._last: dict[str, float] = {}

    def on_trial_start(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        """The clock starts."""
        self._last[trial.trial_id] = time.monotonic()

    def on_trial_result(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """A sign of life."""
        self._last[trial.trial_id] = time.monotonic()

    def on_step_begin(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:
        """Look at all running trials."""
        now = time.monotonic()
        for trial in trials:
            if trial.status == RayTrial.RUNNING and now - self._last.get(trial.trial_id, now) > self._limit:
                self._last[trial.trial_id] = now
                self._end(trial)

    def _end(self, trial: RayTrial) -> None:
        assignment: Assignment = trial.config["assignment"]
        if read_report(assignment.folder) is None:
            wall = self._limit
            cost = Cost(wall, gpu_seconds=assignment.gpus * wall, cpu_seconds=assignment.cpus * wall)
            message = f"no sign of life for {self._limit:.0f} s"
            write_report(assignment.folder, Report(score=None, cost=cost, why="hang", message=message))
        actor = trial.temporary_state.ray_actor
        if actor is not None:
            ray.kill(actor)


class LoopWatch(tune.Callback):
    """Calls ``each_step`` in every turn of Ray's loop."""

    def __init__(self, each_step: Callable[[], None]) -> None:
        self._each_step = each_step

    def on_step_begin(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:
        """A turn of the loop."""
        self._each_step()

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles callbacks into its scratch folder, which is never read back."""
        return {}
