"""Rows of a task as checked values: texts or words, and their labels (``labels``)."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from auxtune.trials.labels import Label, label_parser
from auxtune.trials.problems import DataError, Problems, closest, in_rows, listed
from auxtune.trials.schema import Schema
from auxtune.trials.tables import Table

Words: TypeAlias = tuple[str, ...]
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
    parsers: dict[str, Callable[[Any], Any]] = dict.fromkeys(schema.text, words_of if is_token else text_of)
    parsers |= dict.fromkeys(schema.label, label_parser(table, schema))
    columns: list[tuple[Any, ...]] = []
    for column, parse in parsers.items():
        with problems.collected():
            columns.append(_column(table, column, parse))
    problems.raise_any()
    texts, marks = columns[: len(schema.text)], columns[len(schema.text) :]
    labels = tuple(zip(*marks, strict=True)) if len(marks) > 1 else marks[0]
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


def text_of(cell: Any) -> str:
    """A cell's text. Raises ``ValueError`` saying what is wrong with it."""
    if cell is None:
        raise ValueError("the text is missing")
    if not isinstance(cell, str):
        raise ValueError(f"expected text, found {cell!r:.80}")
    if not cell or cell.isspace():
        raise ValueError("the text is empty")
    if SURROGATE.search(cell):
        raise ValueError("the text holds half of a surrogate pair; save it as valid Unicode")
    return cell


def words_of(cell: Any) -> Words:
    """A cell's words. Raises ``ValueError`` saying what is wrong with it."""
    if not isinstance(cell, list):
        raise ValueError(f"expected a list of words, found {cell!r:.80}; csv and tsv cannot hold lists")
    if not cell:
        raise ValueError("there are no words")
    return tuple(text_of(word) for word in cell)


def _check_lengths(table: Table, schema: Schema, words: Sequence[Words], tags: Sequence[Sequence[int]]) -> None:
    counts = [(len(row_words), len(row_tags)) for row_words, row_tags in zip(words, tags, strict=True)]
    bad = [(row, f"expected {expected} tags, one per word, found {found}")
           for row, (expected, found) in enumerate(counts, start=1) if expected != found]
    if bad:
        raise DataError(in_rows(table.place, schema.label[0], bad))
