"""Callbacks in Ray's loop: one for every turn, and one that ends attempts that hang."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial as RayTrial

from auxtune.orchestrator.engine.trainable import Assignment
from auxtune.orchestrator.errors import HangError
from auxtune.orchestrator.planning.slots import Slots
from auxtune.orchestrator.record.results import read_result, write_result
from auxtune.trials.result import Cost, Result

GRACE = 30.0  # seconds beyond the limit at which a worker ends itself


class _Watch(tune.Callback):
    """A callback of this process alone."""

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles callbacks into its scratch folder, which is never read back."""
        return {}


class LoopWatch(_Watch):
    """Calls ``each_turn`` in every turn of Ray's loop, and finds Ray's message on a trial that broke."""

    def __init__(self, each_turn: Callable[[], None]) -> None:
        self._each_turn = each_turn
        self._trials: list[RayTrial] = []

    def on_step_begin(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:
        """A turn of the loop."""
        self._trials = trials
        self._each_turn()

    def error_of(self, trial_id: str) -> str | None:
        """The last line of the error that ended Ray's trial, if one did."""
        # Not by ``get_error``: it looks into the storage, where the file arrives later than this is asked.
        file = next((trial.error_file for trial in self._trials if trial.trial_id == trial_id), None)
        lines = Path(file).read_text(encoding="utf-8").split("\n") if file and Path(file).is_file() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), None)


class HangWatch(_Watch):
    """Ends attempts that show no sign of life for ``limit`` seconds: a failed result, and the actor is killed.

    A worker ends itself at its own time limit; this is for one that cannot, in a deadlock or a dead mount. One that
    hangs before its first step has no actor that could be killed: that ends the session, and the next one tries again.
    One that waits for a node, since those that are there are full, does not hang.
    """

    def __init__(self, limit: float, slots: Callable[[], Slots]) -> None:
        """``slots`` gives the resources for trials at the moment of the call."""
        self._limit, self._slots = limit + GRACE, slots
        self._began: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def on_trial_result(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """A sign of life."""
        self._last[trial.trial_id] = time.monotonic()

    def on_step_begin(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:
        """Look at all trials that are to run."""
        now = time.monotonic()
        running = sum(trial.status == RayTrial.RUNNING for trial in trials)
        for trial in trials:
            if trial.status == RayTrial.PENDING and self._waits(trial, running):
                self._last[trial.trial_id] = now
            began = self._began.setdefault(trial.trial_id, now)
            silent = now - self._last.get(trial.trial_id, began)
            if trial.status in (RayTrial.PENDING, RayTrial.RUNNING) and silent > self._limit:
                self._last[trial.trial_id] = now
                self._end(trial, now - began)

    def _waits(self, trial: RayTrial, running: int) -> bool:
        """Whether ``trial`` has no place yet, as far as can be told: the nodes that are there are full."""
        assignment: Assignment = trial.config["assignment"]
        return running >= self._slots().of(assignment.proposal).concurrent

    def _end(self, trial: RayTrial, wall: float) -> None:
        assignment: Assignment = trial.config["assignment"]
        actor = trial.temporary_state.ray_actor
        if actor is None:
            limit = f"{self._limit:.0f} s (resources.trial_minutes)"
            raise HangError(f"trial {assignment.trial} did not begin within {limit}; resume the study to try again")
        if read_result(assignment.folder) is None:
            cost = Cost(wall, gpu_seconds=assignment.gpus * wall, cpu_seconds=assignment.cpus * wall)
            message = f"no sign of life for {self._limit:.0f} s"
            write_result(assignment.folder, Result(score=None, cost=cost, why="hang", message=message))
        ray.kill(actor)
