"""Whether a study is running, done, interrupted or failed, and how many of its trials are in which state."""

from __future__ import annotations

from pathlib import Path

from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.heartbeat import active_driver

_STATES = ("waiting", "running", "finished", "reused", "stopped", "failed")


def is_alive(folder: Path, accounts: Accounts) -> bool:
    """Whether a process is at work in the study's last session."""
    last, sign = accounts.sessions[-1], active_driver(folder)
    # The sign may be that of a clean-up, or of a session that is being prepared.
    return last.closed is None and sign is not None and sign.session == last.opened.session


def state_of(accounts: Accounts, alive: bool) -> str:
    """``running``, ``done``, ``interrupted`` or ``failed``; a driver that just vanished leaves it interrupted."""
    closed = accounts.sessions[-1].closed
    if closed is not None:
        return closed.reason
    return "running" if alive else "interrupted"


def counted(accounts: Accounts) -> dict[str, int]:
    """How many trials are in each state."""
    return {state: sum(t.status == state for t in accounts.trials.values()) for state in _STATES}
