"""The Ray adapter of every selector: ``suggest`` and ``on_trial_complete`` onto the agenda, and nothing else.

Ray's trial ids are random and mean nothing to a study; they are mapped to attempts here and forgotten. Results that
Ray carries are not read: an attempt's ``result.json`` is. How many trials run at a time is said here and not by Ray's
limiter, whose number is fixed: nodes come and go, and not all trials want the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from auxtune.orchestrator.engine.trainable import Assignment
from auxtune.orchestrator.planning.agenda import Agenda
from auxtune.orchestrator.planning.slots import Slots
from auxtune.orchestrator.record.accounts import Trial
from auxtune.selectors.protocol import Proposal

_NOISE = 1e-9  # of all slots: 10 times 0.1 is not more than 1


class LedgerSearcher(Searcher):
    """Hands Ray what the agenda says."""

    def __init__(
        self,
        agenda: Agenda,
        assign: Callable[[Trial], Assignment],
        error_of: Callable[[str], str | None],
        slots: Callable[[], Slots],
    ) -> None:
        """``assign`` makes a worker's assignment of a trial whose attempt has just been recorded.

        ``error_of`` gives Ray's word on one of its trials that broke, ``slots`` what there is for trials now.
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
        """Ray's limiter shall leave that to the searcher."""
        return True

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """An attempt is over, one way or another. Ray may say so twice; an unknown id is not ours."""
        ended = self._live.pop(trial_id, None)
        if ended is None:
            return
        trial, attempt = ended
        try:
            self._agenda.ended(trial.id, attempt, self._error_of(trial_id) if error else None)
        except Exception as failure:
            # Raised here, Ray would blame the trial; raised by the next suggest, it ends the run as it should.
            self._failure = failure

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Interim results are read from the attempt's own files."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a fresh searcher over the same ledger goes on."""

    def _has_room(self, proposal: Proposal) -> bool:
        """Whether a trial of ``proposal`` fits beside those that run or wait for a node."""
        slots = self._slots()
        taken = sum(slots.share(trial.proposal) for trial, _ in self._live.values())
        return not self._live or taken + slots.share(proposal) <= 1 + _NOISE

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles the searcher into its scratch folder, which is never read back."""
        return {}
