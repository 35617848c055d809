"""Where the files of runs in an SQLite file are: in ``mlartifacts`` beside it, also after both were moved.

MLflow writes an absolute address into every experiment and run, and no call of its client changes one. In a project
that was moved it would make the old folder again and go on writing there. So the addresses are brought along, in the
file itself.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

FOLDER = "mlartifacts"
_PATIENCE = 20.0  # seconds that others may keep the file locked
# Table and column of the addresses; a store of another version of MLflow may lack one.
_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
)


def artifacts_beside(store: Path) -> str:
    """The address of the folder for the files of the runs in the SQLite file ``store``."""
    return (store.parent / FOLDER).as_uri()


def bring_artifacts(store: Path, location: str) -> None:
    """Have an experiment of ``store`` that keeps its files in the folder of a former place keep them in that beside it.

    An address that somebody chose is left as it is. Raises ``sqlite3.Error`` where the file cannot be written.
    """
    beside = artifacts_beside(store)
    if not _is_of_former_place(store, location):
        return
    with closing(sqlite3.connect(store, timeout=_PATIENCE)) as connection, connection:
        tables = {row[0] for row in connection.execute("select name from sqlite_master where type = 'table'")}
        for table, column in _ADDRESSES:
            if table in tables:
                connection.execute(
                    f"update {table} set {column} = ? || substr({column}, ?) "
                    f"where {column} = ? or substr({column}, 1, ?) = ?",
                    (beside, len(location) + 1, location, len(location) + 1, f"{location}/"),
                )


def _is_of_former_place(store: Path, location: str) -> bool:
    """Whether ``location`` is the folder beside this very file as it was before it was moved, or copied."""
    address = urlsplit(location)
    if address.scheme != "file" or location == artifacts_beside(store):
        return False
    former, here = Path(url2pathname(address.path)), store.parent / FOLDER
    return former.name == FOLDER and former != here and (here.is_dir() or not former.parent.is_dir())
