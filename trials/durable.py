"""Files that are on disk, whole, before anyone relies on them. Loads nothing heavy: the ledger uses it too."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)  # what a rename says when something is already there


def write_durably(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Have ``write`` fill a draft, and put that in the place of ``path``: whole or not at all.

    Raises ``OSError`` where the disk refuses; what was at ``path`` then stays.
    """
    draft = path.with_name(f".{path.name}")
    with draft.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync(path.parent)


def put_in_place(draft: Path, home: Path, usable: Callable[[], bool], aside: Callable[[], Path]) -> bool:
    """Give the folder ``draft`` the name ``home``; ``False`` where what is there is ``usable``, and stays.

    What is not is moved to ``aside()``, by a rename, so that no other process sees half of it. Any number of processes
    may do this at once. Raises ``OSError`` where the file system refuses.
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
        with suppress(FileNotFoundError):  # or has moved it away
            home.rename(aside())


def sync(path: Path) -> None:
    """Make a file's content, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
