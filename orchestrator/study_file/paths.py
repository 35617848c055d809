"""Resolves a study's relative paths: tasks, encoder, storage and tracking.

Tasks and encoder are part of the question and are relative to the study file's folder; storage and tracking belong to
the user who runs it and are relative to the working directory.

MLflow hands the URI of an SQLite file to SQLAlchemy, which reads a question mark as the start of options and, from
version 2.1 on, ``%41`` as ``A``; before that it knew no escapes. A path with such characters gets a URI that names the
driver: of ``sqlite:///`` MLflow would create the parent folder literally, escapes and all.
"""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from urllib.parse import quote, unquote

from auxtune.orchestrator.errors import AuxtuneError, StudyDataError
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import is_local, parse_path
from auxtune.orchestrator.study_file.models import check_tracking
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.orchestrator.study_file.task_models import TaskOptions
from auxtune.trials.data.sources import TaskSource
from auxtune.trials.recipe import ModelOptions, is_packaged

_VARIABLE = "MLFLOW_TRACKING_URI"
_SHOWN = 60  # characters of a path in a message
_LONGEST_NAME, _LONGEST_PATH = 255, 4096  # bytes
_PLAIN, _DRIVEN = "sqlite:///", "sqlite+pysqlite:///"
_SPECIAL = "?#%"  # signs that mean something in a URI
_DEFAULT = f"{_PLAIN}mlflow.db"
# Keys of a task that mean the same in its source; the others hold paths or names to be resolved.
_UNCHANGED = {field.name for field in fields(TaskSource)} & {*TaskOptions.model_fields} - {"path", "files", "splits"}


def list_task_sources(study: StudyFile) -> list[TaskSource]:
    """Where each task's rows come from, in the order of the file."""
    return [_build_source(name, task, study) for name, task in study.options.tasks.items()]


def resolve_model(study: StudyFile) -> ModelOptions:
    """The encoder: a folder where the name looks like one or one exists, else ``tiny``, a packaged one or a hub id."""
    model = study.options.model
    folder = _resolve_path(study.folder, model.name)
    # A hub id has one slash at the most.
    means_folder = (
        model.name.startswith((".", "~"))
        or model.name.endswith("/")
        or (model.name.count("/") > 1 or Path(model.name).is_absolute())
    )
    is_folder = not is_packaged(model.name) and (means_folder or (model.name != "tiny" and folder.exists()))
    return ModelOptions(
        name=str(folder) if is_folder else model.name,
        layers=model.layers,
        max_length=model.max_length,
        pooling=model.pooling,
        trust_remote_code=model.trust_remote_code,
        alignment=model.alignment,
    )


def locate_earlier(study: StudyFile) -> tuple[Path, ...]:
    """The folder or file of each entry of `earlier`."""
    return tuple(_resolve_path(study.folder, entry.csv or entry.table or "") for entry in study.options.earlier)


def locate_storage(study: StudyFile) -> StoredPath:
    """The folder that holds the studies, here or in an object store."""
    storage = study.options.storage
    return parse_path(storage) if "://" in storage else _resolve_path(study.working_folder, storage)


def locate_study(study: StudyFile) -> StoredPath:
    """The folder that holds all that is kept of this study."""
    return locate_storage(study) / study.options.study


def locate_tokens(study: StudyFile) -> Path:
    """The folder of tasks as token ids. Always on this machine: they are memory-mapped, and can be made again."""
    storage = locate_storage(study)
    if is_local(storage):
        return storage / ".tokens"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "auxtune" / "tokens"


def resolve_tracking_uri(study: StudyFile) -> str:
    """MLflow's tracking URI, with an absolute path to an SQLite file.

    The study file's, else the environment's, else that of a file. It may hold a password: do not show it as it is.
    Raises ``AuxtuneError`` where the environment's is not one.
    """
    uri = study.options.tracking.uri or os.environ.get(_VARIABLE) or _DEFAULT
    try:
        check_tracking(uri)
    except ValueError as error:
        raise AuxtuneError(f"{_VARIABLE} in the environment: {error}; set another, or `tracking.uri`") from error
    if not is_sqlite(uri):
        return uri
    named, mark, options = uri.partition("?")
    path = parse_sqlite_uri(named) if "%" in named else Path(named.partition(":///")[2])
    return format_sqlite_uri(_resolve_path(study.working_folder, str(path))) + mark + options


def is_sqlite(uri: str) -> bool:
    """Whether a tracking URI names an SQLite file."""
    return uri.startswith((_PLAIN, _DRIVEN))


def format_sqlite_uri(path: Path) -> str:
    """The URI of the SQLite file at an absolute ``path``.

    >>> format_sqlite_uri(Path("/tmp/mlflow.db"))
    'sqlite:////tmp/mlflow.db'
    """
    if not any(sign in str(path) for sign in _SPECIAL):
        return f"{_PLAIN}{path}"
    escaped = quote(str(path), safe=" +/")
    for uri in (f"{_DRIVEN}{escaped}", f"{_DRIVEN}{path}", f"{_DRIVEN}file:{escaped}?uri=true"):
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


def _build_source(name: str, task: TaskOptions, study: StudyFile) -> TaskSource:
    files = task.files.model_dump(exclude_none=True) if task.files else {}
    splits = {
        part: _resolve_path(study.folder, rows) if isinstance(rows, str) else rows  # a file, else a share or a number
        for part, rows in task.splits.model_dump(exclude_none=True).items()
    }
    return TaskSource(
        name=name,
        path=_resolve_path(study.folder, task.path) if task.path else None,
        files={part: _resolve_path(study.folder, file) for part, file in files.items()},
        metrics=tuple(metric.strip() for metric in task.metric.split(",")) if task.metric else (),
        splits={
            part: _resolve_path(study.folder, take) if isinstance(take, str) else take for part, take in splits.items()
        },
        **{key: getattr(task, key) for key in _UNCHANGED},
    )


def _resolve_path(folder: Path, path: str) -> Path:
    """An absolute path without links. Raises ``StudyDataError`` for text that can be none."""
    try:
        found = (folder / Path(path).expanduser()).resolve()
    except (ValueError, RuntimeError) as error:  # a NUL; an unknown user, a link to itself
        raise _refuse_path(path, str(error)) from error
    if len(os.fsencode(found)) > _LONGEST_PATH or any(len(os.fsencode(part)) > _LONGEST_NAME for part in found.parts):
        raise _refuse_path(path, f"a name may have {_LONGEST_NAME} bytes, and a path {_LONGEST_PATH}")
    return found


def _refuse_path(path: str, reason: str) -> StudyDataError:
    shown = path if len(path) <= _SHOWN else f"{path[:_SHOWN]}…"
    return StudyDataError(f"{shown!r}: cannot be a path here: {reason.rstrip('.')}; correct it in the study file")
