"""A sign that a study is being worked on, so that a second driver is refused early and politely.

The fence is the ledger's, not this file's: a driver that misses the sign is still stopped by the first segment it
cannot create.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from auxtune.orchestrator.errors import Locked

BEAT = 5.0                                             # seconds
STALE = 60.0                                           # seconds after which a silent driver elsewhere counts as dead


class Heartbeat:
    """While entered, refreshes ``<study>/heartbeat.json``. Entering raises ``Locked`` if another driver is alive."""

    def __init__(self, folder: Path, session: str) -> None:
        self._path = folder / "heartbeat.json"
        self._session = session
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        other = living_driver(self._path.parent)
        if other is not None:
            raise Locked(
                f"{self._path.parent}: process {other['pid']} on {other['host']} is working on this study; "
                "watch it with `auxtune status`, or end it first"
            )
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        sign = _read(self._path)
        if sign is not None and sign["session"] == self._session:      # it may be another's by now
            self._path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._stop.wait(BEAT):
            try:
                self._write()
            except OSError:
                continue                               # a full disk is the ledger's to report

    def _write(self) -> None:
        sign = {"session": self._session, "pid": os.getpid(), "host": platform.node(), "time": time.time()}
        draft = self._path.with_suffix(".draft")
        draft.write_text(json.dumps(sign), encoding="utf-8")
        draft.replace(self._path)


def living_driver(folder: Path) -> dict[str, Any] | None:
    """The sign of the driver that works on the study in ``folder``, or ``None`` where there is none alive."""
    sign = _read(folder / "heartbeat.json")
    if sign is None or time.time() - sign["time"] > STALE:
        return None
    if sign["host"] == platform.node() and (sign["pid"] == os.getpid() or not _alive(sign["pid"])):
        return None
    return sign


def _read(path: Path) -> dict[str, Any] | None:
    """A sign that is whole, or ``None``."""
    try:
        sign = json.loads(path.read_text(encoding="utf-8"))
        return {
            "session": str(sign["session"]),
            "pid": int(sign["pid"]),
            "host": str(sign["host"]),
            "time": float(sign["time"]),
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
