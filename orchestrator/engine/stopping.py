"""Which trial a free worker takes, and early stopping: Ray's ASHA, told again by the ledger what it was told before.

Ray's scheduler forgets with its process. Here every score that it is shown and what it decided is an event, and a fresh
scheduler hears the events of former sessions first, under the study's own trial ids. Only whole trainings of the search
are judged: confirm's arms must all have the same steps, steered runs and continuations are too unlike to be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

from auxtune.orchestrator.engine.trainable import Assignment
from auxtune.orchestrator.record.events import Judged


class OwnActors(FIFOScheduler):
    """First come, first served, and a trial keeps the actor that was requested for it.

    Ray's scheduler names a waiting trial at every turn, and Ray then gives that trial the next actor that becomes free
    and ends the one that is still starting for it. Where trials are shorter than the start of a process, that never
    ends: one worker does all the work, and the others are started for nothing. Here no trial is named; Ray gives a free
    actor to the next trial that has none.
    """

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """None in particular."""


class EarlyStopping(OwnActors):
    """Stops trials that are not in the best quarter of those that came as far (ASHA's defaults)."""

    def __init__(self, grace: int, steps: int, record: Callable[[Judged], None], former: Iterable[Judged]) -> None:
        """Never stops before ``grace`` optimisation steps, of ``steps`` in all; ``former`` are the ledger's."""
        super().__init__()
        # A trial that is longer than others (`match: primary_examples`) is not stopped for that.
        self._asha = ASHAScheduler(
            "step_reached", metric="score", mode="max", max_t=steps, grace_period=grace, stop_last_trials=False
        )
        self._record = record
        self._known: set[int] = set()
        for event in former:
            self._decide(event.id, event.step, event.score)

    def on_trial_result(self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]) -> str:
        """Ray's question after each step of a worker: go on or stop?"""
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
