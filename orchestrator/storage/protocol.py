"""The interface of a place where studies are kept: paths that are read and written, and a store of them.

A folder of this machine is one kind of store (``stores.LocalStore``), an object store the other (``object_store``).
They differ in how a file comes into being, so that is asked of the ``Store``; everything else is a method of the path.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, TextIO, TypeVar, overload

if TYPE_CHECKING:
    from typing_extensions import Self


class StoredPath(Protocol):
    """A file or folder of a store. ``pathlib.Path`` is one as it stands, and ``ObjectPath`` behaves like it.

    It has no ``__fspath__``: code that needs a file of this machine asks for a ``Path``, and the type checker holds
    it to that.
    """

    @property
    def name(self) -> str:
        """Its last part."""

    @property
    def parts(self) -> tuple[str, ...]:
        """All its parts, from the root or the bucket."""

    @property
    def parent(self) -> Self:
        """The folder that it is in."""

    def __truediv__(self, part: str, /) -> Self:
        """The path of this name in it."""

    def __hash__(self) -> int:
        """Equal paths are one key."""

    def __lt__(self, other: Self, /) -> bool:
        """Whether it comes first in a sorted list."""

    def joinpath(self, *parts: str) -> Self:
        """The path of these names in it, one within the other."""

    def resolve(self) -> Self:
        """The path without links and relative parts."""

    def absolute(self) -> Self:
        """The path from the root."""

    def expanduser(self) -> Self:
        """The path with ``~`` replaced."""

    def exists(self) -> bool:
        """Whether there is a file or a folder."""

    def is_dir(self) -> bool:
        """Whether there is a folder."""

    def is_file(self) -> bool:
        """Whether there is a file."""

    def stat(self) -> os.stat_result:
        """Its kind, its size, and when it was written. Raises ``FileNotFoundError``."""

    def iterdir(self) -> Iterator[Self]:
        """Everything in a folder. Raises ``FileNotFoundError``."""

    def glob(self, pattern: str, /) -> Iterator[Self]:
        """Everything in a folder whose name fits; nothing where there is no folder."""

    def mkdir(self, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Make a folder, where a store has such a thing."""

    @overload
    def open(self, mode: Literal["r"] = "r", *, encoding: str | None = None, errors: str | None = None) -> TextIO: ...
    @overload
    def open(self, mode: Literal["rb"]) -> BinaryIO: ...  # the content of a file, to be read

    def read_bytes(self) -> bytes:
        """The content of a file. Raises ``FileNotFoundError``."""

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """Likewise, decoded."""

    def write_bytes(self, data: bytes, /) -> int:
        """Write a file; no reader may rely on it before this returns."""

    def write_text(self, data: str, encoding: str | None = None) -> int:
        """Likewise, encoded."""

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete a file."""


P = TypeVar("P", bound=StoredPath)


class Store(Protocol[P]):
    """The operations in which stores differ. All raise ``OSError``, of which ``StorageError`` is one."""

    # Single files

    def create(self, path: P, content: bytes) -> bool:
        """Write ``path`` durably where there is nothing yet; ``False`` where there is. Of many callers one succeeds."""

    def replace(self, path: P, write: Callable[[BinaryIO], object]) -> None:
        """Have ``write`` fill a draft, and put that in the place of ``path``: whole or not at all, and durable."""

    def replace_text(self, path: P, text: str) -> None:
        """Put ``text`` in the place of ``path``: whole or not at all, but not durable."""

    def put_file(self, file: Path, target: P) -> None:
        """Put a file of this machine in the place of ``target``, whole or not at all."""

    def prefetch(self, paths: Iterable[P]) -> dict[P, bytes]:
        """The content of those files that are better read all at once than one by one; it may be none."""

    # Files and folders

    def delete(self, path: P) -> None:
        """Delete a file, or a folder with everything in it; nothing where there is none."""

    def measure_size(self, path: P) -> int:
        """Bytes of a file, or of all files in a folder."""

    # Folders that are there whole or not at all

    def open_draft(self, root: P, name: str) -> AbstractContextManager[Path]:
        """A new folder of this machine, to be published into ``root``; whatever is left of it in the end is deleted.

        Where ``root`` is on this machine the draft is on the same disk, as ``root/name``.
        """

    def publish(self, draft: Path, home: P, is_usable: Callable[[], bool], quarantine_path: Callable[[], P]) -> bool:
        """Publish ``draft`` at ``home``; ``False`` where the folder there ``is_usable``, and stays.

        An unusable one gives way, on a disk to ``quarantine_path()``. Any number of processes may do this at once.
        """

    def find_published(self, home: P) -> P | None:
        """The folder that was published at ``home``; ``None`` where none is."""

    # Folders of this machine

    def fetch(self, folder: P) -> AbstractContextManager[Path]:
        """``folder`` as one of this machine, to be read: itself, or a copy, which is empty where there is nothing."""

    def open_working_folder(self, folder: P, prefix: str) -> AbstractContextManager[Path]:
        """A folder of this machine for files that belong at ``folder``: itself, or a temporary one.

        Nothing comes to ``folder`` by itself: ``put_file`` brings the files to be kept.
        """

    # Waiting

    def survive_silence(self) -> AbstractContextManager[None]:
        """Inside, on this thread, a store that does not answer is waited for."""
