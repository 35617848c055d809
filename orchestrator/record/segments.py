"""Numbered files that are created whole and durable, or not at all: the ledger's home, in a folder or an object store.

To create a name that exists fails (``storage.placing`` says how). That makes the number a fence: of two writers,
exactly one gets it. Every ``RANGE`` segments are also merged into one range file, so that a long study opens quickly;
the parts stay, for they are the fence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from auxtune.orchestrator.errors import LedgerDamaged
from auxtune.orchestrator.storage.placing import create, read_ahead

RANGE = 500
_SEGMENT = re.compile(r"(\d{8})\.json")
_MERGED = re.compile(r"(\d{8})-(\d{8})\.jsonl")


class Segments:
    """Segments ``00000001.json``, ``00000002.json`` … of one folder; each holds one line of text."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, number: int, line: bytes) -> bool:
        """Write segment ``number`` durably; ``False`` if it exists already. Raises ``OSError`` (a full disk, say)."""
        created = create(self._path(number), line)
        if created and number % RANGE == 0:
            self._merge(number - RANGE + 1, number)
        return created

    def read(self, number: int) -> bytes:
        """The line of one segment."""
        return self._path(number).read_bytes()

    def lines(self, after: int = 0) -> Iterator[tuple[Path, bytes]]:
        """Every segment's line in order, with the file it was read from. Raises ``LedgerDamaged`` for a gap.

        Those ``after`` a number are found without a look at all the others, so this may be asked again and again.
        """
        number = after + 1
        merged = {} if after else {int(match[1]): path for path, match in self._named(_MERGED)}
        present = set() if after else {int(match[1]) for _, match in self._named(_SEGMENT)}
        in_range = {inner for first in merged for inner in range(first, first + RANGE)}
        ahead = read_ahead(self._path(single) for single in sorted(present - in_range))
        while True:
            if number in merged:
                lines = merged[number].read_bytes().splitlines()
                yield from ((merged[number], line) for line in lines)
                number += len(lines)
            elif number in present:
                path = self._path(number)
                yield path, ahead.pop(path) if path in ahead else path.read_bytes()
                number += 1
            elif self._path(number).exists():  # written since the folder was listed
                present.add(number)
            else:
                break
        if beyond := [later for later in present if later > number]:
            raise LedgerDamaged(
                f"{self._path(number)}: missing, though {self._path(min(beyond)).name} is there; "
                "restore it from a copy. Nothing was changed."
            )

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08d}.json"

    def _named(self, pattern: re.Pattern[str]) -> Iterator[tuple[Path, re.Match[str]]]:
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if match := pattern.fullmatch(path.name):
                yield path, match

    def _merge(self, first: int, last: int) -> None:
        lines = [self.read(number).rstrip(b"\n") + b"\n" for number in range(first, last + 1)]
        create(self.folder / f"{first:08d}-{last:08d}.jsonl", b"".join(lines))
