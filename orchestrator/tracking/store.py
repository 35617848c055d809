"""The MLflow store of a study's runs: its client, its experiment, its errors in words, and where its files are.

Errors are described without name, password or token. Of an SQLite store the runs' files are in ``mlartifacts`` beside
it. MLflow writes their absolute address into every experiment and run, and its client cannot change it: in a project
that was moved it would create the old folder again. So the addresses are changed in the SQLite file itself.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.study_file.sqlite_uri import is_sqlite, parse_sqlite_uri
from auxtune.orchestrator.tracking.links import hide_secrets

_FILL_IN = "`auxtune resume STUDY_DIR` fills in what is missing"


def open_client(uri: str) -> MlflowClient:
    """A client of the store at a tracking URI that asks once and prints nothing."""
    # No blind retry of a request whose reply was lost, which could create a second run: the caller looks for the first.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    # For every run that ends at a server it would print two lines between ours, with a link to a view without runs.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


def find_experiment(store: str, name: str) -> str:
    """The id of the experiment ``name`` in the store at the tracking URI ``store``.

    Raises ``AuxtuneError`` where the store is gone, does not answer, or has no such experiment.
    """
    if is_sqlite(store) and not (path := parse_sqlite_uri(store)).is_file():  # MLflow would create an empty one
        raise AuxtuneError(f"{path}: expected MLflow's store of this study, found no file; put it back, or {_FILL_IN}")
    try:
        found = open_client(store).get_experiment_by_name(name)
    except Exception as error:  # of MLflow, of a database's driver, of the network
        raise AuxtuneError(
            f"{hide_secrets(store)}: MLflow's store cannot be read: {describe_error(error, store)}"
        ) from error
    if found is None:
        raise AuxtuneError(
            f"{hide_secrets(store)}: expected the experiment {name!r} of this study, found none of that name; while "
            f"the study runs it is made within seconds, later {_FILL_IN}"
        )
    return str(found.experiment_id)


NAME, PASSWORD, TOKEN = (f"MLFLOW_TRACKING_{part}" for part in ("USERNAME", "PASSWORD", "TOKEN"))


def is_refused(error: Exception) -> bool:
    """Whether a server refuses the credentials; a retry would not help and might lock the account."""
    return isinstance(error, MlflowException) and error.get_http_status_code() == 401


def describe_error(error: Exception, uri: str) -> str:
    """One line on what went wrong at the tracking URI, without what is secret in the URI and in the environment."""
    if is_refused(error):
        given = any(os.environ.get(name) for name in (NAME, PASSWORD, TOKEN)) or hide_secrets(uri) != uri.rstrip("/")
        does = "refuses these credentials" if given else "asks for credentials"
        return f"{hide_secrets(uri)} {does} (401): set {NAME} and {PASSWORD}, or {TOKEN}, in the environment"
    return redact_secrets(f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": "), uri)


def redact_secrets(text: str, uri: str) -> str:
    """``text`` without what is secret in the tracking URI and in the environment."""
    text = text.replace(uri, hide_secrets(uri))
    for secret in _list_secrets(uri):
        text = text.replace(secret, "…")
    return text


def _list_secrets(uri: str) -> list[str]:
    """The secrets, as written and unquoted; the longest first, because it may contain another."""
    name_and_password = urlsplit(uri).netloc.rpartition("@")[0].split(":", 1)
    written = {*name_and_password, *(os.environ.get(name, "") for name in (NAME, PASSWORD, TOKEN))}
    return sorted({*written, *map(unquote, written)} - {""}, key=lambda secret: (-len(secret), secret))


_FOLDER = "mlartifacts"
_LOCK_PATIENCE = 20.0  # seconds that others may keep the file locked
# Table and column of the addresses; a store of another version of MLflow may lack one.
_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
)


def locate_artifacts(store: Path) -> str:
    """The address of the folder for the files of the runs in the SQLite file ``store``."""
    return (store.parent / _FOLDER).as_uri()


def move_artifacts(store: Path, location: str) -> None:
    """Make an experiment whose files were beside ``store`` before it was moved keep them beside it again.

    An address that a user chose is left as it is. Raises ``sqlite3.Error`` where the file cannot be written.
    """
    beside = locate_artifacts(store)
    if not _was_moved(store, location):
        return
    with closing(sqlite3.connect(store, timeout=_LOCK_PATIENCE)) as connection, connection:
        tables = {row[0] for row in connection.execute("select name from sqlite_master where type = 'table'")}
        for table, column in _ADDRESSES:
            if table in tables:
                connection.execute(
                    f"update {table} set {column} = ? || substr({column}, ?) "
                    f"where {column} = ? or substr({column}, 1, ?) = ?",
                    (beside, len(location) + 1, location, len(location) + 1, f"{location}/"),
                )


def _was_moved(store: Path, location: str) -> bool:
    """Whether ``location`` is the folder beside this very file as it was before it was moved, or copied."""
    address = urlsplit(location)
    if address.scheme != "file" or location == locate_artifacts(store):
        return False
    previous, here = Path(url2pathname(address.path)), store.parent / _FOLDER
    return previous.name == _FOLDER and previous != here and (here.is_dir() or not previous.parent.is_dir())
