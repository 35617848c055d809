"""The files of a recorded table: `table.json`, and rows of numbers; every mistake with its file, line and column."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from auxtune.orchestrator.errors import AuxtuneError
from auxtune.trials.data.rows import LONGEST
from auxtune.trials.plain_json import parse_json

Rows: TypeAlias = dict[str, list[str]]  # column -> its cells, as many for each

_SHOWN = 20


class TableError(AuxtuneError):
    """A recorded table that cannot be used; every reason, one per line."""


@dataclass
class Mistakes:
    """Collects what is wrong with one file, so that a table is mended in one go."""

    path: Path
    lines: list[str] = field(default_factory=list)

    def add(self, message: str, row: int | None = None, column: str | None = None) -> None:
        """Note a mistake; ``row`` counts data rows from 0, as pandas does."""
        place = str(self.path) if row is None else f"{self.path}:{row + 2}"  # the header is line 1
        self.lines.append(f"{place}: {column}: {message}" if column else f"{place}: {message}")

    def stop(self) -> None:
        """Raise ``TableError`` if anything was noted."""
        if self.lines:
            more = [f"… and {len(self.lines) - _SHOWN} more"] if len(self.lines) > _SHOWN else []
            raise TableError("\n".join([*self.lines[:_SHOWN], *more]))


class Header(BaseModel):
    """The keys that are read; others are ignored."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1]
    kind: Literal["groups", "transfer", "mixtures"]
    metric: str
    mode: Literal["min", "max"]
    tasks: tuple[str, ...] = Field(min_length=1)
    targets: tuple[str, ...] | None = None  # mixtures: the columns y:<target> that count

    @property
    def sign(self) -> float:
        """The factor of a value that makes higher better."""
        return 1.0 if self.mode == "max" else -1.0


def read_header(folder: Path) -> Header:
    """The header of the table in ``folder``. Raises ``TableError`` naming every key that is wrong."""
    path = folder / "table.json"
    try:
        header = Header.model_validate(parse_json(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise TableError(f"{folder}: expected a recorded table, a folder with table.json and rows.csv") from error
    except ValidationError as error:
        lines = [f"{path}: {'.'.join(map(str, one['loc'])) or 'file'}: {one['msg']}" for one in error.errors()]
        raise TableError("\n".join(lines)) from error
    except (OSError, ValueError) as error:
        raise TableError(f"{path}: expected JSON, found: {error}") from error
    for key, names in (("tasks", header.tasks), ("targets", header.targets or ())):
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise TableError(f"{path}: {key}: each must be given once, got {', '.join(twice)} more often")
    joins = "+" if header.kind == "groups" else "\0"
    if odd := [name for name in header.tasks if not name.strip() or joins in name]:
        found = ", ".join(map(repr, odd))
        raise TableError(f"{path}: tasks: names must not be empty or, for groups, hold '+', got {found}")
    return header


def read_rows(path: Path, needed: Sequence[str]) -> tuple[Rows, Mistakes]:
    """A CSV file as text, an empty cell as ``""``. Raises ``TableError`` where it cannot be read or lacks a column."""
    try:
        columns, lines = _read_cells(path)
    except FileNotFoundError as error:
        raise TableError(f"{path}: expected the rows of a recorded table, found no file") from error
    except (OSError, UnicodeDecodeError, ValueError, csv.Error) as error:
        raise TableError(f"{path}: expected a CSV file in UTF-8, found: {str(error).strip()}") from error
    if missing := [column for column in needed if column not in columns]:
        raise TableError(f"{path}:1: expected the columns {', '.join(needed)}; missing: {', '.join(missing)}")
    while lines and not any(lines[-1]):  # empty lines at the end are no rows; those in between keep their numbers
        lines.pop()
    if not lines:
        raise TableError(f"{path}: expected rows, found only a header")
    cells = list(zip(*lines, strict=True))
    return {column: list(cells[columns.index(column)]) for column in columns}, Mistakes(path)


def _read_cells(path: Path) -> tuple[list[str], list[list[str]]]:
    """The header and the other lines, each as long as the header. Raises ``ValueError`` for a longer one."""
    csv.field_size_limit(max(LONGEST, csv.field_size_limit()))
    with path.open(encoding="utf-8-sig", newline="") as file:
        columns, *lines = list(csv.reader(file)) or [[]]
    if not columns:
        raise ValueError("No columns to parse from file")
    for number, line in enumerate(lines, start=2):
        if any(line[len(columns) :]):  # spreadsheets end lines with empty cells
            raise ValueError(f"expected {len(columns)} cells in line {number}, saw {len(line)}")
    return columns, [[*line, *[""] * len(columns)][: len(columns)] for line in lines]


def parse_numbers(rows: Rows, column: str, mistakes: Mistakes, gaps: bool = False) -> np.ndarray:
    """A column as float64, (rows,); with ``gaps`` an empty cell is ``nan``, else it is a mistake, as infinity is."""
    texts = [cell.strip() for cell in rows[column]]
    values = np.array([_parse_number(text) for text in texts])
    empty = np.array([text == "" for text in texts])
    for row in np.flatnonzero(~np.isfinite(values) & ~(empty & gaps)).tolist():
        mistakes.add(f"expected a finite number, found {texts[row]!r}", row, column)
    return values


def _parse_number(text: str) -> float:
    """The number that a cell holds, ``nan`` where it holds none."""
    try:
        return float("nan") if "_" in text else float(text)
    except ValueError:
        return float("nan")


def parse_whole_numbers(rows: Rows, column: str, mistakes: Mistakes) -> np.ndarray:
    """A column of seeds, (rows,) int; 0 everywhere where there is no such column."""
    if column not in rows:
        return np.zeros(len(next(iter(rows.values()))), dtype=int)
    values = parse_numbers(rows, column, mistakes)
    for row in np.flatnonzero(np.isfinite(values) & (values != np.round(values))).tolist():
        mistakes.add(f"expected a whole number, found {values[row]:g}", row, column)
    whole: np.ndarray = np.nan_to_num(values).astype(int)
    return whole


def parse_seconds(rows: Rows, mistakes: Mistakes) -> np.ndarray | None:
    """The column ``seconds``, (rows,), with gaps; ``None`` where there is none."""
    if "seconds" not in rows:
        return None
    values = parse_numbers(rows, "seconds", mistakes, gaps=True)
    for row in np.flatnonzero(values < 0).tolist():
        mistakes.add(f"expected at least 0, found {values[row]:g}", row, "seconds")
    return values


def average_over_seeds(values: np.ndarray) -> np.ndarray:
    """Means over the last axis of what is known; ``nan`` where no seed has a value."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=-1)
    mean: np.ndarray = np.divide(total, known.sum(axis=-1), out=np.full(total.shape, np.nan), where=known.any(axis=-1))
    return mean
