"""What should worry people about a study: failed trials, lost attempts, and runs that MLflow does not have."""

from __future__ import annotations

from collections.abc import Iterator

from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.study_file.models import StudyOptions

_PATIENCE = 30.0  # seconds in which a server that answers has taken a run


def troubles(accounts: Accounts, options: StudyOptions, state: str) -> Iterator[str]:
    """A line for each kind of trouble there is with a study that is ``running``, or not, as ``state`` says."""
    failed = [trial for trial in accounts.trials.values() if trial.status == "failed"]
    if failed:
        last = max(failed, key=lambda trial: trial.told.time if trial.told else 0.0)
        why = last.told.outcome.why if last.told else None
        limit, streak = options.stop_after_failures, accounts.failed_in_a_row
        row = f"; {streak} in a row, {limit} end the session" if streak else ""
        yield f"{len(failed)} of {len(accounts.trials)} trials failed, last {last.id:04d} ({why}){row}"
    if lost := sum(attempt.worker_died for trial in accounts.trials.values() for attempt in trial.attempts):
        yield f"{lost} {'attempt was' if lost == 1 else 'attempts were'} lost with a worker"
    yield from _untracked(accounts, options.tracking.children, state)


def _untracked(accounts: Accounts, children: str, state: str) -> Iterator[str]:
    """Runs that were to be there by now, by the clock of the ledger: what is not in it yet cannot be missed."""
    late, running = accounts.sessions[-1].last - _PATIENCE, state == "running"
    filled = "it is filled in when the server answers" if running else "`auxtune resume` fills it in"
    if accounts.study_run_id is None:
        if accounts.sessions[-1].opened.time < late:
            yield f"MLflow has nothing of this study{' yet; trials go on, and' if running else ';'} {filled}"
    elif children == "all":
        ended = [trial for trial in accounts.trials.values() if trial.told is not None and trial.told.time < late]
        if missing := sum(trial.run_id is None for trial in ended):
            runs = "a trial that" if missing == 1 else f"{missing} trials that"
            yield f"MLflow lacks {runs} ended; {filled}"
