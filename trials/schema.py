"""What a task's columns mean: its text, its label, its kind, its classes and its metrics.

What the study says wins over meta.json, which wins over what is read off the training rows: text or declared
classes are a classification, integers too (and the task says so), fractions are a regression.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast, get_args

from auxtune.trials.encoded import Kind
from auxtune.trials.metrics import METRICS
from auxtune.trials.problems import DataError, Problems, closest, in_rows, listed
from auxtune.trials.reading import Found
from auxtune.trials.source import TaskSource
from auxtune.trials.tables import Table

KINDS: tuple[Kind, ...] = get_args(Kind)
INTEGER = re.compile(r"[+-]?\d+")


@dataclass(frozen=True)
class Schema:
    """How to read every file of a task.

    ``text`` names one or two text columns, or the column of words of a token task; ``label`` the label or
    tags. ``labels`` are the classes or tags in the order of their ids, empty for regression.
    """

    kind: Kind
    text: tuple[str, ...]
    label: str
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def pair(self) -> bool:
        """Whether an input is two sentences."""
        return len(self.text) == 2

    @cached_property
    def ids(self) -> Mapping[str, int]:
        """A label's id by its name; an integer is an id only where no label is called by an integer."""
        ids = {label: index for index, label in enumerate(self.labels)}
        if any(INTEGER.fullmatch(label) for label in self.labels):
            return ids
        return ids | {str(index): index for index in range(len(self.labels))}


def read_schema(source: TaskSource, found: Found) -> Schema:
    """Decide all of it from the study's words, meta.json and the training rows. Raises ``DataError``."""
    train = found.tables["train"]
    if not len(train):
        raise DataError([f"{train.place}: there are no rows"])
    declared = _Declared.of(source, found)
    text, label, is_token = _columns(source, declared, train)
    notes: tuple[str, ...] = ()
    if is_token:
        kind: Kind = "token"
    elif declared.kind is not None:
        kind = declared.kind
    elif declared.labels or label in train.classes:
        kind = "classification"
    else:
        kind, notes = _kind_of(train, label)
    labels = () if kind == "regression" else declared.labels or _labels_of(train, label)
    problems = Problems()
    if kind == "regression" and declared.labels:
        problems.messages.append(f"a regression has no labels, found {listed(declared.labels)}")
    if kind != "regression" and len(labels) < 2:
        problems.messages.append(f"{train.place}, column `{label}`: expected at least two different labels, "
                                 f"found {listed(labels)}")
    if len(set(labels)) < len(labels):
        problems.messages.append(f"labels: a name occurs twice in {listed(labels)}")
    known = METRICS[kind]
    problems.messages += [f"metric: `{metric}` is not a metric of {kind} tasks; there are {listed(known)}"
                          for metric in declared.metrics if metric not in known]
    problems.raise_any()
    return Schema(kind, text, label, labels, declared.metrics or known[:1], found.notes + notes)


@dataclass(frozen=True)
class _Declared:
    """What the study or, where it is silent, meta.json says."""

    kind: Kind | None
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    pair: bool | None

    @staticmethod
    def of(source: TaskSource, found: Found) -> _Declared:
        kind, labels, metric, pair = (found.meta.get(key) for key in ("kind", "labels", "metric", "pair"))
        expected = {
            "kind": ("one of " + listed(KINDS), kind is None or kind in KINDS),
            "labels": ("a list of names", labels is None or _are_names(labels)),
            "metric": ("names separated by commas", metric is None or isinstance(metric, str)),
            "pair": ("true or false", pair is None or isinstance(pair, bool)),
        }
        wrong = [f"{found.meta_place}: `{key}` must be {what}, found {found.meta[key]!r}"
                 for key, (what, fine) in expected.items() if not fine]
        if source.kind is not None and source.kind not in KINDS:
            wrong.append(f"kind must be one of {listed(KINDS)}, found {source.kind!r}")
        if wrong:
            raise DataError(wrong)
        if source.kind not in (None, kind):            # what meta.json says of another kind means nothing here
            kind, labels, metric = source.kind, None, None
        names = tuple(str(label) for label in labels or ())
        metrics = tuple(name.strip() for name in metric.split(",")) if metric else ()
        return _Declared(cast("Kind | None", kind), source.labels or names, source.metrics or metrics, pair)


def _are_names(labels: Any) -> bool:
    return isinstance(labels, list) and all(isinstance(label, (str, int)) for label in labels)


def _columns(source: TaskSource, declared: _Declared, train: Table) -> tuple[tuple[str, ...], str, bool]:
    """The text columns, the label column, and whether the task labels tokens."""
    marked = source.tokens is not None or source.tags is not None or declared.kind == "token"
    is_token = marked or (declared.kind is None and not source.text and "tokens" in train.columns)
    if is_token and (source.text or declared.kind not in (None, "token")):
        raise DataError(["a token task has `tokens` and `tags`, any other `text` and `label`; found both"])
    if len(source.text) > 2:
        raise DataError([f"text: expected one or two columns, found {listed(source.text)}"])
    text: tuple[str, ...]
    if is_token:
        text, label, keys = (source.tokens or "tokens",), source.tags or "tags", "`tokens` and `tags`"
    else:
        second = any(cell not in (None, "") for cell in train.columns.get("sentence2", ()))
        if second and declared.pair is False and not source.text:
            raise DataError([f"{train.place}: `pair` is false but there is text in column `sentence2`"])
        text = source.text or (("sentence1", "sentence2") if second or declared.pair else ("sentence1",))
        label, keys = source.label or "label", "`text` and `label`"
    unknown = [f"{train.place}: there is no column `{column}` among {listed(train.columns)}"
               f"{closest(column, train.columns)}; name the columns as {keys}"
               for column in (*text, label) if column not in train.columns]
    if unknown:
        raise DataError(unknown)
    if len({*text, label}) <= len(text):
        raise DataError([f"a column is named twice: {listed((*text, label))}; name different columns as {keys}"])
    return text, label, is_token


def label_name(cell: Any) -> str | None:
    """A class as text, the same from every file format (1, 1.0 and "1" are one); ``None`` if missing."""
    if cell is None or cell == "":
        return None
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)


def flat(cells: Iterable[Any]) -> Iterator[Any]:
    """Cells, those of lists one by one."""
    for cell in cells:
        if isinstance(cell, list):
            yield from cell
        else:
            yield cell


def number(cell: Any, untyped: bool) -> float | None:
    """A cell as a number, ``None`` if it is not one; text counts as a number only in an untyped table."""
    if isinstance(cell, bool) or not isinstance(cell, (int, float, str) if untyped else (int, float)):
        return None
    try:
        return float(cell)
    except (ValueError, OverflowError):
        return None


def _kind_of(train: Table, label: str) -> tuple[Kind, tuple[str, ...]]:
    """The kind that the training labels suggest, with a note where integers could have meant either."""
    cells = [(row, cell) for row, cell in enumerate(train.columns[label], start=1) if cell not in (None, "")]
    wrong = [(row, f"expected text or a number, found {type(cell).__name__}")
             for row, cell in cells if not isinstance(cell, (str, int, float))]
    numbers = [number(cell, train.untyped) for _, cell in cells]
    if any(value is None for value in numbers):
        wrong += [(row, f"found the number {cell} where other rows have text")
                  for row, cell in cells if not train.untyped and number(cell, untyped=False) is not None]
        if wrong:
            raise DataError(in_rows(train.place, label, wrong))
        return "classification", ()
    if any(not math.isfinite(value) or value % 1 for value in numbers if value is not None):
        return "regression", ()
    note = f"column `{label}` holds integers: read as classes; `kind: regression` makes them values"
    return "classification", (note,)


def _labels_of(train: Table, label: str) -> tuple[str, ...]:
    """Declared classes, else the names that occur in training, integers in their own order."""
    if label in train.classes:
        return train.classes[label]
    names = {name for name in (label_name(cell) for cell in flat(train.columns[label])) if name is not None}
    if all(INTEGER.fullmatch(name) for name in names):
        return tuple(sorted(names, key=int))
    return tuple(sorted(names))
