"""All that Ray's loop asks and tells: its search algorithm, scheduler and callbacks, over the agenda.

Which trial comes next, which one is stopped early, what each turn of the loop does, and which attempts hang.

Ray's trial ids are random and mean nothing to a study; they are mapped to attempts here and forgotten. Results that
Ray carries are not read: an attempt's ``result.json`` is, unless the attempt could write none. How many trials run at a
time is decided here and not by Ray's limiter, whose number is fixed: nodes come and go, and not all trials want the
same.

Early stopping is Ray's ASHA, which forgets with its process. So every score that it is shown and every decision is an
event, and a new scheduler is shown the events of earlier sessions first, under the study's own trial ids. Only whole
trainings of the search are judged: the arms of confirm must all have the same steps, and steered runs and continuations
are too unlike to be compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial as RayTrial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
from ray.tune.search import Searcher

from auxtune.orchestrator.engine.trainable import Assignment, read_refusal
from auxtune.orchestrator.errors import HangError
from auxtune.orchestrator.planning.agenda import Agenda
from auxtune.orchestrator.planning.slots import Slots
from auxtune.orchestrator.record.accounts import Trial
from auxtune.orchestrator.record.events import Judged
from auxtune.orchestrator.record.results import read_result, write_result
from auxtune.selectors.protocol import Proposal
from auxtune.trials.result import Cost, Result

GRACE = 30.0  # seconds beyond the limit at which a worker ends itself
_NOISE = 1e-9  # of all slots: 10 times 0.1 is not more than 1


class LedgerSearcher(Searcher):
    """Passes the agenda's trials to Ray, and their ends back."""

    def __init__(
        self,
        agenda: Agenda,
        assign: Callable[[Trial], Assignment],
        error_of: Callable[[str], str | None],
        slots: Callable[[], Slots],
    ) -> None:
        """``assign`` makes the worker's assignment of a trial whose attempt has just been recorded.

        ``error_of`` gives Ray's message on one of its trials that broke, ``slots`` the resources at this moment.
        """
        super().__init__(metric="score", mode="max")
        self._agenda, self._assign, self._error_of, self._slots = agenda, assign, error_of, slots
        self._live: dict[str, tuple[Trial, int]] = {}  # Ray's trial id -> our trial and attempt
        self._failure: Exception | None = None

    def suggest(self, trial_id: str) -> Any:
        """The next attempt's configuration; ``None``: ask again later; ``FINISHED``."""
        if self._failure is not None:
            raise self._failure
        trial = self._agenda.next(self._has_room)
        if trial is None:
            return None if self._live else Searcher.FINISHED
        self._live[trial_id] = (trial, trial.latest.number)
        return {"assignment": self._assign(trial)}

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """True: Ray's limiter leaves that to the searcher."""
        return True

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Record that an attempt is over. Ray may call it twice; an unknown id is not ours."""
        ended = self._live.pop(trial_id, None)
        if ended is None:
            return
        trial, attempt = ended
        try:
            message = self._error_of(trial_id) if error else None
            self._agenda.end_attempt(trial.id, attempt, message, read_refusal(result or {}))
        except Exception as failure:
            # Raised here, Ray would blame the trial; raised by the next suggest, it ends the run as it should.
            self._failure = failure

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Interim results are read from the attempt's own files."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a new searcher over the same ledger continues."""

    def _has_room(self, proposal: Proposal) -> bool:
        """Whether a trial of ``proposal`` fits beside those that run or wait for a node."""
        slots = self._slots()
        taken = sum(slots.share(trial.proposal) for trial, _ in self._live.values())
        return not self._live or taken + slots.share(proposal) <= 1 + _NOISE

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles the searcher into its scratch folder, which is never read back."""
        return {}


class OwnActors(FIFOScheduler):
    """First come, first served, and a trial keeps the actor that was requested for it.

    Ray's scheduler names a waiting trial at every turn, and Ray then gives that trial the next actor that becomes free
    and ends the one that is still starting for it. Where trials are shorter than the start of a process, that never
    ends: one worker does all the work, and the others are started for nothing. Here no trial is named; Ray gives a free
    actor to the next trial that has none.
    """

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """No particular trial."""


class EarlyStopping(OwnActors):
    """Stops trials that are not in the best quarter of those that came as far (ASHA's defaults)."""

    def __init__(self, grace: int, steps: int, record: Callable[[Judged], None], earlier: Iterable[Judged]) -> None:
        """Never stops before ``grace`` of ``steps`` optimisation steps; ``earlier`` are the decisions in the ledger."""
        super().__init__()
        # A trial that is longer than others (`match: primary_examples`) is not stopped for that.
        self._asha = ASHAScheduler(
            "step_reached", metric="score", mode="max", max_t=steps, grace_period=grace, stop_last_trials=False
        )
        self._record = record
        self._known: set[int] = set()
        for event in earlier:
            self._decide(event.id, event.step, event.score)

    def on_trial_result(self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]) -> str:
        """Ray's question after each step of a worker: continue or stop?"""
        assignment: Assignment = trial.config["assignment"]
        if not assignment.judged or "score" not in result:
            return str(self.CONTINUE)
        step, score = result["step_reached"], result["score"]
        decision = self._decide(assignment.trial, step, score)
        stop = decision == self.STOP
        self._record(Judged(id=assignment.trial, attempt=assignment.attempt, step=step, score=score, stop=stop))
        return decision

    def _decide(self, trial: int, step: int, score: float) -> str:
        # ASHA knows a trial by nothing but its id, and asks nothing of the controller.
        stand_in: Any = SimpleNamespace(trial_id=str(trial))
        controller: Any = None
        if trial not in self._known:
            self._known.add(trial)
            self._asha.on_trial_add(controller, stand_in)
        return str(self._asha.on_trial_result(controller, stand_in, {"step_reached": step, "score": score}))

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles the scheduler into its scratch folder, which is never read back."""
        return {}


class _Watch(tune.Callback):
    """A callback of this process alone."""

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles callbacks into its scratch folder, which is never read back."""
        return {}


class NoProgress(_Watch, TrialProgressCallback):
    """In place of Tune's own, which would keep every trial to the end, only to print nothing."""

    def on_trial_result(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """Nothing is kept, and so below."""

    def on_trial_error(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        """Said by the agenda's listeners."""

    def on_trial_complete(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        """Said by the agenda's listeners."""


class LoopWatch(_Watch):
    """Calls ``each_turn`` in every turn of Ray's loop, and finds Ray's message on a trial that broke."""

    def __init__(self, each_turn: Callable[[], None]) -> None:
        self._each_turn = each_turn
        self._trials: list[RayTrial] = []
        self._made = time.monotonic()
        self.has_begun = False
        """Whether a worker has been handed a trial."""

    @property
    def seconds(self) -> float:
        """Seconds since the loop was about to begin."""
        return time.monotonic() - self._made

    def on_step_begin(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:
        """A turn of the loop."""
        self._trials = trials
        self.has_begun = self.has_begun or any(trial.status == RayTrial.RUNNING for trial in trials)
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
        now, present = time.monotonic(), {trial.trial_id for trial in trials}
        self._began = {key: began for key, began in self._began.items() if key in present}
        self._last = {key: last for key, last in self._last.items() if key in present}
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
