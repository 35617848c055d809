"""The ledger: the durable record of proposals, attempts and outcomes. It is the truth; all else is derived.

One session writes at a time. Opening a session takes the next segment number, so that a takeover fences the former
writer: whoever meets an existing number reads it, and finds either its own session (the write had succeeded) or
another's (``Locked``). Events wait in memory until ``flush`` puts them, in order, into one segment.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any, Literal

from auxtune.orchestrator.errors import LedgerDamaged, LedgerError, Locked
from auxtune.orchestrator.record.events import Closed, Event, Opened, from_json, to_json
from auxtune.orchestrator.record.segments import Segments

FORMAT = 1


def read_events(folder: Path) -> list[Event]:
    """All events of a ledger in their order. Raises ``LedgerDamaged`` naming the file that cannot be read."""
    return Following(folder).news()


class Following:
    """The reading side: a ledger that another process may be writing to."""

    def __init__(self, folder: Path) -> None:
        self._segments = Segments(folder)
        self.read = 0  # segments up to now

    def news(self) -> list[Event]:
        """The events that became durable since the last call, at first all. Raises ``LedgerDamaged``."""
        events: list[Event] = []
        for path, line in self._segments.lines(self.read):
            self.read += 1
            events += _decode(path, line, self.read)[1]
        return events


class Ledger:
    """The writing side: one session of one study."""

    def __init__(self, folder: Path, opened: Opened) -> None:
        """Read what is there and open a session. Raises ``LedgerDamaged``, or ``Locked`` if another was faster."""
        self._segments, written = Segments(folder), Following(folder)
        self.session = opened.session
        self.events = written.news()  # all, flushed or not
        self._waiting: list[Event] = []
        self._closed = False
        self._next = written.read + 1
        self.append(opened)
        self.flush()

    def append(self, event: Event) -> None:
        """Record an event; it is durable after the next ``flush``."""
        self.events.append(event)
        self._waiting.append(event)

    def flush(self) -> None:
        """Make all recorded events durable. Raises ``LedgerError`` or ``Locked``; nothing is forgotten then."""
        while self._waiting:
            batch = list(self._waiting)
            if not self._create(batch):
                session, batch = _decode(self._segments.folder, self._segments.read(self._next), self._next)
                if session != self.session:
                    raise Locked(
                        f"{self._segments.folder}: another process has taken over this study (session {session}); "
                        "this one stops. Watch the other with `auxtune status`."
                    )
            self._next += 1
            del self._waiting[: len(batch)]

    def close(self, reason: Literal["done", "interrupted", "failed"], message: str | None = None) -> None:
        """End the session. A second call, after an interrupt in the first, only makes that one durable."""
        if not self._closed:
            self.append(Closed(session=self.session, time=time.time(), reason=reason, message=message))
            self._closed = True
        self.flush()

    def _create(self, events: list[Event]) -> bool:
        """Write the next segment; ``False`` where its number is taken."""
        try:
            return self._segments.create(self._next, _encode(self._next, self.session, events))
        except OSError as error:
            raise LedgerError(
                f"{self._segments.folder}: the ledger cannot be written ({error.strerror or error}); make room or mend "
                "the disk, then go on with `auxtune resume`. What was recorded before is safe."
            ) from error


def _encode(number: int, session: str, events: list[Event]) -> bytes:
    body = [to_json(event) for event in events]
    segment = {"format": FORMAT, "number": number, "session": session, "sha256": _digest(body), "events": body}
    return json.dumps(segment, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _decode(path: Path, line: bytes, number: int) -> tuple[str, list[Event]]:
    try:
        segment = json.loads(line)
        form = segment["format"]
        if form != FORMAT:
            raise LedgerDamaged(
                f"{path}: ledger format {form} is not known to this version (it reads {FORMAT}); "
                "use the version of auxtune that wrote it. Nothing was changed."
            )
        if segment["number"] != number:
            raise ValueError(f"segment {segment['number']} found where {number} was expected")
        if segment["sha256"] != _digest(segment["events"]):
            raise ValueError("the checksum does not match")
        return segment["session"], [from_json(event) for event in segment["events"]]
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerDamaged(
            f"{path}: segment {number} is damaged ({error}); restore the file from a copy. Nothing was changed."
        ) from error


def _digest(body: Any) -> str:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
