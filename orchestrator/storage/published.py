"""Folders that are there whole or not at all, and copies of them on this machine.

A local folder gets its name by one rename. In an object store nothing can be renamed: the files are put under a name
of their own below ``home``, and an object ``home/whole``, created last and only if there is none, says which of these
folders is the one. Without it there is nothing, so a half-published folder counts as absent.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from auxtune.orchestrator.storage.object_path import ObjectPath
from auxtune.orchestrator.storage.placing import create, delete_tree
from auxtune.trials.durable import put_in_place, sync

POINTER = "whole"


@contextmanager
def drafting(root: Path, name: str) -> Iterator[Path]:
    """A new folder on this machine that can be published into ``root``; what is left of it in the end is deleted."""
    if isinstance(root, ObjectPath):
        with TemporaryDirectory(prefix="auxtune-") as scratch:
            yield Path(scratch)
        return
    draft = root / name
    draft.mkdir(parents=True)
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def publish(draft: Path, home: Path, usable: Callable[[], bool], aside: Callable[[], Path]) -> bool:
    """Make ``draft`` what is at ``home``; ``False`` where what is there is ``usable``, and stays.

    What is not gives way: a local one to ``aside()``. Any number of processes may do this at once. Raises ``OSError``.
    """
    if not isinstance(home, ObjectPath):
        created = put_in_place(draft, home, usable, aside)
        sync(home.parent)
        return created
    mine = home / uuid.uuid4().hex
    try:
        upload(draft, mine)
        while not create(home / POINTER, mine.name.encode()):
            if usable():  # another process was faster
                delete_tree(mine)
                return False
            (home / POINTER).unlink(missing_ok=True)
    except BaseException:
        with suppress(OSError):
            if whole(home) != mine:
                delete_tree(mine)
        raise
    return True


def whole(home: Path) -> Path | None:
    """The folder that was published at ``home``; ``None`` where none is."""
    if not isinstance(home, ObjectPath):
        return home if home.is_dir() else None
    try:
        return home / (home / POINTER).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def upload(folder: Path, home: ObjectPath) -> None:
    """Put every file of a local folder under ``home``. Raises ``StorageError``."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        put_file(path, home.joinpath(*path.relative_to(folder).parts))


def put_file(path: Path, home: ObjectPath) -> None:
    """Put a local file in the place of the object ``home``: whole or not at all. Raises ``StorageError``."""
    home.put(lambda store: store.put_file(str(path), home.key))


@contextmanager
def local_copy(folder: Path) -> Iterator[Path]:
    """``folder`` itself if it is on this machine; of one in a store a copy, empty where there is nothing.

    Raises ``StorageError``.
    """
    if not isinstance(folder, ObjectPath):
        yield folder
        return
    with TemporaryDirectory(prefix="auxtune-") as scratch:
        for name in folder.ask(lambda store: store.find(folder.key)):
            copy = Path(scratch, *ObjectPath(f"{folder.parts[0]}//{name}").parts[len(folder.parts) :])
            copy.parent.mkdir(parents=True, exist_ok=True)
            folder.ask(partial(_get, name, copy))
        yield Path(scratch)


def _get(name: str, copy: Path, store: Any) -> None:
    store.get_file(name, str(copy))
