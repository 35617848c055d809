"""Converts the path of an SQLite file to a URI and back, whatever characters the path has.

SQLAlchemy, to which MLflow hands the URI, reads a question mark as the start of options and, from version 2.1 on,
``%41`` as ``A``; before that it knew no escapes. A path with such characters gets a URI that names the driver: of
``sqlite:///`` MLflow would create the parent folder literally, escapes and all.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote

PLAIN, DRIVEN = "sqlite:///", "sqlite+pysqlite:///"
_SPECIAL = "?#%"  # signs that mean something in a URI


def is_sqlite(uri: str) -> bool:
    """Whether a tracking URI names an SQLite file."""
    return uri.startswith((PLAIN, DRIVEN))


def format_sqlite_uri(path: Path) -> str:
    """The URI of the SQLite file at an absolute ``path``.

    >>> format_sqlite_uri(Path("/tmp/mlflow.db"))
    'sqlite:////tmp/mlflow.db'
    """
    if not any(sign in str(path) for sign in _SPECIAL):
        return f"{PLAIN}{path}"
    escaped = quote(str(path), safe=" +/")
    for uri in (f"{DRIVEN}{escaped}", f"{DRIVEN}{path}", f"{DRIVEN}file:{escaped}?uri=true"):
        if parse_sqlite_uri(uri) == path:
            return uri
    raise ValueError(f"{path}: no URI stands for it")


def parse_sqlite_uri(uri: str) -> Path:
    """The path, absolute or not, of the file that SQLite opens for a URI.

    >>> parse_sqlite_uri("sqlite:///runs/mlflow.db")
    PosixPath('runs/mlflow.db')
    """
    from sqlalchemy import make_url  # here, because most commands do without it

    url = make_url(uri)
    name = url.database or ""
    if "uri" in url.query and name.startswith("file:"):
        # SQLite itself reads that one, up to what it takes for a fragment or for options.
        name = unquote(name.removeprefix("file:").partition("#")[0].partition("?")[0])
    return Path(name)
