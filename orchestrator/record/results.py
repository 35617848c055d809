"""An attempt's folder: where it is, its durable ``result.json``, its checkpoint and weights, and its heartbeat.

A result is on disk before anyone is told of it, so an attempt that finished but was never reported is known by its
file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection

from pydantic import TypeAdapter, ValidationError

from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import is_local, store_of
from auxtune.trials.result import Cost, Result

_TAIL = 1 << 16  # bytes: many times an evaluation's line
_result = TypeAdapter(Result)


class DamagedResultError(ValueError):
    """There is a ``result.json``, but it was not written by a worker, or was changed."""


def locate_attempt(study: StoredPath, trial: int, attempt: int) -> StoredPath:
    """``<study>/trials/<id>/<attempt>``: result, metrics, predictions, log and checkpoint of one attempt."""
    return study / "trials" / f"{trial:04d}" / str(attempt)


def locate_weights(study: StoredPath, trial: int, attempt: int) -> StoredPath:
    """Where an attempt leaves the weights that other trials continue."""
    return locate_attempt(study, trial, attempt) / "weights"


def write_result(folder: StoredPath, result: Result) -> None:
    """Make ``result`` durable as ``folder/result.json``, whole or not at all."""
    store_of(folder).replace(folder / "result.json", lambda file: file.write(_result.dump_json(result, indent=1)))


def read_result(folder: StoredPath) -> Result | None:
    """The result of an attempt, or ``None`` where it never gave one. Raises ``DamagedResultError``."""
    path = folder / "result.json"
    try:
        return _result.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise DamagedResultError(f"{path}: not a readable result: {error.error_count()} mistakes") from error


def touch_heartbeat(folder: StoredPath) -> None:
    """Leave a sign of life, the process's id: an attempt without a result is charged up to the last one."""
    (folder / "alive").write_text(f"{os.getpid()}\n")


def read_steps_done(folder: StoredPath) -> int | None:
    """The optimisation steps that an attempt had done by its last evaluation; ``None`` before the first.

    ``None`` in an object store too, where each look would be a request.
    """
    if not is_local(folder):
        return None
    try:
        with (folder / "metrics.jsonl").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            *_, last, _ = (b"\n" + file.read()).split(b"\n")  # text after the last newline is not whole yet
            return int(json.loads(last)["step"])
    except (OSError, ValueError, KeyError):  # not begun, or a line longer than the tail
        return None


def charge_lost_attempt(folder: StoredPath, started: float, cpus: float, gpus: float) -> Cost:
    """The cost of an attempt without a result, from ``started`` (seconds since the epoch) to its last sign of life."""
    signs = [path.stat().st_mtime for path in (folder / "alive", folder / "metrics.jsonl") if path.exists()]
    wall = max(0.0, max(signs, default=started) - started)
    return Cost(wall_seconds=wall, gpu_seconds=gpus * wall, cpu_seconds=cpus * wall)


def has_checkpoint(folder: StoredPath) -> bool:
    """Whether ``folder`` holds a whole checkpoint.

    A local one is read. An object is there whole or not at all, and its store keeps it from damage; should it be
    unusable all the same, loading it fails with a message.
    """
    from auxtune.trials.checkpoint import FILE, is_usable  # it loads torch, which not every caller needs

    return is_usable(folder) if is_local(folder) else (folder / FILE).is_file()


def start_of(folder: StoredPath, accounts: Accounts, trial: Trial) -> StoredPath | None:
    """The weights of another trial that ``trial`` begins with, if it continues one.

    ``folder`` is the study's.
    """
    continued = trial.proposal.continuation
    if continued is None or continued.start is None:
        return None
    former = accounts.of_selector[continued.start]
    return locate_weights(folder, former.id, len(former.attempts))


def list_useless_weights(folder: StoredPath, accounts: Accounts, held: Collection[int]) -> list[StoredPath]:
    """Weights on disk of ended trials, but for those of the attempts that count of the trials in ``held``."""
    left = [
        locate_weights(folder, trial.id, attempt.number)
        for trial in accounts.trials.values()
        for attempt in trial.attempts
        if trial.proposal.continuation is not None
        and trial.told is not None
        and not (trial.id in held and attempt.number == trial.told.attempt)
    ]
    return [path for path in left if path.exists()]
