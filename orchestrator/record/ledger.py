"""The ledger: the durable record of proposals, attempts and outcomes. It is the truth; all else is derived.

One session writes at a time. Opening a session takes the next segment number, so that a takeover fences the previous
writer: a session that meets an existing number reads it, and finds either itself (the write had succeeded) or
another one (``Locked``). Events wait in memory until ``flush`` puts them, in order, into one segment.

Segments form a chain: each carries ``previous``, the digest of the one before it (null in the first), and ``sha256``,
the digest of all that it holds. After each flush ``head.json`` names the last segment and its digest. Readers refuse
(``LedgerDamaged``)

- a segment that does not match its own digest, or whose ``previous`` is not the digest of the one before it;
- a ledger that ends before the segment that its head names, or in which that segment has another digest;
- a ledger of two or more segments without a head: the second is created only after the head named the first.

The head may lag. It is written after the segment, so a writer that was killed in between leaves one that names an
earlier segment, or none beside the first segment; so does a fenced writer whose last word comes late. It is not synced,
so a power cut may leave an earlier or an empty one. The next flush mends all of these; until then, segments after the
one that the head names can be cut unseen.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from auxtune.orchestrator.errors import LedgerDamaged, LedgerError, Locked
from auxtune.orchestrator.record.events import (
    Closed,
    Event,
    Opened,
    find_impossible_cost,
    read_event,
    read_time,
    write_event,
)
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import store_of
from auxtune.trials.plain_json import parse_json

FORMAT = 1
RANGE = 500  # segments of a merged file
_SEGMENT = re.compile(r"(\d{8})\.json")
_MERGED = re.compile(r"(\d{8})-(\d{8})\.jsonl")


def read_events(folder: StoredPath) -> list[Event]:
    """All events of a ledger in their order. Raises ``LedgerDamaged`` naming the file that cannot be read."""
    return LedgerReader(folder).read_new()


class LedgerReader:
    """The reading side: a ledger that another process may be writing to."""

    def __init__(self, folder: StoredPath) -> None:
        self._segments = Segments(folder)
        self.events: list[Event] = []  # all that were read up to now
        self.digests: list[str] = []  # of the segments read up to now
        self.has_head = False

    def read_new(self) -> list[Event]:
        """The events that became durable since the last call, at first all. Raises ``LedgerDamaged``."""
        head = self._read_head()  # before the segments: those it names are durable by then
        events: list[Event] = []
        for path, line in self._segments.lines(len(self.digests)):
            segment = _decode(path, line, len(self.digests) + 1)
            if segment.previous != (self.digests[-1] if self.digests else None):
                raise LedgerDamaged(
                    f"{path}: segment {segment.number} does not continue the one before it: one of the two was edited "
                    "or replaced; restore both from a copy. Nothing was changed."
                )
            self.digests.append(segment.sha256)
            events += segment.events
        self.events += events
        self._check_head(head)
        return events

    def _read_head(self) -> _Head | None:
        """The head; ``None`` where there is none. Raises ``LedgerDamaged``."""
        content = self._segments.read_head()
        self.has_head = bool(content)
        if not content:
            return None if content is None else _EMPTY
        try:
            document = parse_json(content)
            head = _Head(int(document["number"]), str(document["sha256"]))
            if head.number < 1:
                raise ValueError(f"there is no segment {head.number}")
            return head
        except (ValueError, KeyError, TypeError) as error:
            raise LedgerDamaged(
                f"{self._segments.head}: damaged ({error}); restore the file from a copy. Nothing was changed."
            ) from error

    def _check_head(self, head: _Head | None) -> None:
        """Compare the head with the segments read. Raises ``LedgerDamaged``."""
        last = len(self.digests)
        if head is None:
            # A writer may have created it, and continued, since it was looked for.
            if last > 1 and self._segments.read_head() is None:
                raise LedgerDamaged(
                    f"{self._segments.head}: missing, so that the end of the ledger cannot be told; "
                    "restore the file from a copy. Nothing was changed."
                )
        elif head.number > last:
            raise LedgerDamaged(
                f"{self._segments.folder}: ends with segment {last}, but {self._segments.head.name} names segment "
                f"{head.number}: the last ones are lost; restore them from a copy. Nothing was changed."
            )
        elif head is not _EMPTY and self.digests[head.number - 1] != head.sha256:
            raise LedgerDamaged(
                f"{self._segments.path(head.number)}: segment {head.number} is not the one that "
                f"{self._segments.head.name} names: one of the two was edited or replaced; restore both from a copy. "
                "Nothing was changed."
            )


class Ledger:
    """The writing side: one session of one study."""

    def __init__(self, folder: StoredPath, opened: Opened, reader: LedgerReader | None = None) -> None:
        """Read what is there and open a session.

        ``reader`` is of this ledger, if it was read before: what it has read is not read again.

        Raises ``LedgerDamaged``, ``LedgerError``, or ``Locked`` if another was faster.
        """
        self._segments, written = Segments(folder), reader or LedgerReader(folder)
        self.session = opened.session
        written.read_new()
        self.events = list(written.events)  # all, flushed or not
        self._waiting: list[Event] = []
        self._closed = False
        self._last = _Head(len(written.digests), written.digests[-1]) if written.digests else _EMPTY
        self._is_head_due = False
        if written.digests and not written.has_head:
            self._write_head()
        self.append(opened)
        self.flush()

    def append(self, event: Event) -> None:
        """Record an event; it is durable after the next ``flush``. Raises ``ValueError`` for a cost below 0."""
        if (wrong := find_impossible_cost(event)) is not None:
            raise ValueError(f"{self._segments.folder}: {event.event} {wrong}: a cost is a number from 0; a defect")
        self.events.append(event)
        self._waiting.append(event)

    def flush(self) -> None:
        """Make all recorded events durable, then replace the head. Raises ``LedgerError`` or ``Locked``.

        Nothing is forgotten then: events that could not be written wait for the next flush. Where only the head could
        not be written, the events are durable, and the next flush, even one without events, writes the head.
        """
        while self._waiting:
            segment = self._create(list(self._waiting)) or self._read_own()
            self._last = _Head(segment.number, segment.sha256)
            self._is_head_due = True
            del self._waiting[: len(segment.events)]
        if self._is_head_due:
            self._write_head()

    def close(self, reason: Literal["done", "interrupted", "failed"], message: str | None = None) -> None:
        """End the session. A second call, after an interrupt in the first, only makes that one durable."""
        if not self._closed:
            self.append(Closed(session=self.session, time=read_time(), reason=reason, message=message))
            self._closed = True
        self.flush()

    def _create(self, events: list[Event]) -> _Segment | None:
        """Write the next segment; ``None`` where its number is taken. Raises ``LedgerError``."""
        segment = _build_segment(self._last, self.session, events)
        try:
            return segment if self._segments.create(segment.number, _encode(segment)) else None
        except OSError as error:
            raise self._not_written(error) from error

    def _read_own(self) -> _Segment:
        """The next segment, which this session wrote without a reply. Raises ``Locked`` if another session did."""
        number = self._last.number + 1
        segment = _decode(self._segments.path(number), self._segments.read(number), number)
        if segment.session != self.session:
            raise Locked(
                f"{self._segments.folder}: another process has taken over this study (session {segment.session}); "
                "this one stops. Watch the other with `auxtune status`."
            )
        return segment

    def _write_head(self) -> None:
        """Name the last segment in the head. Raises ``LedgerError``."""
        try:
            self._segments.replace_head(json.dumps({"number": self._last.number, "sha256": self._last.sha256}) + "\n")
        except OSError as error:
            raise self._not_written(error) from error
        self._is_head_due = False

    def _not_written(self, error: OSError) -> LedgerError:
        return LedgerError(
            f"{self._segments.folder}: the ledger cannot be written ({error.strerror or error}); make room or mend "
            "the disk, then continue with `auxtune resume`. Everything recorded before is safe."
        )


class Announcer:
    """Records events in a ledger, and tells a listener of each once it is durable.

    Earlier it might hear of what never was: a driver that was suspended while another one took the study over does not
    know it before its next write.
    """

    def __init__(self, ledger: Ledger, listener: Callable[[Event], None]) -> None:
        self._ledger, self._listener = ledger, listener
        self._unheard: list[Event] = []

    def append(self, event: Event) -> None:
        """Record an event; it is durable, and heard, after the next ``flush``. Raises ``ValueError``."""
        self._ledger.append(event)
        self._unheard.append(event)

    def flush(self) -> None:
        """Make all recorded events durable, and then heard. Raises ``LedgerError`` or ``Locked``: none was heard."""
        self._ledger.flush()
        heard, self._unheard = self._unheard, []
        for event in heard:
            self._listener(event)


@dataclass(frozen=True)
class _Head:
    """Which segment is the last, as ``head.json`` says it."""

    number: int
    sha256: str


_EMPTY = _Head(0, "")  # of a ledger without segments, and what a power cut may leave


@dataclass(frozen=True)
class _Segment:
    """One file of the ledger."""

    number: int
    session: str
    previous: str | None
    events: list[Event]
    sha256: str  # of all the others, as they are in the file


def _build_segment(last: _Head, session: str, events: list[Event]) -> _Segment:
    """The segment after ``last``."""
    draft = _Segment(last.number + 1, session, last.sha256 or None, events, "")
    return replace(draft, sha256=_digest(_represent_segment(draft)))


def _represent_segment(segment: _Segment) -> dict[str, Any]:
    """The content of a segment's file, except for its own digest."""
    return {
        "format": FORMAT,
        "number": segment.number,
        "session": segment.session,
        "previous": segment.previous,
        "events": [write_event(event) for event in segment.events],
    }


def _encode(segment: _Segment) -> bytes:
    document = {**_represent_segment(segment), "sha256": segment.sha256}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _decode(path: StoredPath, line: bytes, number: int) -> _Segment:
    """The segment of this ``number``, read from ``path``. Raises ``LedgerDamaged``."""
    try:
        document = parse_json(line)
        form = document["format"]
        if form != FORMAT:
            raise LedgerDamaged(
                f"{path}: ledger format {form} is not known to this version (it reads {FORMAT}); "
                "use the version of auxtune that wrote it. Nothing was changed."
            )
        if document["number"] != number:
            raise ValueError(f"segment {document['number']} found where {number} was expected")
        sha256 = document.pop("sha256")
        if sha256 != _digest(document):
            raise ValueError("the checksum does not match")
        events = [read_event(event) for event in document["events"]]
        return _Segment(number, document["session"], document["previous"], events, sha256)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LedgerDamaged(
            f"{path}: segment {number} is damaged ({error}); restore the file from a copy. Nothing was changed."
        ) from error


def _digest(body: Any) -> str:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class Segments:
    """The ledger's files, in a folder or an object store: ``00000001.json``, ``00000002.json`` …, a line of text each.

    They are created whole and durable, or not at all. Creating a name that exists fails (``Store.create``). That makes
    the number a fence: of two writers, exactly one gets it. Every ``RANGE`` segments are also merged into one range
    file, so that a long study opens quickly; the parts stay, because they are the fence. Beside them lies
    ``head.json``, a small file that is replaced instead.
    """

    def __init__(self, folder: StoredPath) -> None:
        self.folder = folder
        self._store = store_of(folder)

    def create(self, number: int, line: bytes) -> bool:
        """Write segment ``number`` durably; ``False`` if it exists already. Raises ``OSError`` (a full disk, say)."""
        created = self._store.create(self.path(number), line)
        if created and number % RANGE == 0:
            self._merge(number - RANGE + 1, number)
        return created

    def read(self, number: int) -> bytes:
        """The line of one segment."""
        return self.path(number).read_bytes()

    @property
    def head(self) -> StoredPath:
        """The file that says which segment is the last."""
        return self.folder / "head.json"

    def read_head(self) -> bytes | None:
        """The content of the head; ``None`` where there is none."""
        try:
            return self.head.read_bytes()
        except FileNotFoundError:
            return None

    def replace_head(self, text: str) -> None:
        """Replace the head atomically, but not durably: a power cut may leave an older or an empty one.

        Syncing it would cost more than creating the segment. Raises ``OSError``.
        """
        self._store.replace_text(self.head, text)

    def lines(self, after: int = 0) -> Iterator[tuple[StoredPath, bytes]]:
        """Every segment's line in order, with the file it was read from. Raises ``LedgerDamaged`` for a gap.

        Those ``after`` a number are found without a look at all the others, so this may be asked again and again.
        """
        number = after + 1
        merged = {} if after else {int(match[1]): path for path, match in self._named(_MERGED)}
        present = set() if after else {int(match[1]) for _, match in self._named(_SEGMENT)}
        in_range = {inner for first in merged for inner in range(first, first + RANGE)}
        ahead = self._store.prefetch(self.path(single) for single in sorted(present - in_range))
        while True:
            if number in merged:
                lines = merged[number].read_bytes().splitlines()
                yield from ((merged[number], line) for line in lines)
                number += len(lines)
            elif number in present:
                path = self.path(number)
                yield path, ahead.pop(path) if path in ahead else path.read_bytes()
                number += 1
            elif self.path(number).exists():  # written since the folder was listed
                present.add(number)
            else:
                break
        if beyond := [later for later in present if later > number]:
            raise LedgerDamaged(
                f"{self.path(number)}: missing, though {self.path(min(beyond)).name} is there; "
                "restore it from a copy. Nothing was changed."
            )

    def path(self, number: int) -> StoredPath:
        """The file of one segment."""
        return self.folder / f"{number:08d}.json"

    def _named(self, pattern: re.Pattern[str]) -> Iterator[tuple[StoredPath, re.Match[str]]]:
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if match := pattern.fullmatch(path.name):
                yield path, match

    def _merge(self, first: int, last: int) -> None:
        lines = [self.read(number).rstrip(b"\n") + b"\n" for number in range(first, last + 1)]
        self._store.create(self.folder / f"{first:08d}-{last:08d}.jsonl", b"".join(lines))
