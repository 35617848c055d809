"""The operations in which a folder and an object store differ: create if absent, replace, delete a tree, look ahead.

On a disk (or NFS) a new file gets its name by ``link``, which fails where the name exists, and one that replaces
another by ``rename``. An object appears whole or not at all, so it is simply put; to create it is a put on the
condition that there is none (S3's ``If-None-Match: *``, GCS's ``ifGenerationMatch=0``).
"""

from __future__ import annotations

import io
import os
import shutil
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from auxtune.orchestrator.errors import StorageError
from auxtune.orchestrator.storage.object_path import ObjectPath
from auxtune.trials.durable import sync, write_durably


def create(path: Path, content: bytes) -> bool:
    """Write ``path`` durably where there is nothing yet; ``False`` where there is. Raises ``OSError``.

    An object of just this content counts as ours: the reply to a request that had succeeded may be lost, and the
    client has then asked again.
    """
    if not isinstance(path, ObjectPath):
        return _link(path, content)
    try:
        path.put(lambda store: store.pipe_file(path.key, content, mode="create"))
    except (FileExistsError, StorageError) as error:
        # Not every store says in the same way that the condition was not met: what is there decides.
        try:
            return path.read_bytes() == content
        except OSError:
            if isinstance(error, FileExistsError):  # it has gone again
                return False
            raise error from None
    return True


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Have ``write`` fill a draft and put that in the place of ``path``: whole or not at all, and durable.

    Raises ``OSError``; what was at ``path`` then stays.
    """
    if not isinstance(path, ObjectPath):
        write_durably(path, write)
        return
    draft = io.BytesIO()
    write(draft)
    path.write_bytes(draft.getvalue())


def replace_text(path: Path, text: str) -> None:
    """Put ``text`` in the place of ``path``: whole or not at all, but not durable. Raises ``OSError``."""
    if isinstance(path, ObjectPath):
        path.write_text(text, encoding="utf-8")
        return
    draft = _draft_of(path)
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def delete_tree(path: Path) -> None:
    """Delete a file, or a folder with all that is in it. Raises ``OSError``."""
    if isinstance(path, ObjectPath):
        with suppress(FileNotFoundError):
            path.ask(lambda store: store.rm(path.key, recursive=True))
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if isinstance(path, ObjectPath):
        return int(path.ask(lambda store: store.du(path.key)))
    if not path.is_dir():
        return path.stat().st_size
    return sum(inner.lstat().st_size for inner in path.rglob("*") if inner.is_symlink() or inner.is_file())


def read_ahead(paths: Iterable[Path]) -> dict[Path, bytes]:
    """The content of objects, asked for all at once; nothing of files, which are read when it is their turn."""
    objects = {path.key: path for path in paths if isinstance(path, ObjectPath)}
    if not objects:
        return {}
    first = next(iter(objects.values()))
    contents = first.ask(lambda store: store.cat([*objects], on_error="raise"))
    found = contents if isinstance(contents, dict) else {first.key: contents}  # a single one comes bare
    return {path: bytes(found[key]) for key, path in objects.items()}


def _link(path: Path, content: bytes) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft_of(path)
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


def _draft_of(path: Path) -> Path:
    """A name beside ``path`` that no other process uses."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")
