"""One trial in full: what was asked for, what became of it, and what its last attempt has to say."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import Any

from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.record.accounts import Accounts, Attempt, Trial
from auxtune.orchestrator.record.results import DamagedResultError, attempt_folder, read_result
from auxtune.orchestrator.record.scores import shown_score
from auxtune.orchestrator.record.standing import is_alive


def trial_of(folder: Path, accounts: Accounts, number: int, lines: int) -> dict[str, Any]:
    """The trial ``number`` of the study in ``folder`` as JSON values, with the last ``lines`` lines of its log.

    Times are in seconds since the epoch. Raises ``AuxtuneError`` naming the trials there are.
    """
    if (trial := accounts.trials.get(number)) is None:
        last = len(accounts.trials) - 1
        known = f"one of 0 to {last}" if last > 0 else "0" if last == 0 else "none, for nothing was proposed yet"
        raise AuxtuneError(f"{folder}: expected {known}, found trial {number}")
    told, alive = trial.told, is_alive(folder, accounts)
    home = attempt_folder(folder, number, (told.attempt if told else 0) or len(trial.attempts))
    message, traceback = _said(home)
    return {
        "study": folder.name,
        "trial": number,
        "phase": trial.phase,
        "stage": trial.proposal.stage,
        "status": trial.status,
        "proposed": trial.proposed,
        "proposal": asdict(trial.proposal),
        "goes_on_from": _start(accounts, trial),
        "attempts": [_attempt(folder, trial, attempt, alive) for attempt in trial.attempts],
        "reused_from": told.source if told and trial.reused else None,
        "outcome": asdict(told.outcome) if told else None,
        "value": shown_score(trial, accounts.search_score),
        "search_score": accounts.search_score,
        "test": {task: dict(metrics) for task, metrics in told.test.items()} if told else {},
        "message": message or (told.message if told else None),
        "traceback": traceback,
        "log": _tail(home / "log.txt", lines),
        "run_id": trial.run_id,
    }


def _start(accounts: Accounts, trial: Trial) -> int | None:
    """The trial that this one continues. Selectors count their own proposals, which confirm's are not."""
    continued = trial.proposal.continuation
    if continued is None or continued.start is None:
        return None
    return accounts.of_selector[continued.start].id


def _attempt(folder: Path, trial: Trial, attempt: Attempt, alive: bool) -> dict[str, Any]:
    home = attempt_folder(folder, trial.id, attempt.number)
    return {
        "attempt": attempt.number,
        "session": attempt.session,
        "started": attempt.started,
        "ended": attempt.ended,
        "end": _end(trial, attempt, alive),
        "counts": trial.told is not None and trial.told.attempt == attempt.number,
        "resume_from": attempt.resume_from,
        "cost": asdict(attempt.cost) if attempt.cost else None,
        "folder": str(home),
        "files": sorted(path.name for path in home.iterdir()) if home.is_dir() else [],
    }


def _end(trial: Trial, attempt: Attempt, alive: bool) -> str:
    """Why the attempt ended, or that it has not."""
    if trial.told is not None and trial.told.attempt == attempt.number:
        return trial.status if trial.status != "failed" else f"failed: {trial.told.outcome.why}"
    if attempt.ended is None:
        return "running" if alive else "interrupted with its session"
    return "its worker died" if attempt.worker_died else "interrupted with its session"


def _said(home: Path) -> tuple[str | None, str | None]:
    """Message and traceback of the attempt's result; of one that cannot be read, that."""
    try:
        result = read_result(home)
    except DamagedResultError as error:
        return str(error), None
    return (result.message, result.traceback) if result else (None, None)


def _tail(path: Path, lines: int) -> list[str]:
    """The last lines of a file; none where there is no file."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n") for line in deque(file, maxlen=lines)]
    except FileNotFoundError:
        return []
