"""Stops a session: by Ctrl-C or SIGTERM where it runs, and by one Ctrl-C sent from another process.

A signal acts at once where nothing can break, and in order where Ray is at work. A handler that raises while Ray forks
its processes can leave a lock held for ever, so inside ``held`` a signal is only noted; Ray's loop polls ``came`` in
every turn and ends itself. A second signal in that loop interrupts it.
"""

from __future__ import annotations

import os
import platform
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.heartbeat import CLEANING, DriverLease, find_active_driver
from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.storage.protocol import StoredPath

_STOPPING = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """While entered, both signals raise ``KeyboardInterrupt``, or are noted in ``came`` while held.

    Only the main thread can have handlers; entered elsewhere, nothing is caught.
    """

    def __init__(self) -> None:
        self.came: list[int] = []
        self._held = self._in_loop = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            # SIGUSR1 too: an earlier Tune run in this process may have left its handler.
            self._previous = {number: signal.getsignal(number) for number in (*_STOPPING, signal.SIGUSR1)}
            signal.signal(signal.SIGUSR1, signal.SIG_DFL)
            self.listen()
        return self

    def listen(self) -> None:
        """Set our handlers; needed again after Ray has started, whose core takes SIGTERM for itself."""
        if self._previous:
            for number in _STOPPING:
                signal.signal(number, self._stop)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Note signals instead of raising."""
        self._held = True
        try:
            yield
        finally:
            self._held = self._in_loop = False

    def end_loop(self) -> None:
        """In a turn of Tune's loop: if a signal came, end the loop by Tune's own way, its SIGUSR1 handler."""
        self._in_loop = True
        ending = signal.getsignal(signal.SIGUSR1)
        if self.came and callable(ending):
            ending(signal.SIGUSR1, None)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.came.append(number)
        if not self._held or (self._in_loop and len(self.came) > 1):
            raise KeyboardInterrupt


LOOK = 0.2  # seconds between looks at the driver's lease


def ask_to_stop(folder: StoredPath) -> DriverLease | None:
    """Signal the driver that works on the study in ``folder``, once; ``None`` where there is none alive.

    A driver that is stopping already gets no second signal, which would not wait for running trials. Raises
    ``AuxtuneError`` where the driver is on another host, or cannot be told from another process.
    """
    driver = find_active_driver(folder)
    if driver is None or driver.stopping:
        return driver
    if driver.session.startswith(CLEANING):
        raise AuxtuneError(
            f"{folder}: no trial is running, but process {driver.pid} on {driver.host} cleans this study, or waits for "
            "an answer whether it may"
        )
    if not driver.here:
        raise AuxtuneError(
            f"{folder}: process {driver.pid} on {driver.host} works on this study, and this is {platform.node()}; "
            f"run `auxtune stop` on {driver.host}"
        )
    if not driver.identified:
        raise AuxtuneError(
            f"{folder}: heartbeat.json names process {driver.pid}, but not when it began, so it cannot be told from "
            f"another one of that number; if it is the study's, end it with `kill -INT {driver.pid}`"
        )
    try:
        # Not SIGTERM: a notebook that runs a study beside its main thread would die of it.
        os.kill(driver.pid, signal.SIGINT)
    except ProcessLookupError:
        return None
    except PermissionError as error:
        raise AuxtuneError(
            f"{folder}: process {driver.pid} works on this study for another user; only they can stop it"
        ) from error
    return driver


def wait_until_gone(folder: StoredPath, driver: DriverLease, seconds: float) -> bool:
    """Whether ``driver`` has released the study within ``seconds``: then its session is closed, or it died."""
    end = time.monotonic() + seconds
    while (lease := find_active_driver(folder)) is not None and lease.session == driver.session:
        if time.monotonic() >= end:
            return False
        time.sleep(LOOK)
    return True


def find_end(folder: StoredPath, driver: DriverLease) -> str | None:
    """How the session of ``driver`` ended: ``done``, ``interrupted``, ``failed``; ``None`` if it had not begun one."""
    for session in Accounts(read_events(folder / "ledger")).sessions:
        if session.opened.session == driver.session:
            return session.closed.reason if session.closed else "interrupted"
    return None
