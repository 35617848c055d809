"""Finds a task's tables: the files, saved splits, hub splits or built-in rows of train, validation and test.

Reading is separate from understanding: nothing here knows which column is the label (``schema``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auxtune.trials.data.tables import Table, read_table, table_of_dataset, table_of_rows
from auxtune.trials.errors import DataError, Problems, closest, listed
from auxtune.trials.source import TaskSource

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

FILES = ("train", "validation", "test")


@dataclass(frozen=True)
class Found:
    """A task's tables, ``train`` and, where there are, ``validation`` and ``test``, and what describes them.

    ``meta`` is the content of meta.json, empty where the source has none; ``meta_place`` names it in
    messages.
    """

    tables: Mapping[str, Table]
    meta: Mapping[str, Any] = field(default_factory=dict)
    meta_place: str = ""
    notes: tuple[str, ...] = ()


def find(source: TaskSource) -> Found:
    """Read whatever ``source`` names. Raises ``DataError`` for what is missing or cannot be read."""
    given = [key for key in ("path", "files", "hub", "builtin") if getattr(source, key)]
    if len(given) != 1:
        raise DataError([f"expected exactly one of path, files, hub and builtin, found {listed(given)}"])
    if source.builtin is not None:
        return _builtin(source.builtin)
    if source.hub is not None:
        return _hub(source, source.hub)
    if source.path is None:
        return Found(_files(source.files))
    if source.path.is_dir():
        saved = any((source.path / name).is_file() for name in ("dataset_dict.json", "state.json"))
        return _saved(source, source.path) if saved else _folder(source.path)
    return Found(_files({"train": source.path}))


def _files(files: Mapping[str, Path]) -> dict[str, Table]:
    problems = Problems()
    problems.messages += [
        f"files: `{part}` is not one of {listed(FILES)}{closest(part, FILES)}" for part in files if part not in FILES
    ]
    if "train" not in files:
        problems.messages.append(f"files: there is no `train` among {listed(files)}")
    tables = {}
    for part, path in files.items():
        with problems.collected():
            tables[part] = read_table(path)
    problems.raise_any()
    return tables


def _folder(folder: Path) -> Found:
    files = {part: folder / f"{part}.jsonl" for part in FILES}
    there = {part: path for part, path in files.items() if path.is_file() or part == "train"}
    problems = Problems()
    with problems.collected():
        tables = _files(there)
    with problems.collected():
        meta = _meta(folder / "meta.json")
    problems.raise_any()
    return Found(tables, meta, str(folder / "meta.json"))


def _meta(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        example = '{"kind": "classification", "labels": ["no", "yes"], "metric": "accuracy", "pair": false}'
        raise DataError([f"{path}: there is no such file; write {example}, or name the files under `files`"])
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError([f"{path}: not JSON: {error}"]) from error
    if not isinstance(meta, dict):
        raise DataError([f"{path}: expected a JSON object, found {type(meta).__name__}"])
    return meta


def _saved(source: TaskSource, folder: Path) -> Found:
    import datasets

    try:
        saved = datasets.load_from_disk(str(folder))
    except Exception as error:  # Arrow, JSON and feature errors have no common class
        reason = f"{type(error).__name__}: {error}"
        raise DataError([f"{folder}: not a saved dataset that can be read: {reason}"]) from error
    return _dataset(source, str(folder), saved)


def _hub(source: TaskSource, name: str) -> Found:
    import datasets

    from auxtune.trials.hub import commit_of, refusal, settle

    place = name if source.config is None else f"{name}/{source.config}"
    settle(name)
    try:
        loaded = datasets.load_dataset(name, source.config, revision=source.revision)
    except Exception as error:  # network, name and format errors have no common class
        raise DataError([f"{place}: cannot be loaded: {type(error).__name__}: {refusal(error)}"]) from error
    found = _dataset(source, place, loaded)
    splits = loaded.values() if isinstance(loaded, dict) else [loaded]
    files = [Path(file["filename"]) for split in splits for file in split.cache_files]
    commit = commit_of(name, source.revision, files)
    return replace(found, notes=(*found.notes, f"{place} is of the commit {commit}")) if commit else found


def _dataset(source: TaskSource, place: str, loaded: DatasetDict | Dataset) -> Found:
    """The splits named train (or ``source.split``), validation and test; a lone nameless split is train."""
    splits = loaded if isinstance(loaded, dict) else {source.split or "train": loaded}
    train = source.split or "train"
    if train not in splits:
        raise DataError(
            [
                f"{place}: there is no split `{train}` among {listed(splits)}"
                f"{closest(train, splits)}; name the one to train on as `split`"
            ]
        )
    names = {"train": train} | {part: part for part in FILES[1:] if part in splits and part != train}
    unused = [name for name in splits if name not in names.values()]
    tables = {part: table_of_dataset(f"{place}, split {name}", splits[name]) for part, name in names.items()}
    return Found(tables, notes=(f"splits not used: {listed(unused)}",) if unused else ())


def _builtin(name: str) -> Found:
    from auxtune.trials.builtin import BUILTIN, builtin_meta, builtin_rows

    if name not in BUILTIN:
        raise DataError(
            [f"builtin: there is no built-in task `{name}`{closest(name, BUILTIN)}; there are {listed(BUILTIN)}"]
        )
    rows = builtin_rows(name)
    tables = {part: table_of_rows(f"builtin {name}, {part}", rows[part]) for part in rows}
    return Found(tables, builtin_meta(name), f"builtin {name}")
