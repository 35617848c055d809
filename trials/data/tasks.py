"""The tasks of a study: rows read, checked, divided and freed of leakage.

No input that is trained on may be tested on, in any task: related tasks share sentences, and a pair counts in either
order. So train rows whose input occurs in probe, validation or test rows of any task of the study are dropped. Nor may
the search choose by inputs that are tested on: so validation and probe rows whose input occurs in test rows of the same
task are dropped too. Only of the same task, so that its held-out rows depend on no other task.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from auxtune.trials.data import IGNORED, SPLITS, Kind
from auxtune.trials.data.cells import NOT_SCORED, canonicalise, flatten_cells, is_nan_text, name_label
from auxtune.trials.data.examples import HIDDEN, Examples, Label, read_examples
from auxtune.trials.data.schema import Schema, read_schema
from auxtune.trials.data.sources import Table, TaskSource, read_table, read_tables
from auxtune.trials.data.splits import (
    HELD_OUT,
    check_sizes,
    divide_rows,
    drop_test_rows,
    group_rows,
    name_origins,
    take_rows,
)
from auxtune.trials.errors import DataError, ErrorCollector, join_names

_BLOCK = 10_000  # rows that are hashed at a time


@dataclass(frozen=True)
class Task:
    """A task's rows, ready to be tokenised."""

    name: str
    kind: Kind
    labels: tuple[str, ...]  # classes, tags or labels in the order of their ids, empty for regression
    metrics: tuple[str, ...]  # the first is the main one
    pair: bool
    splits: Mapping[str, Examples]  # train, probe, validation, test
    digest: str = ""  # identifies the rows that are left
    # Train rows left out because their input occurs in test, validation or probe rows of a task of the study, each row
    # counted once, in that order.
    dropped: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # what was ignored or guessed
    text: tuple[str, ...] = ()  # the columns that the input came from
    warnings: tuple[str, ...] = ()  # what is probably not intended
    shared: Mapping[str, int] = field(default_factory=dict)  # validation and probe rows left out: test has their input
    missing: Mapping[str, int] = field(default_factory=dict)  # rows of each file that ``missing: drop`` left out
    origins: Mapping[str, str] = field(default_factory=dict)  # held-out split -> its file, or a share of which file

    @property
    def inputs(self) -> str:
        """A digest of the training inputs in their order, whatever their labels."""
        train = self.splits["train"]
        digest = hashlib.sha256()
        _add_json(digest, [train.first, train.second])
        return digest.hexdigest()


def load_tasks(sources: Sequence[TaskSource]) -> dict[str, Task]:
    """Read all tasks of a study, in order. Raises ``DataError`` with the problems of all of them."""
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise DataError([f"tasks: expected different names, found {join_names(names)}"])
    errors = ErrorCollector()
    tasks: dict[str, Task] = {}
    for source in sources:
        with errors.collect(task=source.name):
            tasks[source.name] = _read_task(source)
    errors.raise_any()
    held_out = {part: np.concatenate([task.splits[part].keys for task in tasks.values()]) for part in HELD_OUT if tasks}
    for source in sources:
        with errors.collect(task=source.name):
            tasks[source.name] = _drop_leaks(tasks[source.name], source.rows, held_out)
    errors.raise_any()
    return tasks


def _read_task(source: TaskSource) -> Task:
    """Read and divide one task, independently of all others."""
    check_sizes(source)
    found = read_tables(source)
    schema = read_schema(source, found)
    tables, notes = dict(found.tables), list(schema.notes)
    if "test" in tables and _is_unlabelled(tables["test"], schema):
        notes.append(f"{tables.pop('test').place} has no labels: ignored")
    paths = {part: path for part, path in source.splits.items() if isinstance(path, Path)}
    sizes = {part: size for part, size in source.splits.items() if not isinstance(size, Path)}
    parts = _PartReader(schema, source.missing)
    named = {str(path) for path in paths.values()}  # read as parts of ``splits``
    files = parts.read_tables({part: t for part, t in tables.items() if part == "train" or t.place not in named})
    given = parts.read_paths(paths)
    parts.errors.raise_any()
    splits = divide_rows(files, given, sizes, schema.kind)
    notes += parts.notes
    notes += [
        f"{tables[part].place} is not used: `splits` replaces it"
        for part, rows in files.items()
        if part != "train" and not any(rows is used for used in splits.values())
    ]
    missing = {place: count for place, count in parts.missing.items() if count}
    notes += [f"{place}: {count} rows without text or label are left out" for place, count in missing.items()]
    origins = name_origins(splits, parts.sources)
    splits, shared = drop_test_rows(splits)
    return Task(
        name=source.name,
        kind=schema.kind,
        labels=schema.labels,
        metrics=schema.metrics,
        pair=schema.pair,
        splits=splits,
        notes=tuple(notes),
        text=schema.text,
        warnings=schema.warnings,
        shared=shared,
        missing=missing,
        origins=origins,
    )


@dataclass
class _PartReader:
    """Reads the tables of one task, and collects their errors."""

    schema: Schema
    on_missing: Literal["error", "drop"]
    errors: ErrorCollector = field(default_factory=ErrorCollector)
    sources: list[tuple[str, Examples]] = field(default_factory=list)  # a table's short name and its rows
    missing: dict[str, int] = field(default_factory=dict)  # rows of a table that were left out
    notes: list[str] = field(default_factory=list)

    def read_tables(self, tables: Mapping[str, Table]) -> dict[str, Examples]:
        """The rows of each part; without those whose errors were collected."""
        parts = {}
        for part, table in tables.items():
            with self.errors.collect():
                parts[part] = self._read(table)
        return parts

    def read_paths(self, paths: Mapping[str, Path]) -> dict[str, Examples]:
        """The rows of the files that the study names under ``splits``, likewise."""
        parts = {}
        for part, path in paths.items():
            with self.errors.collect(f"splits.{part}: "):
                table = read_table(path)
                self.notes += table.notes
                parts[part] = self._read(table)
        return parts

    def _read(self, table: Table) -> Examples:
        rows, self.missing[table.place] = read_examples(table, self.schema, self.on_missing)
        self.sources.append((_shorten_place(table.place), rows))
        return rows


def _shorten_place(place: str) -> str:
    """A file's name without its folder; the whole name of anything else."""
    return Path(place).name if Path(place).is_absolute() else place


def _is_unlabelled(table: Table, schema: Schema) -> bool:
    """Whether every label is absent or -1, as in public test files, and -1 is not a class of the task."""
    names = {name_label(cell) for column in schema.label for cell in flatten_cells(table.columns.get(column, ()))}
    hidden = {name for name in names if name is None or is_nan_text(name) or canonicalise(name) in (HIDDEN, NOT_SCORED)}
    return len(table) > 0 and HIDDEN not in schema.ids and names == hidden


def _drop_leaks(task: Task, limit: int | None, held_out: Mapping[str, np.ndarray]) -> Task:
    """Drop the train rows that leak, then keep at most ``limit`` of the rest: the next in the order of the cuts."""
    train = task.splits["train"]
    dropped = {}
    for part in HELD_OUT:
        clean = ~np.isin(train.keys, held_out[part])
        dropped[part] = len(train) - int(clean.sum())
        if dropped[part]:
            train = train.at(np.flatnonzero(clean))
    if limit is not None and limit < len(train):
        train = train.at(take_rows(limit, train.keys, group_rows(train, task.kind)))
    task = replace(task, splits={part: train if part == "train" else task.splits[part] for part in SPLITS})
    _check_train(task, sum(dropped.values()))
    notes = (*task.notes, *_note_constant_labels(task), *_note_unscored_words(task))
    return replace(task, dropped=dropped, digest=_hash_rows(task), notes=notes)


def _check_train(task: Task, dropped: int) -> None:
    """Raise ``DataError`` if training has nothing to learn from."""
    train = task.splits["train"]
    after = f" after {dropped} rows were dropped because they occur in held-out rows" if dropped else ""
    if not len(train):
        raise DataError([f"no training rows are left{after}"])
    if task.kind == "token":
        tags = {tag for row in train.labels if isinstance(row, tuple) for tag in row} - {IGNORED}
        if len(tags) < 2:
            shown = f"the tag {task.labels[tags.pop()]}" if tags else f"{NOT_SCORED}, no tag"
            raise DataError([f"all words of {len(train)} training rows have {shown}{after}: nothing to learn"])
    elif len(set(train.labels)) < 2:
        shown = _show_label(train.labels[0], task.labels)
        raise DataError([f"all {len(train)} training rows have the label {shown}{after}: nothing to learn"])


def _show_label(label: Label, names: Sequence[str]) -> str:
    """A row's label as a message names it."""
    if isinstance(label, tuple):
        return join_names(name for name, has in zip(names, label, strict=True) if has)
    return names[label] if isinstance(label, int) else str(label)


def _note_constant_labels(task: Task) -> tuple[str, ...]:
    """Notes on the labels of a multi-label task that are constant in training."""
    if task.kind != "multi_label":
        return ()
    share = np.array(task.splits["train"].labels, np.uint8).mean(axis=0)
    said = {"no training row has": share == 0, "every training row has": share == 1}
    return tuple(
        f"{what} the label{'s' if which.sum() > 1 else ''} {join_names(np.array(task.labels)[which].tolist())}"
        for what, which in said.items()
        if which.any()
    )


def _note_unscored_words(task: Task) -> tuple[str, ...]:
    """A note on the words without a tag. Raises ``DataError`` if a held-out part has no others."""
    if task.kind != "token":
        return ()
    tags = {
        part: [tag for row in rows.labels if isinstance(row, tuple) for tag in row]
        for part, rows in task.splits.items()
    }
    counts = {part: held.count(IGNORED) for part, held in tags.items()}
    empty = [part for part, held in tags.items() if len(held) == counts[part]]
    if empty:
        raise DataError([f"all words of {join_names(empty)} are tagged {NOT_SCORED}: there is nothing to score"])
    if not any(counts.values()):
        return ()
    shown = join_names(f"{part} {count} of {len(tags[part])}" for part, count in counts.items())
    return (f"words tagged {NOT_SCORED} are neither trained on nor scored: {shown}",)


def _hash_rows(task: Task) -> str:
    """sha256 of kind, labels and, per split, every input and label as training sees them."""
    digest = hashlib.sha256(json.dumps([task.kind, task.labels]).encode())
    for part, rows in task.splits.items():
        _add_json(digest, [part, rows.first, rows.second, rows.labels])
    return digest.hexdigest()


def _add_json(digest: Any, values: Sequence[Any]) -> None:
    """Add ``json.dumps(values)`` to a digest of hashlib, so that the text of many rows is never whole in memory.

    >>> digest = hashlib.sha256()
    >>> _add_json(digest, ["a", ("b", "c"), None])
    >>> digest.hexdigest() == hashlib.sha256(b'["a", ["b", "c"], null]').hexdigest()
    True
    """
    for number, value in enumerate(values):
        digest.update(b", " if number else b"[")
        if not isinstance(value, tuple):
            digest.update(json.dumps(value).encode())
            continue
        digest.update(b"[")
        for first in range(0, len(value), _BLOCK):
            digest.update((", " if first else "").encode() + json.dumps(value[first : first + _BLOCK])[1:-1].encode())
        digest.update(b"]")
    digest.update(b"]")


def count_labels(rows: Examples, kind: Kind, labels: Sequence[str]) -> np.ndarray:
    """Rows of each class or label, or words of each tag, in the order of the ids, (labels,) int64."""
    if kind == "multi_label":
        counts: np.ndarray = np.array(rows.labels, np.int64).reshape(-1, len(labels)).sum(axis=0)
        return counts
    ids = (tag for row in rows.labels for tag in (row if isinstance(row, tuple) else (row,)))
    return np.bincount([int(each) for each in ids if each != IGNORED], minlength=len(labels))


def find_value_range(rows: Examples) -> tuple[float, float]:
    """The lowest and the highest value of a regression's rows."""
    values = np.array(rows.labels, np.float64)
    return float(values.min()), float(values.max())
