"""The names of storages, and the store behind each. No other module asks which kind of path it has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeGuard, cast

from auxtune.orchestrator.storage.local_store import LocalStore
from auxtune.orchestrator.storage.object_path import ObjectPath
from auxtune.orchestrator.storage.object_store import ObjectStore
from auxtune.orchestrator.storage.protocol import P, Store, StoredPath

_URL = re.compile(r"(?:s3|gs)://[a-z0-9][a-z0-9._-]+(?:/[^/?#]+)*/?")
_LOCAL: Store[Path] = LocalStore()
_OBJECTS: Store[ObjectPath] = ObjectStore()


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


def store_of(path: P) -> Store[P]:
    """The store that ``path`` is in."""
    return cast("Store[P]", _OBJECTS if isinstance(path, ObjectPath) else _LOCAL)


def is_local(path: Any) -> TypeGuard[Path]:
    """Whether ``path`` is a path of this machine, so that to look at it costs no request."""
    return isinstance(path, Path)


def hide_secrets(text: str) -> str:
    """A URL as it may be shown.

    >>> hide_secrets("https://me:secret@host/path")
    'https://…@host/path'
    >>> hide_secrets("https://me:se@c/r#et@host")
    'https://…@host'
    """
    return re.sub(r"//.*@", "//…@", text)
