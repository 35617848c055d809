"""The tasks of a study: rows read, checked, divided and freed of leakage.

What is trained on must not be tested on, in any task: relatives share sentences, and a pair counts in either
order. So train rows whose input occurs in probe, validation or test rows of any task of the study are
dropped. What the search chooses by must not be tested on: so are validation and probe rows whose input occurs in
test rows of the same task. Of the same task alone, so that its held-out rows depend on no other task.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from auxtune.trials.data.cells import NOT_SCORED, canonical, flat, label_name, spells_nan
from auxtune.trials.data.examples import Examples, read_examples
from auxtune.trials.data.schema import Schema, read_schema
from auxtune.trials.data.sources import find
from auxtune.trials.data.splits import HELD_OUT, check_sizes, divide, name_origins, strata, take, without_test_rows
from auxtune.trials.data.tables import Table, read_table
from auxtune.trials.encoded import IGNORED, SPLITS, Kind
from auxtune.trials.errors import DataError, Problems, listed
from auxtune.trials.labels import HIDDEN, Label
from auxtune.trials.source import TaskSource


@dataclass(frozen=True)
class Task:
    """A task's rows, ready to be tokenised.

    ``labels`` are the classes, tags or labels in the order of their ids, empty for regression. ``dropped`` counts the
    train rows left out because their input occurs in test, validation or probe rows of a task of the study,
    each row once, in that order; ``shared`` those validation and probe rows that its own test rows have, ``missing``
    the rows of each file without text or label that ``missing: drop`` left out. ``digest`` identifies the rows left.
    ``origins`` say which file each held-out split is, or what share of which file was cut for it.
    ``notes`` say what was ignored or guessed, ``warnings`` what is probably not meant. ``text`` names the columns that
    the input came from.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    metrics: tuple[str, ...]  # the first is the main one
    pair: bool
    splits: Mapping[str, Examples]  # train, probe, validation, test
    digest: str
    dropped: Mapping[str, int]
    notes: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    shared: Mapping[str, int] = field(default_factory=dict)
    missing: Mapping[str, int] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def inputs(self) -> str:
        """A digest of the training inputs in their order, whatever their labels."""
        train = self.splits["train"]
        return hashlib.sha256(json.dumps([train.first, train.second]).encode()).hexdigest()


@dataclass(frozen=True)
class _Draft:
    """A task before the other tasks of the study have had their say."""

    source: TaskSource
    schema: Schema
    splits: Mapping[str, Examples]
    notes: tuple[str, ...]
    shared: Mapping[str, int]
    missing: Mapping[str, int]
    origins: Mapping[str, str]


def load_tasks(sources: Sequence[TaskSource]) -> dict[str, Task]:
    """Read all tasks of a study, in order. Raises ``DataError`` with the problems of all of them."""
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise DataError([f"tasks: expected different names, found {listed(names)}"])
    problems = Problems()
    drafts: dict[str, _Draft] = {}
    for source in sources:
        with problems.collected(f"task {source.name}: "):
            drafts[source.name] = _draft(source)
    problems.raise_any()
    tasks = {}
    held_out = {
        part: np.concatenate([draft.splits[part].keys for draft in drafts.values()]) for part in HELD_OUT if drafts
    }
    for name, draft in drafts.items():
        with problems.collected(f"task {name}: "):
            tasks[name] = _finished(draft, held_out)
    problems.raise_any()
    return tasks


def _draft(source: TaskSource) -> _Draft:
    """Read and divide one task, looking at nothing else."""
    check_sizes(source)
    found = find(source)
    schema = read_schema(source, found)
    tables = dict(found.tables)
    notes = list(schema.notes)
    if "test" in tables and _is_unlabelled(tables["test"], schema):
        notes.append(f"{tables.pop('test').place} has no labels: ignored")
    paths = {part: path for part, path in source.splits.items() if isinstance(path, Path)}
    sizes = {part: size for part, size in source.splits.items() if not isinstance(size, Path)}
    problems = Problems()
    files: dict[str, Examples] = {}
    missing: dict[str, int] = {}
    for part, table in tables.items():
        if part == "train" or table.place not in map(str, paths.values()):
            with problems.collected():
                files[part], missing[table.place] = read_examples(table, schema, source.missing)
    sources = [(_short(table.place), files[part]) for part, table in tables.items() if part in files]
    given: dict[str, Examples] = {}
    for part, path in paths.items():
        with problems.collected(f"splits.{part}: "):
            table = read_table(path)
            notes += table.notes
            given[part], missing[table.place] = read_examples(table, schema, source.missing)
            sources.append((_short(table.place), given[part]))
    problems.raise_any()
    splits = divide(files, given, sizes, schema.kind)
    used = {id(rows) for rows in splits.values()}
    notes += [
        f"{tables[part].place} is not used: `splits` replaces it"
        for part, rows in files.items()
        if part != "train" and id(rows) not in used
    ]
    missing = {place: count for place, count in missing.items() if count}
    notes += [f"{place}: {count} rows without text or label are left out" for place, count in missing.items()]
    origins = name_origins(splits, sources)
    splits, shared = without_test_rows(splits)
    return _Draft(source, schema, splits, tuple(notes), shared, missing, origins)


def _short(place: str) -> str:
    """A file's name without its folder; what is no file keeps its whole name."""
    return Path(place).name if Path(place).is_absolute() else place


def _is_unlabelled(table: Table, schema: Schema) -> bool:
    """Whether every label is absent or -1, as in public test files, and -1 is not a class of the task."""
    names = {label_name(cell) for column in schema.label for cell in flat(table.columns.get(column, ()))}
    hidden = {name for name in names if name is None or spells_nan(name) or canonical(name) in (HIDDEN, NOT_SCORED)}
    return len(table) > 0 and HIDDEN not in schema.ids and names == hidden


def _finished(draft: _Draft, held_out: Mapping[str, np.ndarray]) -> Task:
    """Drop the train rows that leak, then keep ``rows`` of the rest: the next in the order of the cuts."""
    schema, train = draft.schema, draft.splits["train"]
    dropped = {}
    for part in HELD_OUT:
        clean = ~np.isin(train.keys, held_out[part])
        dropped[part] = len(train) - int(clean.sum())
        train = train.at(np.flatnonzero(clean))
    if draft.source.rows is not None and draft.source.rows < len(train):
        train = train.at(take(draft.source.rows, train.keys, strata(train, schema.kind)))
    _check_train(train, schema, sum(dropped.values()))
    splits = {part: train if part == "train" else draft.splits[part] for part in SPLITS}
    return Task(
        draft.source.name,
        schema.kind,
        schema.labels,
        schema.metrics,
        schema.pair,
        splits,
        _digest(schema, splits),
        dropped,
        (*draft.notes, *_constant(train, schema), *_not_scored(splits, schema)),
        schema.text,
        schema.warnings,
        draft.shared,
        draft.missing,
        draft.origins,
    )


def _check_train(train: Examples, schema: Schema, dropped: int) -> None:
    after = f" after {dropped} rows were dropped because they occur in held-out rows" if dropped else ""
    if not len(train):
        raise DataError([f"no training rows are left{after}"])
    if schema.kind == "token":
        tags = {tag for row in train.labels if isinstance(row, tuple) for tag in row} - {IGNORED}
        if len(tags) < 2:
            shown = f"the tag {schema.labels[tags.pop()]}" if tags else f"{NOT_SCORED}, no tag"
            raise DataError([f"all words of {len(train)} training rows have {shown}{after}: nothing to learn"])
    if schema.kind != "token" and len(set(train.labels)) < 2:
        shown = _shown(train.labels[0], schema.labels)
        raise DataError([f"all {len(train)} training rows have the label {shown}{after}: nothing to learn"])


def _shown(label: Label, names: Sequence[str]) -> str:
    """A label of a row as a message names it."""
    if isinstance(label, tuple):
        return listed(name for name, has in zip(names, label, strict=True) if has)
    return names[label] if isinstance(label, int) else str(label)


def _constant(train: Examples, schema: Schema) -> tuple[str, ...]:
    """Notes on the labels of a multi-label task that training cannot tell apart from a constant."""
    if schema.kind != "multi_label":
        return ()
    share = np.array(train.labels, np.uint8).mean(axis=0)
    said = {"no training row has": share == 0, "every training row has": share == 1}
    return tuple(
        f"{what} the label{'s' if which.sum() > 1 else ''} {listed(np.array(schema.labels)[which].tolist())}"
        for what, which in said.items()
        if which.any()
    )


def _not_scored(splits: Mapping[str, Examples], schema: Schema) -> tuple[str, ...]:
    """A note on the words that carry no tag. Raises ``DataError`` where a held-out part has no others."""
    if schema.kind != "token":
        return ()
    tags = {
        part: [tag for row in rows.labels if isinstance(row, tuple) for tag in row] for part, rows in splits.items()
    }
    counts = {part: found.count(IGNORED) for part, found in tags.items()}
    empty = [part for part, found in tags.items() if len(found) == counts[part]]
    if empty:
        raise DataError([f"all words of {listed(empty)} are tagged {NOT_SCORED}: there is nothing to score"])
    if not any(counts.values()):
        return ()
    shown = listed(f"{part} {count} of {len(tags[part])}" for part, count in counts.items())
    return (f"words tagged {NOT_SCORED} are neither trained on nor scored: {shown}",)


def _digest(schema: Schema, splits: Mapping[str, Examples]) -> str:
    """sha256 of kind, labels and, per split, every input and label as training sees them."""
    digest = hashlib.sha256(json.dumps([schema.kind, schema.labels]).encode())
    for part, rows in splits.items():
        digest.update(json.dumps([part, rows.first, rows.second, rows.labels]).encode())
    return digest.hexdigest()
