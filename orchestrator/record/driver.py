"""The driver that works on a study: its lease, the signals that stop it, and those who look for it or ask it to end.

With the lease a second driver is refused early and politely. The fence is the ledger's, not this file's: a driver that
misses the lease is still stopped by the first segment it cannot create.

A driver is stopped by Ctrl-C or SIGTERM where it runs, and by one Ctrl-C sent from another process (`auxtune stop`). A
signal acts at once where nothing can break, and in order where Ray is at work. A handler that raises while Ray forks
its processes can leave a lock held for ever, so inside ``held`` a signal is only noted; Ray's loop polls ``came`` in
every turn and ends itself. A second signal in that loop interrupts it.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import FrameType, TracebackType
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from auxtune.orchestrator.errors import AuxtuneError, Locked, StorageError
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.events import read_time
from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import quote_path, store_of

BEAT = 5.0  # seconds
CLEANING = "clean-"  # how the session of a clean-up begins
STALE = 60.0  # seconds after which a silent driver elsewhere counts as dead
_LOOK = 0.1  # seconds between looks whether the driver was asked to end
_LOOK_FROM_OUTSIDE = 0.2  # seconds between looks of another process at its lease
_PROC = Path("/proc")
_STOPPING = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class DriverLease:
    """A driver's claim to a study. ``time`` is that of the last beat, in seconds since the epoch."""

    session: str
    pid: Annotated[int, Field(ge=1, lt=1 << 31)]  # what the system's calls take
    host: str
    time: Annotated[float, Field(allow_inf_nan=False)]
    started: str | None = None  # ``read_process_start`` of the driver; ``None``: an older version's
    stopping: bool = False  # it was asked to end and is about to
    session_time: Annotated[float, Field(allow_inf_nan=False)] | None = None  # ``time`` by the session's own clock

    @property
    def here(self) -> bool:
        """Whether the driver is a process of this machine."""
        return self.host == platform.node()

    @property
    def identified(self) -> bool:
        """Whether the process that has the driver's id now is the driver and no later one."""
        return self.here and self.started is not None and read_process_start(self.pid) == self.started


_lease = TypeAdapter(DriverLease)


class Heartbeat:
    """While entered, refreshes ``<study>/heartbeat.json``. Entering raises ``Locked`` if another driver is alive."""

    def __init__(self, folder: StoredPath, session: str, stopping: Callable[[], bool] = lambda: False) -> None:
        """``stopping`` tells whether this driver was asked to end."""
        self._path = folder / "heartbeat.json"
        self._session, self._stopping = session, stopping
        self._started = read_process_start(os.getpid())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        other = find_active_driver(self._path.parent)
        if other is not None:
            raise Locked(
                f"{self._path.parent}: process {other.pid} on {other.host} is working on this study; "
                f"watch it with `auxtune status`, or end it first with `auxtune stop {quote_path(self._path.parent)}`"
            )
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        with suppress(StorageError):  # a lease left behind is recognised as dead
            lease = _read_lease(self._path)
            if lease is not None and lease.session == self._session:  # it may be another's by now
                self._path.unlink(missing_ok=True)

    def _beat(self) -> None:
        beat, told = time.monotonic(), False
        while not self._stop.wait(_LOOK):
            # At once when it was asked to end: a second `auxtune stop` must see that it was.
            if time.monotonic() - beat < BEAT and self._stopping() == told:
                continue
            beat, told = time.monotonic(), self._stopping()
            try:
                self._write()
            except OSError:
                continue  # a full disk is the ledger's to report

    def _write(self) -> None:
        here, now = platform.node(), time.time()
        lease = DriverLease(self._session, os.getpid(), here, now, self._started, self._stopping(), read_time())
        store_of(self._path).replace_text(self._path, json.dumps(asdict(lease)))


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


def find_active_driver(folder: StoredPath) -> DriverLease | None:
    """The lease of the driver that works on the study in ``folder``, or ``None`` where there is none alive.

    A driver of this machine lives as long as its process, also while that is suspended; of one elsewhere, or of an
    older version, a silence of ``STALE`` seconds is taken for its death, and so is a beat from the future, which a
    clock that was set left. A lease that cannot be read counts as absent, with a warning.
    """
    lease = _read_lease(folder / "heartbeat.json")
    if lease is None or (lease.here and lease.pid == os.getpid()):
        return None
    if lease.here and lease.started is not None:
        return lease if lease.identified else None
    if abs(time.time() - lease.time) > STALE or (lease.here and not _is_process_alive(lease.pid)):
        return None
    return lease


def is_alive(folder: StoredPath, accounts: Accounts) -> bool:
    """Whether a process is at work in the study's last session."""
    last, sign = accounts.sessions[-1], find_active_driver(folder)
    # The sign may be that of a clean-up, or of a session that is being prepared.
    return last.closed is None and sign is not None and sign.session == last.opened.session


def read_study_time(folder: StoredPath) -> float:
    """Now, by the clock of the session that is at work on the study in ``folder``; else by that of this process."""
    driver = find_active_driver(folder)
    if driver is None or driver.session_time is None:
        return read_time()
    return driver.session_time + min(max(0.0, time.time() - driver.time), STALE)


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
        time.sleep(_LOOK_FROM_OUTSIDE)
    return True


def find_end(folder: StoredPath, driver: DriverLease) -> str | None:
    """How the session of ``driver`` ended: ``done``, ``interrupted``, ``failed``; ``None`` if it had not begun one."""
    for session in Accounts(read_events(folder / "ledger")).sessions:
        if session.opened.session == driver.session:
            return session.closed.reason if session.closed else "interrupted"
    return None


def _read_lease(path: StoredPath) -> DriverLease | None:
    """The lease in ``path``; ``None`` where there is none, or none that a driver wrote. Raises ``StorageError``."""
    try:
        return _lease.validate_json(path.read_bytes())
    except StorageError:
        raise
    except FileNotFoundError:
        return None
    except ValidationError:
        _warn_of_lease(str(path), "it holds something else")
    except OSError as error:
        _warn_of_lease(str(path), error.strerror or str(error))
    return None


@cache
def _warn_of_lease(path: str, reason: str) -> None:
    """Say once in this process, which may look every second, that a lease cannot be read."""
    logging.getLogger(__name__).warning(
        "%s: not a driver's sign of life (%s), taken as absent; the next session replaces it", path, reason
    )


def _is_process_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def read_process_start(pid: int) -> str | None:
    """When the process began, as text that no other process of this id ever has; ``None``: not there, or unknown.

    A process that has ended and is only waited for by its parent (a zombie) is not there any more.
    """
    return _read_linux_start(pid) if (_PROC / "self" / "stat").exists() else _read_posix_start(pid)


def _read_linux_start(pid: int) -> str | None:
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        boot = (_PROC / "sys" / "kernel" / "random" / "boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    # The name, in parentheses, may hold anything; after it the fields are numbered from 3, see proc_pid_stat(5).
    fields = stat.rpartition(")")[2].split()
    state, ticks = fields[0], fields[19]
    return None if state in "ZX" else f"{ticks} ticks after boot {boot}"


def _read_posix_start(pid: int) -> str | None:
    # Two processes of different language or time zone must read the same text.
    plain = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    command = ["ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)]
    try:
        asked = subprocess.run(command, env=plain, capture_output=True, text=True, check=False)
    except OSError:  # no ps here
        return None
    state, _, began = asked.stdout.strip().partition(" ")
    return None if not began or state.startswith("Z") else began.strip()
