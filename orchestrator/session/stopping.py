"""Asks the driver of a study, from outside, to stop in order: the same as one Ctrl-C where it runs."""

from __future__ import annotations

import os
import platform
import signal
import time

from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.heartbeat import CLEANING, DriverLease, active_driver
from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.storage.protocol import StoredPath

LOOK = 0.2  # seconds between looks at the driver's lease


def ask_to_stop(folder: StoredPath) -> DriverLease | None:
    """Signal the driver that works on the study in ``folder``, once; ``None`` where there is none alive.

    A driver that is stopping already is left in peace: a second signal would not wait for running trials. Raises
    ``AuxtuneError`` where the driver is on another host, or cannot be told from another process.
    """
    driver = active_driver(folder)
    if driver is None or driver.stopping:
        return driver
    if driver.session.startswith(CLEANING):
        raise AuxtuneError(
            f"{folder}: no trial is running, but process {driver.pid} on {driver.host} cleans this study, or waits for "
            "an answer whether it shall"
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
    """Whether ``driver`` has let go of the study within ``seconds``: its session is closed then, or it died."""
    end = time.monotonic() + seconds
    while (lease := active_driver(folder)) is not None and lease.session == driver.session:
        if time.monotonic() >= end:
            return False
        time.sleep(LOOK)
    return True


def ended_as(folder: StoredPath, driver: DriverLease) -> str | None:
    """How the session of ``driver`` ended: ``done``, ``interrupted``, ``failed``; ``None`` if it had not begun one."""
    for session in Accounts(read_events(folder / "ledger")).sessions:
        if session.opened.session == driver.session:
            return session.closed.reason if session.closed else "interrupted"
    return None
