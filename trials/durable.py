"""Files that are whole and on disk before anything relies on them. Loads nothing heavy: the ledger uses it too."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)  # errors of a rename onto something that exists


def write_durably(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Have ``write`` fill a draft, and replace ``path`` with it: whole or not at all.

    Raises ``OSError`` if it cannot be written; ``path`` is then unchanged.
    """
    draft = path.with_name(f".{path.name}")
    with name_in_errors(path):
        try:
            with draft.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):  # the first error is the one to show
                draft.unlink()  # on a full disk others need the room
            raise
        draft.replace(path)
        sync(path.parent)


def create_durably(path: Path, content: bytes) -> bool:
    """Write ``path`` unless it exists; ``False`` if it does. Of many concurrent callers one succeeds.

    The name is given by ``link``, which fails if it exists; ``open("x")`` would show half a file to readers.
    """
    draft = _name_draft(path)
    with name_in_errors(path):
        try:
            with draft.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(draft, path)
            except FileExistsError:
                return False
        finally:
            draft.unlink(missing_ok=True)
        sync(path.parent)
    return True


def replace_text(path: Path, text: str) -> None:
    """Replace the content of ``path`` by ``text``: whole or not at all, but a power cut may leave the old content."""
    draft = _name_draft(path)
    with name_in_errors(path):
        try:
            draft.write_text(text, encoding="utf-8")
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def put_in_place(draft: Path, home: Path, usable: Callable[[], bool], aside: Callable[[], Path]) -> bool:
    """Rename the folder ``draft`` to ``home``; ``False`` if a ``usable`` folder is already there, which stays.

    An unusable one is moved to ``aside()``, by a rename, so that no other process sees half of it. Any number of
    processes may do this at once. Raises ``OSError`` if the file system refuses.
    """
    while True:
        try:
            draft.rename(home)  # a folder that is not empty is never replaced
        except OSError as error:
            if error.errno not in TAKEN:
                raise
        else:
            return True
        if usable():  # another process was faster
            return False
        with suppress(FileNotFoundError):  # or another process has moved it away
            home.rename(aside())


def sync(path: Path) -> None:
    """Make a file's content, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def name_in_errors(path: Path) -> Iterator[None]:
    """Name ``path`` in the system's errors: a full disk gives none, and people do not know of drafts."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:  # else it is no error of the system, whose text would be lost
            error.filename, error.filename2 = str(path), None
        raise


def _name_draft(path: Path) -> Path:
    """A name beside ``path`` that no other process uses."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")
