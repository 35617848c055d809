"""Studies in folders of this machine, or of a disk that many machines see.

A new file gets its name by ``link``, which fails where the name exists, also on NFS. A file that replaces another, and
a published folder, get theirs by one ``rename``. ``trials.durable`` has the primitives.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from auxtune.trials.durable import create_durably, put_in_place, replace_text, sync, write_durably


class LocalStore:
    """Folders of this machine as a ``Store``."""

    def create(self, path: Path, content: bytes) -> bool:
        """Link a synced draft to the name, and make its folder where there is none."""
        path.parent.mkdir(parents=True, exist_ok=True)
        return create_durably(path, content)

    def replace(self, path: Path, write: Callable[[BinaryIO], object]) -> None:
        """Rename a synced draft."""
        write_durably(path, write)

    def replace_text(self, path: Path, text: str) -> None:
        """Rename a draft."""
        replace_text(path, text)

    def put_file(self, file: Path, target: Path) -> None:
        """Copy the file; nothing where it is in its place already, as in a working folder."""
        if file != target:
            target.parent.mkdir(parents=True, exist_ok=True)
            with file.open("rb") as source:
                write_durably(target, lambda draft: shutil.copyfileobj(source, draft))

    def prefetch(self, paths: Iterable[Path]) -> dict[Path, bytes]:
        """Nothing: files are read when it is their turn."""
        return {}

    def delete(self, path: Path) -> None:
        """Delete it. A link is deleted, and not what it leads to."""
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def measure_size(self, path: Path) -> int:
        """Bytes. Links count as themselves."""
        if not path.is_dir():
            return path.stat().st_size
        return sum(inner.lstat().st_size for inner in path.rglob("*") if inner.is_symlink() or inner.is_file())

    @contextmanager
    def open_draft(self, root: Path, name: str) -> Iterator[Path]:
        """``root/name``: only on the same disk can it be renamed."""
        draft = root / name
        draft.mkdir(parents=True)
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def publish(
        self, draft: Path, home: Path, is_usable: Callable[[], bool], quarantine_path: Callable[[], Path]
    ) -> bool:
        """Rename the draft."""
        created = put_in_place(draft, home, is_usable, quarantine_path)
        sync(home.parent)
        return created

    def find_published(self, home: Path) -> Path | None:
        """``home`` itself: a rename brings a whole folder."""
        return home if home.is_dir() else None

    @contextmanager
    def fetch(self, folder: Path) -> Iterator[Path]:
        """The folder itself."""
        yield folder

    @contextmanager
    def open_working_folder(self, folder: Path, prefix: str) -> Iterator[Path]:
        """The folder itself: its files are made where they belong."""
        yield folder
