"""Studies in an object store, as fsspec knows it (``s3://``, ``gs://``).

An object appears whole or not at all, so it is simply put. To create it is a put on the condition that there is none
(S3's ``If-None-Match: *``, GCS's ``ifGenerationMatch=0``).

Nothing can be renamed. So the files of a published folder are put under a name of their own below ``home``, and an
object ``home/whole``, created last and only if there is none, says which of these folders is the one. Without it there
is nothing: a half-published folder counts as absent.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from auxtune.orchestrator.errors import StorageError
from auxtune.orchestrator.storage.object_path import ObjectPath, survive_silence

POINTER = "whole"


class ObjectStore:
    """Objects as a ``Store``. Raises ``StorageError`` where one does not do what it is asked."""

    def create(self, path: ObjectPath, content: bytes) -> bool:
        """Put it on condition.

        An object of just this content counts as ours: the reply to a request that had succeeded may be lost, and the
        client has then asked again.
        """
        try:
            path.put(lambda files: files.pipe_file(path.key, content, mode="create"))
        except (FileExistsError, StorageError) as error:
            # Not every store says in the same way that the condition was not met: what is there decides.
            try:
                return path.read_bytes() == content
            except OSError:
                if isinstance(error, FileExistsError):  # it was deleted in the meantime
                    return False
                raise error from None
        return True

    def replace(self, path: ObjectPath, write: Callable[[BinaryIO], object]) -> None:
        """Put the draft, which is made in memory."""
        draft = io.BytesIO()
        write(draft)
        path.write_bytes(draft.getvalue())

    def replace_text(self, path: ObjectPath, text: str) -> None:
        """Put it."""
        path.write_text(text, encoding="utf-8")

    def put_file(self, file: Path, target: ObjectPath) -> None:
        """Put it, in parts where it is large."""
        target.put(lambda files: files.put_file(str(file), target.key))

    def prefetch(self, paths: Iterable[ObjectPath]) -> dict[ObjectPath, bytes]:
        """All of them: requests that run at once take hardly longer than one."""
        objects = {path.key: path for path in paths}
        if not objects:
            return {}
        first = next(iter(objects.values()))
        contents = first.ask(lambda files: files.cat([*objects], on_error="raise"))
        by_key = contents if isinstance(contents, dict) else {first.key: contents}  # a single one comes bare
        return {path: bytes(by_key[key]) for key, path in objects.items()}

    def delete(self, path: ObjectPath) -> None:
        """Delete the object, and all objects whose names begin with its own and a slash."""
        with suppress(FileNotFoundError):
            path.ask(lambda files: files.rm(path.key, recursive=True))

    def measure_size(self, path: ObjectPath) -> int:
        """Bytes."""
        return int(path.ask(lambda files: files.du(path.key)))

    @contextmanager
    def open_draft(self, root: ObjectPath, name: str) -> Iterator[Path]:
        """A temporary folder."""
        with TemporaryDirectory(prefix="auxtune-") as scratch:
            yield Path(scratch)

    def publish(
        self, draft: Path, home: ObjectPath, is_usable: Callable[[], bool], quarantine_path: Callable[[], ObjectPath]
    ) -> bool:
        """Put the files, then the pointer."""
        mine = home / uuid.uuid4().hex
        try:
            self.upload(draft, mine)
            while not self.create(home / POINTER, mine.name.encode()):
                if is_usable():  # another process was faster
                    self.delete(mine)
                    return False
                (home / POINTER).unlink(missing_ok=True)
        except BaseException:
            # The pointer may have been created although the reply was lost: then the folder is the published one.
            with suppress(OSError):
                if self.find_published(home) != mine:
                    self.delete(mine)
            raise
        return True

    def find_published(self, home: ObjectPath) -> ObjectPath | None:
        """The folder that the pointer names."""
        try:
            return home / (home / POINTER).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def upload(self, folder: Path, home: ObjectPath) -> None:
        """Put every file of a local folder under ``home``."""
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            self.put_file(file, home.joinpath(*file.relative_to(folder).parts))

    @contextmanager
    def fetch(self, folder: ObjectPath) -> Iterator[Path]:
        """A copy in a temporary folder."""
        with TemporaryDirectory(prefix="auxtune-") as scratch:
            for name in folder.ask(lambda files: files.find(folder.key)):
                copy = Path(scratch, PurePosixPath(name).relative_to(folder.key))
                copy.parent.mkdir(parents=True, exist_ok=True)
                folder.ask(partial(_fetch_file, name, copy))
            yield Path(scratch)

    @contextmanager
    def open_working_folder(self, folder: ObjectPath, prefix: str) -> Iterator[Path]:
        """A temporary folder."""
        with TemporaryDirectory(prefix=prefix) as scratch:
            yield Path(scratch)

    def survive_silence(self) -> AbstractContextManager[None]:
        """Every store that this thread asks is waited for."""
        return survive_silence()


def _fetch_file(name: str, copy: Path, files: Any) -> None:
    files.get_file(name, str(copy))
