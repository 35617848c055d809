"""The URI of an SQLite file, and back, whatever signs its path has.

SQLAlchemy, which MLflow hands the URI to, takes what follows a question mark for options, and, from version 2.1 on,
``%41`` for ``A``; before that it knew no escapes. Where a path has such signs the driver is named in the URI: MLflow
makes the folder of what stands behind ``sqlite:///`` without looking at escapes, and so one too many.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote

PLAIN, DRIVEN = "sqlite:///", "sqlite+pysqlite:///"
_TELLING = "?#%"  # signs that mean something in a URI


def is_sqlite(uri: str) -> bool:
    """Whether a tracking URI names an SQLite file."""
    return uri.startswith((PLAIN, DRIVEN))


def sqlite_uri(path: Path) -> str:
    """The URI of the SQLite file at an absolute ``path``.

    >>> sqlite_uri(Path("/tmp/mlflow.db"))
    'sqlite:////tmp/mlflow.db'
    """
    if not any(sign in str(path) for sign in _TELLING):
        return f"{PLAIN}{path}"
    escaped = quote(str(path), safe=" +/")
    for uri in (f"{DRIVEN}{escaped}", f"{DRIVEN}{path}", f"{DRIVEN}file:{escaped}?uri=true"):
        if sqlite_path(uri) == path:
            return uri
    raise ValueError(f"{path}: no URI stands for it")


def sqlite_path(uri: str) -> Path:
    """The path, absolute or not, of the file that SQLite opens for a URI.

    >>> sqlite_path("sqlite:///runs/mlflow.db")
    PosixPath('runs/mlflow.db')
    """
    from sqlalchemy import make_url  # here, for most commands do without

    url = make_url(uri)
    name = url.database or ""
    if "uri" in url.query and name.startswith("file:"):
        # SQLite itself reads that one, up to what it takes for a fragment or for options.
        name = unquote(name.removeprefix("file:").partition("#")[0].partition("?")[0])
    return Path(name)
