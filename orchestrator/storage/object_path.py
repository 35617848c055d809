"""A file or folder in an object store (``s3://bucket/studies``), for code that reads and writes whole files.

It has the methods of ``StoredPath``, each a question to fsspec. What a store cannot do (append, link, rename) is not
offered, and it is no ``os.PathLike``: to open it as a file of this machine raises ``TypeError``. A folder is there
while something lies in it. Listings are never cached, because another process may have written. universal_pathlib does
the same for many more stores and operations; but its ``mkdir`` makes buckets, and it passes on a store's own errors
unexplained.

Credentials and the address of the service come from the environment (``AWS_ENDPOINT_URL``, …), never from the path.

The many kinds of errors of stores are raised as one. Stores' own clients try again for some seconds. Code that runs for
hours waits longer: inside ``survive_silence`` a question is asked again until nothing has come through for minutes.
Elsewhere, as in a command that looks something up or in the thread of a heartbeat, an error is raised at once.
"""

from __future__ import annotations

import fnmatch
import io
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Literal, TextIO, TypeVar, overload

from auxtune.orchestrator.errors import StorageError

_PATIENCE = 300.0  # seconds; a variable of the environment says otherwise
_PAUSE = 2.0  # seconds between questions
_VARIABLE = "AUXTUNE_STORAGE_PATIENCE"
_patient: ContextVar[bool] = ContextVar("patient", default=False)  # threads begin without
_silence: dict[str, float] = {}  # protocol -> since when (monotonic) nothing has come through
_SILENT = logging.NullHandler()
Answer = TypeVar("Answer")


class ObjectPath:
    """``PROTOCOL://BUCKET/NAME``. Raises ``StorageError`` where the store does not do what it is asked."""

    __slots__ = ("_location", "protocol")

    def __init__(self, url: str) -> None:
        self.protocol, _, location = url.partition("://")
        self._location = PurePosixPath(location)  # bucket, then the names of folders and file

    # The path itself

    def __str__(self) -> str:
        return f"{self.protocol}://{self.key}"

    def __repr__(self) -> str:
        return f"ObjectPath({str(self)!r})"

    def __reduce__(self) -> tuple[type[ObjectPath], tuple[str]]:
        return ObjectPath, (str(self),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectPath) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __lt__(self, other: ObjectPath, /) -> bool:
        return (self.protocol, self._location) < (other.protocol, other._location)

    def __truediv__(self, part: str, /) -> ObjectPath:
        return self.joinpath(part)

    def joinpath(self, *parts: str) -> ObjectPath:
        """The path of these names in it."""
        return self._at(self._location.joinpath(*parts))

    @property
    def key(self) -> str:
        """``bucket/name``, by which fsspec knows it."""
        return "/".join(self.parts)

    @property
    def parts(self) -> tuple[str, ...]:
        """The bucket, then the names of folders and file."""
        return self._location.parts

    @property
    def name(self) -> str:
        """The last part."""
        return self._location.name

    @property
    def parent(self) -> ObjectPath:
        """The folder that it is in."""
        return self._at(self._location.parent)

    def resolve(self) -> ObjectPath:
        """Itself."""
        return self

    def absolute(self) -> ObjectPath:
        """Itself."""
        return self

    def expanduser(self) -> ObjectPath:
        """Itself."""
        return self

    # The store's answers

    def ask(self, question: Callable[[Any], Answer]) -> Answer:
        """The fsspec file system's answer. Raises ``StorageError``, ``FileNotFoundError`` and ``FileExistsError``."""
        return ask_patiently(lambda: question(self._open_store()), str(self))

    def put(self, order: Callable[[Any], object]) -> None:
        """Have the fsspec file system write something. Raises ``StorageError``, ``FileExistsError``."""
        try:
            self.ask(order)
        except FileNotFoundError as error:
            raise StorageError(str(self), f"there is no bucket {self.parts[0]}; make it", lasting=True) from error

    def exists(self) -> bool:
        """Whether there is an object of this name, or anything in a folder of this name."""
        return self._find_kind() is not None

    def is_dir(self) -> bool:
        """Whether anything lies in a folder of this name."""
        # Not the stores' own ``isdir``: gcsfs answers no where the store cannot be reached.
        try:
            return any(True for _ in self.iterdir())
        except FileNotFoundError:
            return False

    def is_file(self) -> bool:
        """Whether there is an object of this name."""
        return self._find_kind() == "file"

    def stat(self) -> os.stat_result:
        """Kind, size, and when it was written, of a folder the latest object in it. Raises ``FileNotFoundError``."""
        about = self.ask(lambda files: files.info(self.key))
        if about["type"] == "directory":
            inside = self.ask(lambda files: files.ls(self.key, detail=True))
            return _make_stat(stat.S_IFDIR, 0, max((_read_time(entry) for entry in inside), default=0.0))
        return _make_stat(stat.S_IFREG, about["size"], _read_time(about))

    def iterdir(self) -> Iterator[ObjectPath]:
        """Everything in the folder. Raises ``FileNotFoundError`` where it is empty."""
        names = self.ask(lambda files: files.ls(self.key, detail=False))
        inside = (str(name).rstrip("/") for name in names)
        yield from (self / name.rpartition("/")[2] for name in inside if name != self.key)

    def glob(self, pattern: str, /) -> Iterator[ObjectPath]:
        """Everything in the folder with a name of this ``pattern``; of one level only."""
        if "/" in pattern or "**" in pattern:
            raise ValueError(f"expected a pattern of names, found {pattern!r}")
        if self.is_dir():
            yield from (path for path in self.iterdir() if fnmatch.fnmatchcase(path.name, pattern))

    def mkdir(self, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: a folder is there with the first object in it. Buckets are not made."""

    @overload
    def open(self, mode: Literal["r"] = "r", *, encoding: str | None = None, errors: str | None = None) -> TextIO: ...
    @overload
    def open(self, mode: Literal["rb"]) -> BinaryIO: ...
    def open(self, mode: str = "r", *, encoding: str | None = None, errors: str | None = None) -> TextIO | BinaryIO:
        """The whole content, to be read."""
        if mode not in ("r", "rb"):
            raise ValueError(f"{self}: an object can be opened to be read, not with mode {mode!r}")
        content = io.BytesIO(self.read_bytes())
        return content if mode == "rb" else io.TextIOWrapper(content, encoding, errors)

    def read_bytes(self) -> bytes:
        """The content. Raises ``FileNotFoundError``."""
        return bytes(self.ask(lambda files: files.cat_file(self.key)))

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """Likewise, decoded."""
        with self.open(encoding=encoding, errors=errors) as file:
            return file.read()

    def write_bytes(self, data: bytes, /) -> int:
        """Put ``data`` in the place of the object, if there is one: whole or not at all."""
        self.put(lambda files: files.pipe_file(self.key, bytes(data)))
        return len(data)

    def write_text(self, data: str, encoding: str | None = None) -> int:
        """Likewise."""
        return self.write_bytes(data.encode(encoding or "utf-8"))

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object."""
        try:
            self.ask(lambda files: files.rm_file(self.key))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def _at(self, location: PurePosixPath) -> ObjectPath:
        return ObjectPath(f"{self.protocol}://{location}")

    def _open_store(self) -> Any:
        import fsspec

        logging.getLogger("gcsfs").addHandler(_SILENT)  # the error itself says what gcsfs would print
        return fsspec.filesystem(self.protocol, use_listings_cache=False)

    def _find_kind(self) -> str | None:
        """``file`` or ``directory``; ``None`` where there is nothing."""
        try:
            return str(self.ask(lambda files: files.info(self.key))["type"])
        except FileNotFoundError:
            return None


def _read_time(about: dict[str, Any]) -> float:
    """When an object was written, in seconds since the epoch; the stores call it differently. 0 for a folder."""
    moment = about.get("LastModified") or about.get("mtime") or about.get("updated")
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment.replace("Z", "+00:00"))
    return moment.timestamp() if moment is not None else 0.0


def _make_stat(kind: int, size: int, written: float) -> os.stat_result:
    whole = int(written)
    return os.stat_result((kind | 0o600, 0, 0, 1, 0, 0, size, whole, whole, whole, written, written, written))


@contextmanager
def survive_silence() -> Iterator[None]:
    """Inside, on this thread, a store that does not answer is waited for."""
    token = _patient.set(True)
    try:
        yield
    finally:
        _patient.reset(token)


def ask_patiently(question: Callable[[], Answer], place: str) -> Answer:
    """The answer to a ``question`` about ``place``, an object's URL.

    Raises ``FileNotFoundError`` and ``FileExistsError`` as the store's client does, ``StorageError`` for all else.
    """
    store = place.partition(":")[0]
    while True:
        try:
            answer = question()
        except (FileNotFoundError, FileExistsError):  # answers, too
            _silence.pop(store, None)
            raise
        except Exception as error:
            failure = StorageError(place, _describe_error(error), lasting=_is_lasting(error))
            if failure.lasting:
                raise failure from error
            _silence.setdefault(store, time.monotonic())
            if not _patient.get() or has_given_up(store):
                raise failure from error
            time.sleep(_PAUSE)
        else:
            _silence.pop(store, None)
            return answer


def has_given_up(store: str) -> bool:
    """Whether the store of this protocol has been silent for longer than anyone waits."""
    since = _silence.get(store)
    silent = 0.0 if since is None else time.monotonic() - since
    return silent >= _read_patience()


def _read_patience() -> float:
    return float(os.environ.get(_VARIABLE) or _PATIENCE)


def _is_lasting(error: Exception) -> bool:
    """Whether asking again is pointless: it is not allowed, not possible, or credentials are missing."""
    refused = isinstance(error, (PermissionError, ValueError, TypeError, ImportError))
    refused = refused or str(error).startswith("Forbidden")  # so gcsfs says it, as a plain OSError
    return refused or "Credentials" in type(error).__name__


def _describe_error(error: Exception) -> str:
    if isinstance(error, ImportError):
        return f"{error}; `pip install 'auxtune[s3]'` or `'auxtune[gs]'`, on every node of a cluster"
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
