"""What should worry people about a study: failed trials, lost attempts, and runs that MLflow does not have."""

from __future__ import annotations

from collections.abc import Iterator

from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.study_file.models import StudyOptions

_PATIENCE = 30.0                                       # seconds in which a server that answers has taken a run


def troubles(accounts: Accounts, options: StudyOptions) -> Iterator[str]:
    """A line for each kind of trouble there is."""
    failed = [trial for trial in accounts.trials.values() if trial.status == "failed"]
    if failed:
        last = max(failed, key=lambda trial: trial.told.time if trial.told else 0.0)
        why = last.told.outcome.why if last.told else None
        limit, streak = options.stop_after_failures, _in_a_row(accounts)
        row = f"; {streak} in a row, {limit} end the session" if streak else ""
        yield f"{len(failed)} of {len(accounts.trials)} trials failed, last {last.id:04d} ({why}){row}"
    if lost := sum(attempt.worker_died for trial in accounts.trials.values() for attempt in trial.attempts):
        yield f"{lost} {'attempt was' if lost == 1 else 'attempts were'} lost with a worker"
    yield from _untracked(accounts, options.tracking.children)


def _in_a_row(accounts: Accounts) -> int:
    """Trials that failed one after the other up to now, in the last session: so many end it."""
    opened = accounts.sessions[-1].opened.time
    ended = [trial for trial in accounts.trials.values() if trial.told and trial.told.time >= opened]
    streak = 0
    for trial in sorted(ended, key=lambda trial: trial.told.time if trial.told else 0.0):
        if trial.status in ("failed", "finished"):
            streak = streak + 1 if trial.status == "failed" else 0
    return streak


def _untracked(accounts: Accounts, children: str) -> Iterator[str]:
    """Runs that were to be there by now, by the clock of the ledger: what is not in it yet cannot be missed."""
    late = accounts.sessions[-1].last - _PATIENCE
    if accounts.study_run_id is None:
        if accounts.sessions[-1].opened.time < late:
            yield "MLflow has nothing of this study yet; trials go on, and it is filled in when the server answers"
    elif children == "all":
        ended = [trial for trial in accounts.trials.values() if trial.told is not None and trial.told.time < late]
        if missing := sum(trial.run_id is None for trial in ended):
            runs = "a trial that" if missing == 1 else f"{missing} trials that"
            yield f"MLflow lacks {runs} ended; it is filled in when the server answers"
