"""Files that are on disk, whole, before anyone relies on them. Loads nothing heavy: the ledger uses it too."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


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


def sync(path: Path) -> None:
    """Make a file's content, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
