"""The MLflow store of a study's runs: where its pages show them, its client, its errors in words, and its files.

An experiment's plain address opens a view for traces of language models, which shows no runs; links to runs name the
view. A server's address ``base``, such as ``http://127.0.0.1:5000``, may hold a name and password, which do not become
part of a link, nor of an error's description.

Of an SQLite store the runs' files are in ``mlartifacts`` beside it. MLflow writes their absolute address into every
experiment and run, and its client cannot change it: in a project that was moved it would create the old folder again.
So the addresses are changed in the SQLite file itself.

MLflow is imported when a store is opened, because links are also shown by commands that open none.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit
from urllib.request import url2pathname

from auxtune.orchestrator import uri_secrets
from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import quote_path
from auxtune.orchestrator.study_file.paths import is_sqlite, parse_sqlite_uri

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_FILL_IN = "`auxtune resume STUDY_DIR` fills in what is missing"
# How MLflow ends what it says of a failed request, without the connection's name and the first half of the reason.
_CAUSE = re.compile(r"Caused by \w+\([\"']?(?:HTTPS?Connection\w*\(.*?\): )?(?:Failed to .*?: )?(.*?)[\"']?\)+$")
_VIEW = "workflowType=machine_learning"
_CREATION_PATIENCE = 120.0  # seconds that others may take to create or migrate a store's tables
_CREATION_LOOK = 0.05  # seconds between looks whether they are done


def link_runs(base: str, experiment_id: str) -> str:
    """The table of an experiment's runs, with its charts.

    >>> link_runs("http://127.0.0.1:5000/", "1")
    'http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning'
    """
    return f"{hide_secrets(base)}/#/experiments/{experiment_id}/runs?{_VIEW}"


def link_run(base: str, experiment_id: str, run_id: str) -> str:
    """One run: its note, parameters, metrics and files.

    >>> link_run("https://user:secret@mlflow.example/team", "1", "0a")
    'https://mlflow.example/team/#/experiments/1/runs/0a?workflowType=machine_learning'
    """
    return f"{hide_secrets(base)}/#/experiments/{experiment_id}/runs/{run_id}?{_VIEW}"


def link_comparison(base: str, experiment_id: str, run_ids: Sequence[str]) -> str:
    """Several runs side by side: parallel coordinates, scatter, and what differs.

    >>> link_comparison("http://h", "1", ["0a", "0b"])
    'http://h/#/compare-runs?runs=%5B%220a%22%2C%220b%22%5D&experiments=%5B%221%22%5D&workflowType=machine_learning'
    """
    runs, experiments = (quote(json.dumps(each, separators=(",", ":")), safe="") for each in (run_ids, [experiment_id]))
    return f"{hide_secrets(base)}/#/compare-runs?runs={runs}&experiments={experiments}&{_VIEW}"


def describe_runs_place(uri: str, folder: StoredPath, experiment_id: str | None) -> str:
    """Where to see the runs of the study in ``folder``: a link, or the command that opens a page over an SQLite file.

    The server's address alone where ``experiment_id`` is not known yet.

    >>> from pathlib import Path
    >>> describe_runs_place("sqlite:////tmp/mlflow.db", Path("studies/first"), "1")
    'auxtune ui studies/first'
    """
    if not is_served(uri):
        return f"auxtune ui {quote_path(folder)}"
    return hide_secrets(uri) if experiment_id is None else link_runs(uri, experiment_id)


def is_served(uri: str) -> bool:
    """Whether the runs at a tracking URI are behind a server already."""
    return uri.startswith(("http://", "https://"))


def hide_secrets(uri: str) -> str:
    """A tracking URI as it may be shown: without name, password, secret parameters and last slash.

    >>> hide_secrets("http://user:secret@host:5000/"), hide_secrets("sqlite:////tmp/mlflow.db")
    ('http://host:5000', 'sqlite:////tmp/mlflow.db')
    """
    place = urlsplit(uri).netloc
    bare = uri.replace(place, place.rpartition("@")[2], 1) if "@" in place else uri
    return uri_secrets.hide_secrets(bare).rstrip("/")


def open_client(uri: str) -> MlflowClient:
    """A client of the store at a tracking URI that asks once and prints nothing."""
    from mlflow.tracking import MlflowClient

    # No blind retry of a request whose reply was lost, which could create a second run: the caller looks for the first.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    # For every run that ends at a server it would print two lines between ours, with a link to a view without runs.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # It prints the traceback of what it then raises, which the caller describes in a line.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    with _hold_creation(parse_sqlite_uri(uri)) if is_sqlite(uri) else nullcontext():
        return MlflowClient(tracking_uri=uri)


@contextmanager
def _hold_creation(store: Path) -> Iterator[None]:
    """While entered, no other process of ours creates or migrates the tables of an SQLite file, as opening it may.

    Processes that do it at once end with "table already exists". The lock is a file beside the store, which is there
    while someone holds or awaits it; where none can be written, no table can be created either. Raises
    ``AuxtuneError`` where another process has held it for too long.
    """
    path, end = store.with_name(f"{store.name}.creating"), time.monotonic() + _CREATION_PATIENCE
    while True:
        try:
            lock = path.open("w")
        except OSError:
            yield
            return
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > end:
                    raise AuxtuneError(
                        f"{store}: expected its tables within {_CREATION_PATIENCE:.0f} s, found another process that "
                        f"still creates or migrates them; wait for it, or see who has {path} open"
                    ) from error
                time.sleep(_CREATION_LOOK)
                continue
            except OSError:  # a file system without locks
                yield
                return
            if not _is_same_file(lock, path):  # the one who held it before has deleted it
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _is_same_file(opened: IO[str], path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(opened.fileno()), path.stat())
    return False


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
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException) and error.get_http_status_code() == 401


def describe_error(error: Exception, uri: str) -> str:
    """One line on what went wrong at the tracking URI, without what is secret in the URI and in the environment."""
    if is_refused(error):
        given = any(os.environ.get(name) for name in (NAME, PASSWORD, TOKEN)) or hide_secrets(uri) != uri.rstrip("/")
        does = "refuses these credentials" if given else "asks for credentials"
        return f"{hide_secrets(uri)} {does} (401): set {NAME} and {PASSWORD}, or {TOKEN}, in the environment"
    said = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")
    if (cause := _CAUSE.search(said)) is not None:  # of a request: the rest names the attempt, twice
        said = f"{hide_secrets(uri)} does not answer as MLflow does ({cause[1]})"
    return redact_secrets(said, uri)


def describe_silence(uri: str, seconds: float) -> str:
    """One line on a store that has said nothing for so long; 0: on one that was not waited for any longer."""
    place = hide_secrets(uri)
    if not seconds:
        return f"{place} was not waited for"
    why = "another process may hold it" if is_sqlite(uri) else "see whether its server is well"
    return f"{place} gave no answer within {seconds:.0f} s; {why}"


def redact_secrets(text: str, uri: str) -> str:
    """``text`` without what is secret in the tracking URI and in the environment."""
    text = text.replace(uri, hide_secrets(uri))
    for secret in _list_secrets(uri):
        text = text.replace(secret, "…")
    return text


def _list_secrets(uri: str) -> list[str]:
    """The secrets, as written and unquoted; the longest first, because it may contain another.

    A user's name is one here, whatever the store.
    """
    name_and_password = urlsplit(uri).netloc.rpartition("@")[0].split(":", 1)
    written = {
        *name_and_password,
        *uri_secrets.list_secrets(uri),
        *(os.environ.get(name, "") for name in (NAME, PASSWORD, TOKEN)),
    }
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
