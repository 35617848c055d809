"""Rows of a task as checked values: texts or words, and a class, a value, a tag for each word or flags as label.

A parser turns a cell into a value, and raises ``ValueError`` saying what is wrong with it: ``MissingCell`` if the row
has none. For a label, NaN and the marks of hidden labels, -1 and -100, also mean that.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np

from auxtune.trials.data import IGNORED
from auxtune.trials.data.cells import (
    NOT_SCORED,
    MissingCell,
    Words,
    canonicalise,
    find_encoding_fault,
    is_missing,
    is_nan_text,
    is_whole_number,
    name_label,
    parse_number,
    parse_text,
    parse_words,
)
from auxtune.trials.data.schema import Schema
from auxtune.trials.data.sources import Table
from auxtune.trials.errors import DataError, ErrorCollector, join_names, report_rows, suggest_name

# A class, a value, a tag id per word (IGNORED: not scored), or for each label of a multi-label task 1 if the row has
# it, else 0.
Label: TypeAlias = int | float | tuple[int, ...]
LARGEST = float(np.finfo(np.float32).max)
FLAGS = {"0": 0, "false": 0, "1": 1, "true": 1}
HIDDEN = "-1"  # the label of rows in public test files
_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*")
DROP = "`missing: drop` leaves such rows out"


@dataclass(frozen=True)
class Examples:
    """Rows of one split, in the order of their file.

    ``second`` is ``None`` for single sentences; for a token task ``first`` holds words and ``labels`` a tag
    id for each. ``keys`` are ``hash_input`` of each row, (rows,) uint64.
    """

    first: tuple[str, ...] | tuple[Words, ...]
    second: tuple[str, ...] | None
    labels: tuple[Label, ...]
    keys: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, rows: np.ndarray) -> Examples:
        """The rows with these indices, in that order."""
        chosen = rows.tolist()
        first: Any = tuple(self.first[row] for row in chosen)
        second = None if self.second is None else tuple(self.second[row] for row in chosen)
        return Examples(first, second, tuple(self.labels[row] for row in chosen), self.keys[rows])


def hash_input(*texts: str) -> int:
    """A 64-bit hash of the whole input, whatever its label, letter case, spacing and the order of a pair.

    >>> hash_input("A  plane", "a bird") == hash_input("A bird", "a plane ")
    True
    """
    normal = sorted(" ".join(unicodedata.normalize("NFKC", text).lower().split()) for text in texts)
    digest = hashlib.blake2b("\n".join(normal).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def read_examples(table: Table, schema: Schema, missing: Literal["error", "drop"] = "error") -> tuple[Examples, int]:
    """All rows of a table, and how many were left out.

    A row is left out only if ``missing`` is ``drop`` and it lacks its text or its label. Raises ``DataError`` with one
    message about the bad rows of each column.
    """
    if not len(table):
        raise DataError([f"{table.place}: there are no rows"])
    is_token = schema.kind == "token"
    errors = ErrorCollector()
    parsers: dict[str, Callable[[Any], Any]] = dict.fromkeys(schema.text, parse_words if is_token else parse_text)
    parsers |= dict.fromkeys(schema.label, choose_label_parser(table, schema))
    columns: list[list[Any]] = []
    gone: set[int] = set()
    for column, parse in parsers.items():
        with errors.collect():
            values, lacking = _parse_column(table, column, parse, missing)
            columns.append(values)
            gone |= lacking
    errors.raise_any()
    if len(gone) == len(table):
        raise DataError([f"{table.place}: all {len(table)} rows lack their text or their label"])
    kept = [row for row in range(len(table)) if row not in gone] if gone else range(len(table))
    if is_token:
        _check_lengths(table, schema, columns[0], columns[1], kept)
    rows = [tuple(column[row] for row in kept) if gone else tuple(column) for column in columns]
    texts, marks = rows[: len(schema.text)], rows[len(schema.text) :]
    labels = tuple(zip(*marks, strict=True)) if len(marks) > 1 else marks[0]
    inputs = [(" ".join(words),) for words in texts[0]] if is_token else list(zip(*texts, strict=True))
    keys = np.array([hash_input(*each) for each in inputs], np.uint64)
    return Examples(texts[0], texts[1] if schema.pair else None, labels, keys), len(gone)


def _parse_column(
    table: Table, column: str, parse: Callable[[Any], Any], missing: Literal["error", "drop"]
) -> tuple[list[Any], set[int]]:
    """Every cell parsed, and the rows, from 0, with an empty cell: their values are ``None``.

    A parser raises ``ValueError`` saying what is wrong with a cell.
    """
    if column not in table.columns:
        raise DataError(
            [
                f"{table.place}: there is no column `{column}` among {join_names(table.columns)}"
                f"{suggest_name(column, table.columns)}"
            ]
        )
    values: list[Any] = []
    bad: list[tuple[int, str]] = []
    absent: list[tuple[int, str]] = []
    for row, cell in enumerate(table.columns[column], start=1):
        try:
            values.append(parse(cell))
        except MissingCell as error:
            values.append(None)
            absent.append((row, str(error)))
        except ValueError as error:
            bad.append((row, str(error)))
    messages = report_rows(table.place, column, bad)
    if missing == "error":
        messages += [f"{message}; {DROP}" for message in report_rows(table.place, column, absent)]
    if messages:
        raise DataError(messages)
    return values, {row - 1 for row, _ in absent}


def _check_lengths(
    table: Table, schema: Schema, words: Sequence[Words], tags: Sequence[Sequence[int]], rows: Sequence[int]
) -> None:
    counts = [(row + 1, len(words[row]), len(tags[row])) for row in rows]
    bad = [
        (row, f"expected {expected} tags, one per word, found {found}")
        for row, expected, found in counts
        if expected != found
    ]
    if bad:
        raise DataError(report_rows(table.place, schema.label[0], bad))


def choose_label_parser(table: Table, schema: Schema) -> Callable[[Any], Label]:
    """The parser for the cells of the label column, or of each of several."""
    if schema.kind == "regression":
        return partial(_parse_value, untyped=table.untyped, schema=schema)
    if schema.kind == "token":
        return partial(_parse_tags, tag=_remember_labels(partial(_parse_tag, schema=schema)))
    if schema.kind == "multi_label":
        return _parse_flag if len(schema.label) > 1 else partial(_parse_flags, schema=schema)
    return _remember_labels(partial(_parse_class, schema=schema))


def _remember_labels(parse: Callable[[Any], int]) -> Callable[[Any], int]:
    """``parse`` with its results remembered, for cells that repeat; by type, because 1, 1.0 and true are equal keys."""
    known: dict[tuple[type, Any], int] = {}

    def look_up(cell: Any) -> int:
        if not cell.__hash__:  # a list or a mapping, which is not a label
            return parse(cell)
        key = (type(cell), cell)
        label = known.get(key)
        if label is None:
            label = known[key] = parse(cell)
        return label

    return look_up


def _parse_value(cell: Any, untyped: bool, schema: Schema) -> float:
    """The value rounded to float32, as in training, so that every file format gives the same value."""
    if is_missing(cell) or (isinstance(cell, str) and is_nan_text(cell)):
        raise MissingCell("the label is missing")
    value = parse_number(cell, untyped)
    if value is None:
        hint = "; write the decimal point as a point" if isinstance(cell, str) and _COMMA.fullmatch(cell) else ""
        raise ValueError(f"expected a number, found {cell!r:.80}{hint}")
    if not math.isfinite(value) or abs(value) > LARGEST:
        raise ValueError(f"expected a finite number, found {value}")
    if schema.hides and value == float(HIDDEN):
        raise MissingCell(
            f"the label is missing: no training row has a value below 0, so {HIDDEN} marks a row without one"
        )
    return float(np.float32(value))


def _parse_class(cell: Any, schema: Schema) -> int:
    if isinstance(cell, list):
        raise ValueError(f"expected one label, found the list {cell!r:.80}")
    name = name_label(cell)
    if name is not None:
        known = schema.ids.get(name)
        if known is None:
            known = schema.ids.get(canonicalise(name))
        if known is not None:
            return known
    raise _explain_unknown(cell, name, schema)


def _explain_unknown(cell: Any, name: str | None, schema: Schema) -> ValueError:
    """The error that says why a cell is none of the task's classes."""
    if name is None or is_nan_text(name):
        return MissingCell("the label is missing")
    if canonicalise(name) in (HIDDEN, NOT_SCORED):
        return MissingCell(f"the label is missing: {name} marks a row without one")
    fault = find_encoding_fault(name)
    if fault:
        return ValueError(f"the label {fault}")
    wrong = f"{cell!r:.80} is not one of the labels {join_names(schema.labels)}"
    is_id = canonicalise(name).isdecimal() and int(canonicalise(name)) < len(schema.labels)
    if is_id and not schema.is_ordered and not any(map(is_whole_number, schema.labels)):
        return ValueError(
            f"{wrong}; a number stands for a class only where the order of the classes is declared: name "
            "them in that order under `labels`"
        )
    return ValueError(
        f"{wrong}{suggest_name(name.strip(), schema.labels)}; correct it, or name all labels under `labels`"
    )


def _parse_tags(cell: Any, tag: Callable[[Any], int]) -> tuple[int, ...]:
    if is_missing(cell):
        raise MissingCell("the tags are missing")
    if not isinstance(cell, list):
        raise ValueError(f"expected a list of tags, found {cell!r:.80}; csv and tsv cannot hold lists")
    return tuple(map(tag, cell))


def _parse_tag(cell: Any, schema: Schema) -> int:
    name = name_label(cell)
    if name is not None and canonicalise(name) == NOT_SCORED:
        return IGNORED
    if name is None:
        raise MissingCell(f"a word's tag is missing; {NOT_SCORED} marks a word that is not scored")
    return _parse_class(cell, schema)


def _parse_flags(cell: Any, schema: Schema) -> tuple[int, ...]:
    """A list of labels as a 0 or 1 for each label."""
    if is_missing(cell):
        raise MissingCell("the labels are missing; a row that has none has the empty list")
    if not isinstance(cell, list):
        raise ValueError(
            f"expected a list of labels, empty where there is none, found {cell!r:.80}; csv and tsv "
            "cannot hold lists: name a column of 0 and 1 for each label, as `label: [column, column]`"
        )
    had = [_parse_class(each, schema) for each in cell]
    if len(set(had)) < len(had):  # it looks like a list of 0 and 1 in the order of the labels
        raise ValueError(
            f"expected a list of different labels, found {cell!r:.80}; 0 and 1 belong in a column "
            "for each label, as `label: [column, column]`"
        )
    return tuple(int(each in had) for each in range(len(schema.labels)))


def _parse_flag(cell: Any) -> int:
    name = None if isinstance(cell, list) else name_label(cell)
    if name is not None and canonicalise(name) in FLAGS:
        return FLAGS[canonicalise(name)]
    if not isinstance(cell, list) and (name is None or is_nan_text(name)):
        raise MissingCell("the label is missing; expected 0 or 1")
    if name is not None and canonicalise(name) in (HIDDEN, NOT_SCORED):
        raise MissingCell(f"the label is missing: {name} marks a row without one; expected 0 or 1")
    raise ValueError(f"expected 0 or 1, or false or true, found {cell!r:.80}")
