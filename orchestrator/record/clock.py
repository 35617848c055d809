"""The clock of a session: the time of day as it began, and from then on a clock that no one sets.

The system's clock may be set while a study runs, by a user, by its time service or by a virtual machine that continues,
and then differences of its times are no durations. So every time that a session records is of this clock: differences
within a session are right, and the wall time of a study is the sum of its sessions. Time in which the machine slept
counts nowhere. Other processes of the machine find a session's time in its heartbeat (``driver.read_study_time``).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

JUMP = 60.0  # seconds that the system's clock may come to differ before that is said


class SessionClock:
    """Seconds since the epoch that never go back."""

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        """``wall`` may be set by anyone, ``steady`` by no one."""
        self._wall, self._steady = wall, steady
        self.restart()

    def restart(self) -> None:
        """Take the time of day from the system again, as a session begins."""
        self._base = self._wall() - self._steady()
        self._said = 0.0  # by how much the system's clock was ahead when that was last said

    def read(self) -> float:
        """The time of the session."""
        return self._base + self._steady()

    def find_jump(self) -> float | None:
        """By how many seconds the system's clock was set forward since the last jump; ``None``: by few or none."""
        ahead = self._wall() - self.read()
        jump = ahead - self._said
        if abs(jump) < JUMP:
            return None
        self._said = ahead
        return jump


CLOCK = SessionClock()  # of this process, which runs one session at a time
read_time = CLOCK.read


def warn_of_jump(clock: SessionClock = CLOCK) -> None:
    """Say it once where the system's clock was set."""
    if (jump := clock.find_jump()) is not None:
        was = f"was set back by {-jump / 3600:.3g} h" if jump < 0 else f"is {jump / 3600:.3g} h further"
        why = "" if jump < 0 else ": it was set, or this machine slept"
        logging.getLogger(__name__).warning(
            "the system's clock %s%s; what the study takes is counted by another clock, which did not change", was, why
        )
