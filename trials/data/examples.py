"""Rows of a task as checked values: texts or words, and their labels (``labels``)."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from auxtune.trials.data.cells import SURROGATE, MissingCell, encoding_fault, is_missing
from auxtune.trials.data.schema import Schema
from auxtune.trials.data.tables import Table
from auxtune.trials.errors import DataError, Problems, closest, in_rows, listed
from auxtune.trials.labels import Label, label_parser

Words: TypeAlias = tuple[str, ...]
DROP = "`missing: drop` leaves such rows out"


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


def read_examples(table: Table, schema: Schema, missing: Literal["error", "drop"] = "error") -> tuple[Examples, int]:
    """All rows of a table, and how many were left out.

    A row is left out only where ``missing`` is ``drop`` and it lacks its text or its label. Raises ``DataError`` with
    one message per column, of its bad rows.
    """
    if not len(table):
        raise DataError([f"{table.place}: there are no rows"])
    is_token = schema.kind == "token"
    problems = Problems()
    parsers: dict[str, Callable[[Any], Any]] = dict.fromkeys(schema.text, words_of if is_token else text_of)
    parsers |= dict.fromkeys(schema.label, label_parser(table, schema))
    columns: list[list[Any]] = []
    gone: set[int] = set()
    for column, parse in parsers.items():
        with problems.collected():
            values, lacking = _column(table, column, parse, missing)
            columns.append(values)
            gone |= lacking
    problems.raise_any()
    if len(gone) == len(table):
        raise DataError([f"{table.place}: all {len(table)} rows lack their text or their label"])
    kept = [row for row in range(len(table)) if row not in gone] if gone else range(len(table))
    if is_token:
        _check_lengths(table, schema, columns[0], columns[1], kept)
    rows = [tuple(column[row] for row in kept) if gone else tuple(column) for column in columns]
    texts, marks = rows[: len(schema.text)], rows[len(schema.text) :]
    labels = tuple(zip(*marks, strict=True)) if len(marks) > 1 else marks[0]
    inputs = [(" ".join(words),) for words in texts[0]] if is_token else list(zip(*texts, strict=True))
    keys = np.array([input_key(*each) for each in inputs], np.uint64)
    return Examples(texts[0], texts[1] if schema.pair else None, labels, keys), len(gone)


def _column(
    table: Table, column: str, parse: Callable[[Any], Any], missing: Literal["error", "drop"]
) -> tuple[list[Any], set[int]]:
    """Every cell parsed, and the rows, from 0, whose cell holds nothing: their values are ``None``.

    A parser raises ``ValueError`` saying what is wrong with a cell.
    """
    if column not in table.columns:
        raise DataError(
            [
                f"{table.place}: there is no column `{column}` among {listed(table.columns)}"
                f"{closest(column, table.columns)}"
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
    messages = in_rows(table.place, column, bad)
    if missing == "error":
        messages += [f"{message}; {DROP}" for message in in_rows(table.place, column, absent)]
    if messages:
        raise DataError(messages)
    return values, {row - 1 for row, _ in absent}


def text_of(cell: Any) -> str:
    """A cell's text. Raises ``MissingCell`` or ``ValueError`` saying what is wrong with it."""
    if is_missing(cell):
        raise MissingCell("the text is empty" if isinstance(cell, str) else "the text is missing")
    if not isinstance(cell, str):
        raise ValueError(f"expected text, found {cell!r:.80}")
    if SURROGATE.search(cell):
        raise ValueError(f"the text {encoding_fault(cell)}")
    return cell


def words_of(cell: Any) -> Words:
    """A cell's words. Raises ``MissingCell`` or ``ValueError`` saying what is wrong with it."""
    if is_missing(cell):
        raise MissingCell("the words are missing")
    if not isinstance(cell, list):
        raise ValueError(f"expected a list of words, found {cell!r:.80}; csv and tsv cannot hold lists")
    if not cell:
        raise MissingCell("there are no words")
    return tuple(text_of(word) for word in cell)


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
        raise DataError(in_rows(table.place, schema.label[0], bad))
