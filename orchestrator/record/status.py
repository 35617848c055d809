"""Where a study and its trials are in their lives."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from auxtune.orchestrator.record.heartbeat import find_active_driver
from auxtune.orchestrator.storage.protocol import StoredPath

if TYPE_CHECKING:
    from auxtune.orchestrator.record.accounts import Accounts


class _Word(str, Enum):
    """An enum whose members are their words, in JSON and in texts too."""

    def __str__(self) -> str:
        """The word."""
        return str(self.value)


class TrialStatus(_Word):
    """Where a trial is in its life.

    ::

        proposed ──▶ waiting ──▶ running ──▶ finished   told a score
                        ▲           │   ├──▶ stopped    early, as the study asked: no failure
                        │           │   └──▶ failed     its code raised, or all attempts were lost
                        └───────────┘  its worker or its session died: the next attempt
        proposed ──▶ reused   all that it asked for is in the evidence cache: told at once, costs nothing
    """

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    REUSED = "reused"
    STOPPED = "stopped"
    FAILED = "failed"


class StudyStatus(_Word):
    """Where a study is in its life.

    ::

        opened ──▶ running ──▶ done          its answer is written; a larger budget opens it again
                      │   ├──▶ interrupted   stopped in order, or its driver vanished: resumable
                      │   └──▶ failed        too many trials failed: resumable
                      └── any session that is opened runs it again
    """

    RUNNING = "running"
    DONE = "done"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


def is_alive(folder: StoredPath, accounts: Accounts) -> bool:
    """Whether a process is at work in the study's last session."""
    last, sign = accounts.sessions[-1], find_active_driver(folder)
    # The sign may be that of a clean-up, or of a session that is being prepared.
    return last.closed is None and sign is not None and sign.session == last.opened.session


def find_study_status(accounts: Accounts, alive: bool) -> StudyStatus:
    """The status of a study; a driver that just vanished leaves it interrupted."""
    closed = accounts.sessions[-1].closed
    if closed is not None:
        return StudyStatus(closed.reason)
    return StudyStatus.RUNNING if alive else StudyStatus.INTERRUPTED


def count_trials(accounts: Accounts) -> dict[str, int]:
    """How many trials have each status, by its word."""
    return {status.value: sum(t.status == status for t in accounts.trials.values()) for status in TrialStatus}
