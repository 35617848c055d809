"""A place in an object store (``s3://bucket/studies``) with pathlib's face, for code that reads and writes whole files.

All that is stored is written for folders, so a place in a store is a ``Path`` whose operations ask fsspec. What a store
cannot do (append, link, rename) is not offered: anything that would treat the place as a file of this machine raises
``TypeError``. A folder is there while something lies in it. Listings are never cached, for another process may have
written. universal_pathlib does the same for many more stores and operations; but its paths are no ``Path``, its
``mkdir`` makes buckets, and a store's own errors come through it unexplained.

Credentials and the address of the service come from the environment (``AWS_ENDPOINT_URL``, …), never from the path.
"""

from __future__ import annotations

import fnmatch
import io
import logging
import os
import re
import stat
from collections.abc import Callable, Generator
from datetime import datetime
from pathlib import Path, PosixPath
from typing import Any, TypeVar

from auxtune.orchestrator.errors import StorageError
from auxtune.orchestrator.storage.patience import patiently

_URL = re.compile(r"(?:s3|gs)://[a-z0-9][a-z0-9._-]+(?:/[^/?#]+)*/?")
_SILENT = logging.NullHandler()
Answer = TypeVar("Answer")


def check_storage(text: str) -> str:
    """``text``, if it may be a storage: a folder, or a place in a store. Raises ``ValueError``."""
    if "://" in text and (not _URL.fullmatch(text) or {".", ".."} & {*text.split("/")}):
        raise ValueError(
            f"expected a folder, s3://BUCKET/FOLDER or gs://BUCKET/FOLDER, found {without_secrets(text)!r}; "
            "credentials and endpoint come from the environment"
        )
    return text


def stored_path(text: str) -> Path:
    """The path that ``text`` means, in a store or on this machine. Raises ``ValueError`` for other protocols."""
    return ObjectPath(check_storage(text)) if "://" in text else Path(text)


class ObjectPath(PosixPath):
    """A file or folder in an object store. Raises ``StorageError`` where the store does not do what it is asked."""

    def __str__(self) -> str:
        return f"{self.parts[0]}//{self.key}" if self.parts[:1] and self.parts[0][-1] == ":" else super().__str__()

    def __fspath__(self) -> str:
        raise TypeError(f"{self}: is in an object store, and no file of this machine")

    @property
    def key(self) -> str:
        """``bucket/name``, by which fsspec knows it."""
        return "/".join(self.parts[1:])

    @property
    def store(self) -> Any:
        """The store's fsspec file system."""
        import fsspec

        logging.getLogger("gcsfs").addHandler(_SILENT)  # what it would print of an error is said by the error
        return fsspec.filesystem(self.parts[0].removesuffix(":"), use_listings_cache=False)

    def ask(self, question: Callable[[Any], Answer]) -> Answer:
        """The answer of the store. Raises ``StorageError``, ``FileNotFoundError`` and ``FileExistsError``."""
        return patiently(lambda: question(self.store), str(self))

    def put(self, order: Callable[[Any], object]) -> None:
        """Have the store write something. Raises ``StorageError``, ``FileExistsError``."""
        try:
            self.ask(order)
        except FileNotFoundError as error:
            raise StorageError(str(self), f"there is no bucket {self.parts[1]}; make it", lasting=True) from error

    def exists(self, **options: Any) -> bool:
        """Whether there is an object of this name, or anything in a folder of this name."""
        return self._kind() is not None

    def is_dir(self, **options: Any) -> bool:
        """Whether anything lies in a folder of this name."""
        # Not the stores' own ``isdir``: to gcsfs what cannot be reached is no folder.
        try:
            return any(True for _ in self.iterdir())
        except FileNotFoundError:
            return False

    def is_file(self, **options: Any) -> bool:
        """Whether there is an object of this name."""
        return self._kind() == "file"

    def is_symlink(self) -> bool:
        """Never."""
        return False

    def is_absolute(self) -> bool:
        """Always."""
        return True

    def resolve(self, strict: bool = False) -> ObjectPath:
        """Itself."""
        return self

    def absolute(self) -> ObjectPath:
        """Itself."""
        return self

    def expanduser(self) -> ObjectPath:
        """Itself."""
        return self

    def mkdir(self, *arguments: Any, **options: Any) -> None:
        """Nothing: a folder is there with the first object in it. Buckets are not made."""

    def stat(self, **options: Any) -> os.stat_result:
        """Kind, size, and when it was written, of a folder the latest object in it. Raises ``FileNotFoundError``."""
        about = self.ask(lambda store: store.info(self.key))
        if about["type"] == "directory":
            inside = self.ask(lambda store: store.ls(self.key, detail=True))
            return _status(stat.S_IFDIR, 0, max((_written(each) for each in inside), default=0.0))
        return _status(stat.S_IFREG, about["size"], _written(about))

    def iterdir(self) -> Generator[ObjectPath, None, None]:
        """What lies in it. Raises ``FileNotFoundError`` where nothing does."""
        names = self.ask(lambda store: store.ls(self.key, detail=False))
        inside = (str(name).rstrip("/") for name in names)
        yield from (self / name.rpartition("/")[2] for name in inside if name != self.key)

    def glob(self, pattern: str, **options: Any) -> Generator[ObjectPath, None, None]:
        """What lies in it and has a name of this ``pattern``; of one level only."""
        if "/" in pattern or "**" in pattern:
            raise ValueError(f"expected a pattern of names, found {pattern!r}")
        if self.is_dir():
            yield from (path for path in self.iterdir() if fnmatch.fnmatchcase(path.name, pattern))

    def open(self, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        """The whole content, to be read."""
        if mode not in ("r", "rb"):
            raise ValueError(f"{self}: an object can be opened to be read, not with mode {mode!r}")
        content = io.BytesIO(self.read_bytes())
        return content if mode == "rb" else io.TextIOWrapper(content, options.get("encoding"), options.get("errors"))

    def read_bytes(self) -> bytes:
        """The content. Raises ``FileNotFoundError``."""
        return bytes(self.ask(lambda store: store.cat_file(self.key)))

    def write_bytes(self, data: Any) -> int:
        """Put ``data`` in the place of what is there: whole or not at all."""
        self.put(lambda store: store.pipe_file(self.key, bytes(data)))
        return len(data)

    def write_text(self, data: str, encoding: str | None = None, *arguments: Any, **options: Any) -> int:
        """Likewise."""
        return self.write_bytes(data.encode(encoding or "utf-8"))

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object."""
        try:
            self.ask(lambda store: store.rm_file(self.key))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def _kind(self) -> str | None:
        """``file`` or ``directory``; ``None`` where there is nothing."""
        try:
            return str(self.ask(lambda store: store.info(self.key))["type"])
        except FileNotFoundError:
            return None


def _written(about: dict[str, Any]) -> float:
    """When an object was written, in seconds since the epoch; the stores call it differently. 0 for a folder."""
    moment = about.get("LastModified") or about.get("mtime") or about.get("updated")
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment.replace("Z", "+00:00"))
    return moment.timestamp() if moment is not None else 0.0


def _status(kind: int, size: int, written: float) -> os.stat_result:
    whole = int(written)
    return os.stat_result((kind | 0o600, 0, 0, 1, 0, 0, size, whole, whole, whole, written, written, written))


def without_secrets(text: str) -> str:
    """A URL as it may be shown.

    >>> without_secrets("https://me:secret@host/path")
    'https://…@host/path'
    >>> without_secrets("https://me:se@c/r#et@host")
    'https://…@host'
    """
    return re.sub(r"//.*@", "//…@", text)
