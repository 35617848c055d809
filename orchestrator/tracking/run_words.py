"""Names and notes of runs in MLflow: of trials, and of a study without an answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from auxtune.orchestrator.answer.answer import Answer
from auxtune.orchestrator.answer.verdict import describe_unanswered
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.record.scores import describe_value, show_score
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.typed import quote_path

_NAMED = 3  # tasks in a name


def write_status_note(accounts: Accounts, folder: StoredPath, ended: Ending | None) -> str:
    """The note of a study without an answer: its status, the best trial so far, and the command to use next."""
    return "\n\n".join(_list_lines(accounts, folder, ended.reason if ended else "running"))


def name_trial(trial: Trial, primary: str | None) -> str:
    """Phase and number, so that sorting by name is sorting by time, and what is trained beside the primary.

    As much of it as a column has room for; the primary itself where it is alone.
    """
    tasks = [task for task in trial.proposal.tasks if task != primary] or trial.proposal.tasks
    more = [f"{len(tasks) - _NAMED} more"] if len(tasks) > _NAMED else []
    return f"{trial.phase} {trial.id:04d} {' + '.join([*tasks[:_NAMED], *more])}"


def describe_trial(trial: Trial) -> str:
    """A sentence on what is trained, with its shares where they are known beforehand."""
    proposal = trial.proposal
    if not proposal.trains:
        return f"Measures the encoder as it came, on {', '.join(proposal.tasks)}."
    if proposal.inner is not None:
        return f"Trains {', '.join(proposal.tasks)}; {proposal.inner.name} chooses among them as it goes."
    if proposal.weighting == "loss":
        count = len(proposal.shares)
        return f"Trains {', '.join(f'{task} (loss x {share * count:.2f})' for task, share in proposal.shares.items())}."
    return f"Trains {', '.join(f'{task} {share:.1%}' for task, share in proposal.shares.items())}."


def _list_lines(accounts: Accounts, folder: StoredPath, state: str) -> Iterator[str]:
    if any(session.closed and session.closed.reason == "done" for session in accounts.sessions[:-1]):
        yield f"The study has gone on since its last answer, which is in `selection.json`, and is {state}."
    else:
        yield describe_unanswered(accounts, state)
    if (best := accounts.best) is not None:
        with_a = describe_value(show_score(best, accounts.search_score) or 0.0, accounts.search_score)
        yield f"Best so far: trial {best.id:04d} with a {with_a}. {describe_trial(best)}"
    command, what = ("status", "tells more") if state == "running" else ("resume", "resumes it")
    yield f"The study is in `{folder}`; `auxtune {command} {quote_path(folder)}` {what}."


Reason: TypeAlias = Literal["done", "interrupted", "failed"]


@dataclass(frozen=True)
class Ending:
    """``reason`` is the session's, ``done``, ``interrupted`` or ``failed``.

    ``note`` is the run's description of the ``answer`` in Markdown, empty where there is none. ``files`` are kept under
    their names, ``drawings`` (path in the run -> SVG) under theirs.
    """

    reason: Reason
    answer: Answer | None = None
    note: str = ""
    files: Sequence[StoredPath] = ()
    drawings: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """The same in MLflow's words."""
        return {"done": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}[self.reason]
