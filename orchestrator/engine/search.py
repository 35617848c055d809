"""Ray's search algorithm and scheduler, over the agenda: which trial comes next, and which one is stopped early.

Ray's trial ids are random and mean nothing to a study; they are mapped to attempts here and forgotten. Results that
Ray carries are not read: an attempt's ``result.json`` is. How many trials run at a time is decided here and not by
Ray's limiter, whose number is fixed: nodes come and go, and not all trials want the same.

Early stopping is Ray's ASHA, which forgets with its process. So every score that it is shown and every decision is an
event, and a new scheduler is shown the events of earlier sessions first, under the study's own trial ids. Only whole
trainings of the search are judged: the arms of confirm must all have the same steps, and steered runs and continuations
are too unlike to be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
from ray.tune.search import Searcher

from auxtune.orchestrator.engine.trainable import Assignment
from auxtune.orchestrator.planning.agenda import Agenda
from auxtune.orchestrator.planning.slots import Slots
from auxtune.orchestrator.record.accounts import Trial
from auxtune.orchestrator.record.events import Judged
from auxtune.selectors.protocol import Proposal

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
        self._live[trial_id] = (trial, len(trial.attempts))
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
            self._agenda.end_attempt(trial.id, attempt, self._error_of(trial_id) if error else None)
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
