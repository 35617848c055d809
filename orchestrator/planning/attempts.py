"""Reads what an attempt left behind, and words it as the event that ends it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from auxtune.orchestrator.record.accounts import Trial
from auxtune.orchestrator.record.events import Judged, Lost, Told, read_time
from auxtune.orchestrator.record.results import (
    DamagedResultError,
    Refusal,
    StoredEvidence,
    charge_lost_attempt,
    locate_attempt,
    read_result,
)
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.selectors.protocol import Outcome
from auxtune.trials.result import Cost, Result, clip_negative


def find_result(study: StoredPath, trial: Trial) -> Result | None:
    """The result of the last attempt at ``trial``, in the folder of its ``study``; an unreadable one is a failure."""
    try:
        return read_result(locate_attempt(study, trial.id, trial.latest.number))
    except DamagedResultError as error:
        return Result(score=None, cost=charge_attempt(study, trial), why="error", message=str(error))


def charge_attempt(study: StoredPath, trial: Trial) -> Cost:
    """The cost of the last attempt at ``trial`` up to its last sign of life."""
    attempt = trial.latest
    folder = locate_attempt(study, trial.id, attempt.number)
    return charge_lost_attempt(folder, attempt.started, attempt.cpus or 0.0, attempt.gpus or 0.0)


def give_up(study: StoredPath, trial: Trial, retries: int, error: str | None) -> Result:
    """The failure of a ``trial`` whose last attempt was one too many; ``error`` is what is known of how it ended."""
    said = f"{retries + 1} attempts ended without a result, the last with: {error or 'its process died'}"
    return Result(score=None, cost=charge_attempt(study, trial), why="error", message=said)


def end_early(study: StoredPath, trial: Trial, judged: Judged, said: str) -> tuple[Outcome, Result]:
    """The end of a ``trial`` that early stopping ``judged``: it did not fail, and has no final score.

    ``said`` is the score that it had by then, in words.
    """
    message = f"stopped early at step {judged.step}, with a {said}"
    outcome = Outcome(None, why="stopped", censored=judged.score)
    return outcome, Result(None, charge_attempt(study, trial), message=message)


def find_digests(evidence: StoredEvidence, outcome: Outcome) -> dict[str, str]:
    """The digest of each piece of the ``outcome``'s evidence that is there, by key."""
    found = {key: evidence.read_digest(key) for key in outcome.evidence.values()}
    return {key: digest for key, digest in found.items() if digest is not None}


def build_lost(
    study: StoredPath, trial: Trial, cause: Literal["worker", "driver", "storage"], refusal: Refusal | None = None
) -> Lost:
    """The loss of the last attempt at ``trial``; ``refusal`` says where it could not write."""
    attempt, cost, message = trial.latest, charge_attempt(study, trial), None
    if refusal is not None:  # its last sign of life may be what could not be written
        wall, message = max(cost.wall_seconds, refusal.seconds), refusal.message
        cost = Cost(wall, gpu_seconds=(attempt.gpus or 0.0) * wall, cpu_seconds=(attempt.cpus or 0.0) * wall)
    return Lost(id=trial.id, attempt=attempt.number, time=read_time(), cost=cost, cause=cause, message=message)


def build_told(trial: Trial, outcome: Outcome, result: Result, arrays: Mapping[str, str]) -> Told:
    """The end of ``trial`` by its last attempt; ``arrays`` are the digests of what it measured."""
    return Told(
        id=trial.id,
        attempt=trial.latest.number,
        time=read_time(),
        outcome=outcome,
        cost=clip_negative(result.cost),
        test=result.test,
        reused={key: clip_negative(cost) for key, cost in result.reused.items()},
        message=result.message,
        arrays=arrays,
    )
