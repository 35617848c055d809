"""What is changed in Ray Tune while a study runs: it has no settings for these (seen with Ray 2.60)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def changed_tune() -> Iterator[None]:
    """While entered, all of the changes below hold."""
    with _count_memory_kills_as_deaths(), _forget_ended_trials(), _count_no_callbacks():
        yield


@contextmanager
def _count_memory_kills_as_deaths() -> Iterator[None]:
    """While entered, a worker that Ray ended for want of memory is to Tune one that died, so that its trial goes on.

    Tune knows the error of a dead actor and that of a task, and ends altogether with any other; Ray's for these workers
    is neither (seen with Ray 2.60).
    """
    from ray.air.execution._internal.actor_manager import RayActorManager
    from ray.exceptions import OutOfMemoryError, RayActorError

    manager: Any = RayActorManager
    real = manager._actor_task_failed

    def fail(self: Any, tracked_actor_task: Any, exception: Exception) -> None:
        died = RayActorError(error_msg=str(exception)) if isinstance(exception, OutOfMemoryError) else exception
        real(self, tracked_actor_task, died)

    manager._actor_task_failed = fail
    try:
        yield
    finally:
        manager._actor_task_failed = real


@contextmanager
def _forget_ended_trials() -> Iterator[None]:
    """While entered, Tune keeps nothing of the trials that have ended, nor writes its own state on the way.

    Both are for a resumption by Tune, in place of which a ledger is read. They take 0.1 MB for each trial, and more
    time with each one, since every few seconds all of them are written (seen with Ray 2.60).
    """
    from ray.tune import tune as module
    from ray.tune.execution.tune_controller import TuneController

    class ForgetfulController(TuneController):
        """Tune's loop over the trials that have not ended."""

        def checkpoint(self, force: bool = False, wait: bool = False) -> None:
            """Write the state at the first turn and at the end: Tune does not end without a file of it."""
            if force or self._iteration == 0:
                super().checkpoint(force=True, wait=wait)

        def step(self) -> None:
            """A turn."""
            super().step()  # type: ignore[no-untyped-call]  # Ray's own
            ended = {trial for trial in self._trials if trial.is_finished()}
            self._trials[:] = [trial for trial in self._trials if trial not in ended]
            for kept in (self._stopped_trials, self._failed_trials, self._trials_to_cache):
                kept -= ended
            for trial in ended:
                self._trial_metadata.pop(trial.trial_id, None)

    namespace: Any = module
    namespace.TuneController = ForgetfulController
    try:
        yield
    finally:
        namespace.TuneController = TuneController


@contextmanager
def _count_no_callbacks() -> Iterator[None]:
    """While entered, Tune does not look for callbacks of other libraries, to report them, by importing those.

    MLflow is one: that takes seconds, and two threads that import it at once may both hang.
    """
    from ray.air._internal import usage

    real = usage.tag_callbacks
    usage.tag_callbacks = lambda callbacks: False
    try:
        yield
    finally:
        usage.tag_callbacks = real
