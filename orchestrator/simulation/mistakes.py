"""What is wrong with a recorded table, all of it at once, each with its file, line and column."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from auxtune.orchestrator.errors import AuxtuneError

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


def read_rows(path: Path, needed: list[str]) -> tuple[pd.DataFrame, Mistakes]:
    """A CSV file as text, an empty cell as ``""``. Raises ``TableError`` where it cannot be read or lacks a column."""
    mistakes = Mistakes(path)
    try:
        frame = pd.read_csv(
            path, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False, skip_blank_lines=False
        ).fillna("")
    except FileNotFoundError as error:
        raise TableError(f"{path}: expected the rows of a recorded table, found no file") from error
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise TableError(f"{path}: expected a CSV file in UTF-8, found: {str(error).strip()}") from error
    if missing := [column for column in needed if column not in frame.columns]:
        raise TableError(f"{path}:1: expected the columns {', '.join(needed)}; missing: {', '.join(missing)}")
    blank = (frame == "").all(axis=1).to_numpy()
    while len(frame) and blank[len(frame) - 1]:  # at the end they are no rows, in between they keep their line
        frame = frame.iloc[:-1]
    if frame.empty:
        raise TableError(f"{path}: expected rows, found only a header")
    return frame, mistakes


def numbers(frame: pd.DataFrame, column: str, mistakes: Mistakes, gaps: bool = False) -> np.ndarray:
    """A column as float64, (rows,); with ``gaps`` an empty cell is ``nan``, else it is a mistake, as infinity is."""
    text = frame[column].str.strip()
    values: np.ndarray = pd.to_numeric(text, errors="coerce").to_numpy(dtype=float, copy=True)
    empty = (text == "").to_numpy()
    for row in np.flatnonzero(~np.isfinite(values) & ~(empty & gaps)).tolist():
        mistakes.add(f"expected a finite number, found {text.iloc[row]!r}", row, column)
    return values


def whole_numbers(frame: pd.DataFrame, column: str, mistakes: Mistakes) -> np.ndarray:
    """A column of seeds, (rows,) int; 0 everywhere where there is no such column."""
    if column not in frame.columns:
        return np.zeros(len(frame), dtype=int)
    values = numbers(frame, column, mistakes)
    for row in np.flatnonzero(np.isfinite(values) & (values != np.round(values))).tolist():
        mistakes.add(f"expected a whole number, found {values[row]:g}", row, column)
    return np.nan_to_num(values).astype(int)


def seconds_of(frame: pd.DataFrame, mistakes: Mistakes) -> np.ndarray | None:
    """The column ``seconds``, (rows,), with gaps; ``None`` where there is none."""
    if "seconds" not in frame.columns:
        return None
    values = numbers(frame, "seconds", mistakes, gaps=True)
    for row in np.flatnonzero(values < 0).tolist():
        mistakes.add(f"expected at least 0, found {values[row]:g}", row, "seconds")
    return values
