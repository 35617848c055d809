"""Evidence that is gone or damaged is measured again, by another attempt at the trial that had been told of it.

Evidence is a cache: a ledger names it by keys, and holds none of its arrays. Where a selector, asked for its next
proposal or its answer, finds that some cannot be read, the question waits. Every trial whose evidence is unusable is
attempted once more, at its price; its worker sets the damaged arrays aside and stores what it measures. The selector
is told nothing, for the trial and its score are as they were: the event ``remeasured`` records the digests of the new
arrays, and the question is asked again.
"""

from __future__ import annotations

from auxtune.orchestrator.errors import EvidenceError
from auxtune.orchestrator.planning.attempts import build_lost, find_result, give_up
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.record.events import Lost, Remeasured, read_time
from auxtune.orchestrator.record.results import Refusal, StoredEvidence, locate_attempt
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.trials.result import Result, clip_negative


class Remeasuring:
    """Which trials measure their evidence again in this session, and what came of it.

    ``study`` is the study's folder. After ``retries`` attempts that were lost with their workers none is made.
    """

    def __init__(self, study: StoredPath, accounts: Accounts, evidence: StoredEvidence, retries: int) -> None:
        self._study, self._accounts, self._evidence, self._retries = study, accounts, evidence, retries
        self.waiting: list[Trial] = []

    def find_damage(self) -> bool:
        """Have every trial of the selector whose evidence cannot be used wait for another attempt, if there is any.

        Those that are at it are not listed again, but count.
        """
        damaged = [trial for trial in self._accounts.of_selector if self._is_damaged(trial)]
        self.waiting = [trial for trial in damaged if not trial.measures_again]
        return bool(damaged)

    def find_next(self) -> Trial | None:
        """The trial that waits first. One whose evidence is there by now, by another study, say, waits no more."""
        while self.waiting and not self._is_damaged(self.waiting[0]):
            self.waiting.pop(0)
        return self.waiting[0] if self.waiting else None

    @property
    def is_at_work(self) -> bool:
        """Whether an attempt measures again."""
        return any(trial.measures_again for trial in self._accounts.of_selector)

    def _is_damaged(self, trial: Trial) -> bool:
        keys = trial.told.outcome.evidence.values() if trial.told is not None else ()
        return not all(map(self._evidence.is_usable, keys))

    def end_attempt(self, trial: Trial, error: str | None, refusal: Refusal | None) -> Lost | Remeasured:
        """The event that ends the last attempt at ``trial``; where it is a loss, the trial waits for the next one."""
        if refusal is None and (result := find_result(self._study, trial)) is not None:
            return self._record_result(trial, result)
        if refusal is None and sum(attempt.worker_died for attempt in trial.remeasured) >= self._retries:
            return self._record_result(trial, give_up(self._study, trial, self._retries, error))
        self.waiting.insert(0, trial)
        return build_lost(self._study, trial, "worker" if refusal is None else "storage", refusal)

    def recover(self, trial: Trial) -> Lost | Remeasured:
        """The event that ends an attempt which an earlier session had begun."""
        if (result := find_result(self._study, trial)) is not None:
            return self._record_result(trial, result)
        return build_lost(self._study, trial, "driver")

    def explain_failure(self, event: Remeasured) -> EvidenceError:
        """The error that ends a session which needs what could not be measured again."""
        log = locate_attempt(self._study, event.id, event.attempt) / "log.txt"
        return EvidenceError(
            f"what trial {event.id} had measured is gone or damaged, and could not be measured again: {event.message} "
            f"(log: {log}); mend that and resume the study, which tries it again, or restore the evidence from a copy"
        )

    def _record_result(self, trial: Trial, result: Result) -> Remeasured:
        """What the attempt measured, by the digests of its arrays, or why it did not."""
        told, arrays, message = trial.told, {}, result.message
        if result.score is not None and told is not None:
            self._evidence.forget()
            found = {key: self._evidence.check_digest(key) for key in told.outcome.evidence.values()}
            arrays = {key: digest for key, digest in found.items() if digest is not None}
            if len(arrays) < len(found):
                message = "its measurements are of other keys than before, as of a study that was allowed to drift"
        return Remeasured(
            id=trial.id,
            attempt=trial.latest.number,
            time=read_time(),
            cost=clip_negative(result.cost),
            arrays=arrays,
            message=message or (None if arrays else "it gave no score"),
        )
