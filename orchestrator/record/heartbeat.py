"""The lease of the driver that works on a study, so that a second driver is refused early and politely.

The fence is the ledger's, not this file's: a driver that misses the lease is still stopped by the first segment it
cannot create. The lease also says whom `auxtune stop` has to ask.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from auxtune.orchestrator.errors import Locked, StorageError
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import quote_path, store_of

BEAT = 5.0  # seconds
CLEANING = "clean-"  # how the session of a clean-up begins
LOOK = 0.1  # seconds between looks whether the driver was asked to end
STALE = 60.0  # seconds after which a silent driver elsewhere counts as dead


@dataclass(frozen=True)
class DriverLease:
    """A driver's claim to a study. ``time`` is that of the last beat, in seconds since the epoch."""

    session: str
    pid: int
    host: str
    time: float
    started: str | None = None  # ``read_process_start`` of the driver; ``None``: an older version's
    stopping: bool = False  # it was asked to end and is about to

    @property
    def here(self) -> bool:
        """Whether the driver is a process of this machine."""
        return self.host == platform.node()

    @property
    def identified(self) -> bool:
        """Whether the process that has the driver's id now is the driver and no later one."""
        return self.here and self.started is not None and read_process_start(self.pid) == self.started


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
            lease = _read(self._path)
            if lease is not None and lease.session == self._session:  # it may be another's by now
                self._path.unlink(missing_ok=True)

    def _beat(self) -> None:
        beat, told = time.monotonic(), False
        while not self._stop.wait(LOOK):
            # At once when it was asked to end: a second `auxtune stop` must see that it was.
            if time.monotonic() - beat < BEAT and self._stopping() == told:
                continue
            beat, told = time.monotonic(), self._stopping()
            try:
                self._write()
            except OSError:
                continue  # a full disk is the ledger's to report

    def _write(self) -> None:
        lease = DriverLease(self._session, os.getpid(), platform.node(), time.time(), self._started, self._stopping())
        store_of(self._path).replace_text(self._path, json.dumps(asdict(lease)))


def find_active_driver(folder: StoredPath) -> DriverLease | None:
    """The lease of the driver that works on the study in ``folder``, or ``None`` where there is none alive.

    A driver of this machine lives as long as its process, also while that is suspended; of one elsewhere, or of an
    older version, a silence of ``STALE`` seconds is taken for its death.
    """
    lease = _read(folder / "heartbeat.json")
    if lease is None or (lease.here and lease.pid == os.getpid()):
        return None
    if lease.here and lease.started is not None:
        return lease if lease.identified else None
    if time.time() - lease.time > STALE or (lease.here and not _is_alive(lease.pid)):
        return None
    return lease


def _read(path: StoredPath) -> DriverLease | None:
    """A lease that is whole, or ``None``. Raises ``StorageError``."""
    try:
        lease = json.loads(path.read_text(encoding="utf-8"))
        return DriverLease(
            session=str(lease["session"]),
            pid=int(lease["pid"]),
            host=str(lease["host"]),
            time=float(lease["time"]),
            started=lease.get("started"),
            stopping=bool(lease.get("stopping", False)),
        )
    except StorageError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


_PROC = Path("/proc")


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
