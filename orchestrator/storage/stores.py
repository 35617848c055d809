"""The store behind a path: a folder of this machine, or an object store. No other module asks which kind it is.

Studies may be in folders of this machine, or of a disk that many machines see: ``LocalStore``. A new file gets its name
by ``link``, which fails where the name exists, also on NFS. A file that replaces another, and a published folder, get
theirs by one ``rename``. ``trials.durable`` has the primitives. The other store is ``object_store``.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard, cast

from auxtune.orchestrator.storage.object_path import ObjectPath
from auxtune.orchestrator.storage.object_store import ObjectStore
from auxtune.orchestrator.storage.protocol import P, Store, StoredPath
from auxtune.orchestrator.uri_secrets import hide_secrets
from auxtune.trials.durable import create_durably, put_in_place, replace_text, sync, write_durably

_URL = re.compile(r"(?:s3|gs)://[a-z0-9][a-z0-9._-]+(?:/[^/?#]+)*/?")


def check_storage(text: str) -> str:
    """``text``, if it may be a storage: a folder, or a place in an object store. Raises ``ValueError``."""
    if "://" in text and (not _URL.fullmatch(text) or {".", ".."} & {*text.split("/")}):
        raise ValueError(
            f"expected a folder, s3://BUCKET/FOLDER or gs://BUCKET/FOLDER, found {hide_secrets(text)!r}; "
            "credentials and endpoint come from the environment"
        )
    return text


def parse_path(text: str) -> StoredPath:
    """The path that ``text`` means, in a store or on this machine. Raises ``ValueError`` for other protocols."""
    return ObjectPath(check_storage(text)) if "://" in text else Path(text)


def quote_path(path: str | StoredPath) -> str:
    """A path as a shell takes it.

    >>> quote_path("studies/first"), quote_path("my studies/what?")
    ('studies/first', "'my studies/what?'")
    """
    return shlex.quote(str(path))


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

    def survive_silence(self) -> AbstractContextManager[None]:
        """Nothing: a file system answers, or waits by itself."""
        return nullcontext()


_LOCAL: Store[Path] = LocalStore()
_OBJECTS: Store[ObjectPath] = ObjectStore()


def store_of(path: P) -> Store[P]:
    """The store that ``path`` is in."""
    return cast("Store[P]", _OBJECTS if isinstance(path, ObjectPath) else _LOCAL)


def is_local(path: Any) -> TypeGuard[Path]:
    """Whether ``path`` is a path of this machine, so that to look at it costs no request."""
    return isinstance(path, Path)
