"""One trial in full: its proposal, its outcome, and the log of its last attempt."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.record.accounts import Accounts, Attempt, Trial
from auxtune.orchestrator.record.driver import is_alive
from auxtune.orchestrator.record.results import DamagedResultError, locate_attempt, read_result
from auxtune.orchestrator.record.scores import name_value, show_score
from auxtune.orchestrator.report.blocks import Block, Listing, Paragraph
from auxtune.orchestrator.storage.protocol import StoredPath


def describe_trial(folder: StoredPath, accounts: Accounts, number: int, lines: int) -> dict[str, Any]:
    """The trial ``number`` of the study in ``folder`` as JSON values, with the last ``lines`` lines of its log.

    Times are in seconds since the epoch. Raises ``AuxtuneError`` naming the trials there are.
    """
    if (trial := accounts.trials.get(number)) is None:
        last = len(accounts.trials) - 1
        known = f"one of 0 to {last}" if last > 0 else "0" if last == 0 else "none, because nothing was proposed yet"
        raise AuxtuneError(f"{folder}: expected {known}, found trial {number}")
    told, alive = trial.told, is_alive(folder, accounts)
    home = locate_attempt(folder, number, (told.attempt if told else 0) or len(trial.attempts))
    message, traceback = _read_message(home)
    return {
        "study": folder.name,
        "trial": number,
        "phase": trial.phase,
        "stage": trial.proposal.stage,
        "status": trial.status,
        "proposed": trial.proposed,
        "proposal": asdict(trial.proposal),
        "continues": _find_start(accounts, trial),
        "attempts": [_describe_attempt(folder, trial, attempt, alive) for attempt in trial.all_attempts],
        "reused_from": told.source if told and trial.reused else None,
        "outcome": asdict(told.outcome) if told else None,
        "value": show_score(trial, accounts.search_score),
        "search_score": accounts.search_score,
        "test": {task: dict(metrics) for task, metrics in told.test.items()} if told else {},
        "message": message or (told.message if told else None),
        "traceback": traceback,
        "log": _read_tail(home / "log.txt", lines),
        "run_id": trial.run_id,
    }


def list_trial_blocks(shown: Mapping[str, Any]) -> Iterator[Block]:
    """The values of ``describe_trial``, as lines, its message and traceback as they are, and the end of its log."""
    yield from map(Paragraph, _list_proposal_lines(shown))
    for attempt in shown["attempts"]:
        yield from map(Paragraph, _list_attempt_lines(attempt))
    yield from map(Paragraph, _list_outcome_lines(shown))
    for kind in ("message", "traceback"):
        if shown[kind]:
            yield Listing(kind, shown[kind].rstrip())
    if shown["log"]:
        yield Paragraph("the end of its log:")
        yield Listing("log", "\n".join(f"  {line}" for line in shown["log"]))


def _find_start(accounts: Accounts, trial: Trial) -> int | None:
    """The trial that this one continues. Selectors count their own proposals, which confirm's are not."""
    continued = trial.proposal.continuation
    if continued is None or continued.start is None:
        return None
    return accounts.of_selector[continued.start].id


def _describe_attempt(folder: StoredPath, trial: Trial, attempt: Attempt, alive: bool) -> dict[str, Any]:
    home = locate_attempt(folder, trial.id, attempt.number)
    return {
        "attempt": attempt.number,
        "session": attempt.session,
        "started": attempt.started,
        "ended": attempt.ended,
        "end": _describe_end(trial, attempt, alive),
        "counts": trial.told is not None and trial.told.attempt == attempt.number,
        "resume_from": attempt.resume_from,
        "cost": asdict(attempt.cost) if attempt.cost else None,
        "folder": str(home),
        "files": sorted(path.name for path in home.iterdir()) if home.is_dir() else [],
    }


def _describe_end(trial: Trial, attempt: Attempt, alive: bool) -> str:
    """Why the attempt ended, or that it has not."""
    if trial.told is not None and trial.told.attempt == attempt.number:
        return trial.status if trial.status != "failed" else f"failed: {trial.told.outcome.why}"
    if attempt.ended is None:
        return "running" if alive else "interrupted with its session"
    if attempt.again is not None:
        failed = attempt.again.message
        return "measured its evidence again" if failed is None else f"could not measure its evidence again: {failed}"
    if attempt.lost is not None and attempt.was_refused:
        return f"could not write: {attempt.lost.message}"
    return "its worker died" if attempt.worker_died else "interrupted with its session"


def _read_message(home: StoredPath) -> tuple[str | None, str | None]:
    """Message and traceback of the attempt's result; for an unreadable one, why it cannot be read."""
    try:
        result = read_result(home)
    except DamagedResultError as error:
        return str(error), None
    return (result.message, result.traceback) if result else (None, None)


def _read_tail(path: StoredPath, lines: int) -> list[str]:
    """The last lines of a file; none where there is no file."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n") for line in deque(file, maxlen=lines)]
    except FileNotFoundError:
        return []


def _list_proposal_lines(shown: Mapping[str, Any]) -> Iterator[str]:
    proposal = shown["proposal"]
    shares, inner = proposal["weights"] or {}, proposal["inner"]
    tasks = " + ".join(f"{task} {shares[task]:.1%}" if task in shares else task for task in proposal["tasks"])
    stage = f" of stage {shown['stage']}" if shown["stage"] else ""
    yield f"{shown['study']}, trial {shown['trial']:04d}: {shown['phase']}{stage}, {shown['status']}"
    yield f"proposed {_format_time(shown['proposed'])}: {tasks}, by {proposal['weighting']}, seed {proposal['seed']}"
    if inner:
        rounds = f"{inner['rounds']} rounds of {inner['round_steps']} steps"
        yield f"steered inside by {_describe_options(inner['name'], inner['options'])}, seed {inner['seed']}, {rounds}"
    if proposal["continuation"]:
        start = shown["continues"]
        begin = "the pretrained encoder" if start is None else f"the last weights of trial {start:04d}"
        yield f"continues from {begin} for {proposal['continuation']['steps']} steps"
    if proposal["measure"]:
        yield f"measures {', '.join(_describe_options(each['probe'], each['options']) for each in proposal['measure'])}"
    for task, kept in proposal["rows"].items():
        yield f"trains on {kept['kept']} of {kept['rows']} rows of {task}"


def _describe_options(name: str, options: Mapping[str, Any]) -> str:
    given = ", ".join(f"{key} {value}" for key, value in options.items())
    return f"{name} ({given})" if given else name


def _list_attempt_lines(attempt: Mapping[str, Any]) -> Iterator[str]:
    begin = f"attempt {attempt['attempt']}: started {_format_time(attempt['started'])}"
    resumed = f" from the checkpoint of attempt {attempt['resume_from']}" if attempt["resume_from"] else ""
    ended = f", ended {_format_time(attempt['ended'])}" if attempt["ended"] else ""
    yield f"{begin}{resumed}{ended}: {attempt['end']}{_describe_cost(attempt['cost'])}"
    yield f"  {attempt['folder']}: {', '.join(attempt['files']) or 'no files'}"


def _describe_cost(cost: Mapping[str, Any] | None) -> str:
    if cost is None:
        return ""
    return f"; {cost['wall_seconds']:.1f} s, {cost['cpu_seconds']:.1f} CPU s, {cost['gpu_seconds']:.1f} GPU s"


def _list_outcome_lines(shown: Mapping[str, Any]) -> Iterator[str]:
    outcome = shown["outcome"]
    if shown["reused_from"]:
        yield f"nothing was trained: measured before, by {shown['reused_from']}"
    if shown["value"] is not None:
        yield f"{name_value(shown['value'], shown['search_score'])} on the validation split"
    splits = (("validation", outcome["metrics"] if outcome else {}), ("test", shown["test"]))
    for split, tasks in splits:
        for task, metrics in tasks.items():
            yield f"  {split} {task}: " + ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())


def _format_time(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
