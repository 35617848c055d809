"""Rows of a task as checked values: texts or words, and labels as ids or numbers."""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from auxtune.trials.problems import DataError, Problems, closest, in_rows, listed
from auxtune.trials.schema import Schema, label_name, number
from auxtune.trials.tables import Table

Words: TypeAlias = tuple[str, ...]
Label: TypeAlias = int | float | tuple[int, ...]       # a class, a value, or one tag per word
LARGEST = float(np.finfo(np.float32).max)
SURROGATE = re.compile("[\ud800-\udfff]")              # half a character: no tokenizer takes it


@dataclass(frozen=True)
class Examples:
    """Rows of one split, in the order of their file.

    ``second`` is ``None`` for single sentences; for a token task ``first`` holds words and ``labels`` a tag
    id for each. ``keys`` are ``input_key`` of each row, (rows,) uint64.
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


def input_key(*texts: str) -> int:
    """64 bits of the whole input, whatever its label, letter case, spacing and the order of a pair.

    >>> input_key("A  plane", "a bird") == input_key("A bird", "a plane ")
    True
    """
    normal = sorted(" ".join(unicodedata.normalize("NFKC", text).lower().split()) for text in texts)
    digest = hashlib.blake2b("\n".join(normal).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def read_examples(table: Table, schema: Schema) -> Examples:
    """All rows of a table. Raises ``DataError`` with one message per column, of its bad rows."""
    if not len(table):
        raise DataError([f"{table.place}: there are no rows"])
    is_token = schema.kind == "token"
    problems = Problems()
    parsers: dict[str, Callable[[Any], Any]] = dict.fromkeys(schema.text, _words if is_token else _text)
    parsers[schema.label] = _label_parser(table, schema)
    columns: list[tuple[Any, ...]] = []
    for column, parse in parsers.items():
        with problems.collected():
            columns.append(_column(table, column, parse))
    problems.raise_any()
    *texts, labels = columns
    if is_token:
        _check_lengths(table, schema, texts[0], labels)
        inputs = [(" ".join(words),) for words in texts[0]]
    else:
        inputs = list(zip(*texts, strict=True))
    keys = np.array([input_key(*each) for each in inputs], np.uint64)
    return Examples(texts[0], texts[1] if schema.pair else None, labels, keys)


def _column(table: Table, column: str, parse: Callable[[Any], Any]) -> tuple[Any, ...]:
    """Every cell parsed; a parser raises ``ValueError`` saying what is wrong with a cell."""
    if column not in table.columns:
        raise DataError([f"{table.place}: there is no column `{column}` among {listed(table.columns)}"
                         f"{closest(column, table.columns)}"])
    values, bad = [], []
    for row, cell in enumerate(table.columns[column], start=1):
        try:
            values.append(parse(cell))
        except ValueError as error:
            bad.append((row, str(error)))
    if bad:
        raise DataError(in_rows(table.place, column, bad))
    return tuple(values)


def _text(cell: Any) -> str:
    if cell is None:
        raise ValueError("the text is missing")
    if not isinstance(cell, str):
        raise ValueError(f"expected text, found {cell!r:.80}")
    if not cell or cell.isspace():
        raise ValueError("the text is empty")
    if SURROGATE.search(cell):
        raise ValueError("the text holds half of a surrogate pair; save it as valid Unicode")
    return cell


def _words(cell: Any) -> Words:
    if not isinstance(cell, list):
        raise ValueError(f"expected a list of words, found {cell!r:.80}; csv and tsv cannot hold lists")
    if not cell:
        raise ValueError("there are no words")
    return tuple(_text(word) for word in cell)


def _label_parser(table: Table, schema: Schema) -> Callable[[Any], Label]:
    if schema.kind == "regression":
        return partial(_value, untyped=table.untyped)
    if schema.kind == "token":
        return partial(_tags, ids=schema.ids, labels=schema.labels)
    return partial(_class, ids=schema.ids, labels=schema.labels)


def _value(cell: Any, untyped: bool) -> float:
    """Rounded to float32, what training uses, so that every file format gives the same value."""
    value = number(cell, untyped)
    if value is None:
        raise ValueError(f"expected a number, found {cell!r:.80}")
    if not math.isfinite(value) or abs(value) > LARGEST:
        raise ValueError(f"expected a finite number, found {value}")
    return float(np.float32(value))


def _class(cell: Any, ids: Mapping[str, int], labels: tuple[str, ...]) -> int:
    if isinstance(cell, list):
        raise ValueError(f"expected one label, found the list {cell!r:.80}")
    name = label_name(cell)
    if name is None:
        raise ValueError("the label is missing")
    if name not in ids:
        raise ValueError(f"{cell!r:.80} is not one of the labels {listed(labels)}; "
                         "correct it, or name all labels under `labels`")
    return ids[name]


def _tags(cell: Any, ids: Mapping[str, int], labels: tuple[str, ...]) -> tuple[int, ...]:
    if not isinstance(cell, list):
        raise ValueError(f"expected a list of tags, found {cell!r:.80}; csv and tsv cannot hold lists")
    return tuple(_class(tag, ids, labels) for tag in cell)


def _check_lengths(table: Table, schema: Schema, words: Sequence[Words], tags: Sequence[Sequence[int]]) -> None:
    counts = [(len(row_words), len(row_tags)) for row_words, row_tags in zip(words, tags, strict=True)]
    bad = [(row, f"expected {expected} tags, one per word, found {found}")
           for row, (expected, found) in enumerate(counts, start=1) if expected != found]
    if bad:
        raise DataError(in_rows(table.place, schema.label, bad))
