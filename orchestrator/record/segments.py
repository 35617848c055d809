"""Numbered files that are created whole and durable, or not at all: the ledger's home, in a folder or an object store.

Creating a name that exists fails (``Store.create``). That makes the number a fence: of two writers, exactly one gets
it. Every ``RANGE`` segments are also merged into one range file, so that a long study opens quickly; the parts stay,
because they are the fence. Beside them lies ``head.json``, a small file that is replaced instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from auxtune.orchestrator.errors import LedgerDamaged
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import store_of

RANGE = 500
HEAD = "head.json"
_SEGMENT = re.compile(r"(\d{8})\.json")
_MERGED = re.compile(r"(\d{8})-(\d{8})\.jsonl")


class Segments:
    """Segments ``00000001.json``, ``00000002.json`` … of one folder; each holds one line of text."""

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
        return self.folder / HEAD

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
