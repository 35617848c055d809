"""Files of rows as named columns: jsonl, csv, tsv, parquet, and splits of a ``datasets`` dataset.

The csv and json modules read text files, not ``datasets`` or pandas: only a reader that knows its place can
say which row is bad, and pandas turns words such as "NA" and "null" into missing values. Only what a study names
is looked at: the columns of parquet and of datasets are made Python values one by one, when they are asked for, and a
byte that is not UTF-8 is told of the cell that holds it.
"""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from auxtune.trials.encoded import IGNORED
from auxtune.trials.errors import DataError, in_rows, listed
from auxtune.trials.separated import SeparatedRows

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Table:
    """Rows as columns of equal length; a cell that a row lacks is ``None``.

    ``place`` is where they come from, for messages. ``classes`` are a column's class names in the order of
    their ids, where the file declares them; such a column holds names, ``None`` where unlabelled. The cells
    of an ``untyped`` table are all text. ``rows`` is their number, where columns are loaded only when asked for.
    """

    place: str
    columns: Mapping[str, Sequence[Any]]
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    untyped: bool = False
    rows: int | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ())) if self.rows is None else self.rows


class LoadedOnDemand(Mapping[str, Sequence[Any]]):
    """Columns that are made Python values when first asked for. ``load`` raises ``DataError`` for one that cannot."""

    def __init__(self, names: Sequence[str], load: Callable[[str], Sequence[Any]]) -> None:
        self._names, self._load = dict.fromkeys(names), load
        self._loaded: dict[str, Sequence[Any]] = {}

    def __getitem__(self, name: str) -> Sequence[Any]:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def read_table(path: Path) -> Table:
    """The rows of one file, read by its ending. Raises ``DataError`` naming the file and the row."""
    if not path.is_file():
        raise DataError([f"{path}: there is no such file"])
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise DataError([f"{path}: expected a name ending in {listed(_READERS)}"])
    return read(path)


def table_of_rows(place: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Rows as mappings; the columns are all the keys that occur, in the order of first occurrence."""
    names = dict.fromkeys(name for row in rows for name in row)
    return Table(place, {name: [row.get(name) for row in rows] for name in names})


def table_of_dataset(place: str, dataset: Dataset) -> Table:
    """A split of a ``datasets`` dataset. Class ids become names; -1, its sign for unlabelled, is ``None``."""
    classes: dict[str, tuple[str, ...]] = {}
    for column, feature in dataset.features.items():
        names = getattr(getattr(feature, "feature", feature), "names", None)
        if names is not None:
            classes[column] = tuple(names)

    def load(column: str) -> Sequence[Any]:
        one = dataset.select_columns([column]).with_format(None)
        cells = python_cells(lambda: one[:][column], lambda row: one[row][column], len(one), place, column)
        names = classes.get(column)
        return cells if names is None else [_class_names(cell, names) for cell in cells]

    return Table(place, LoadedOnDemand(list(dataset.features), load), classes, rows=len(dataset))


def _class_names(cell: Any, names: Sequence[str]) -> Any:
    """A class id as its name; ``IGNORED``, the mark of words that are not scored, stays."""
    if isinstance(cell, list):
        return [_class_names(each, names) for each in cell]
    if cell is None or cell < 0:
        return IGNORED if cell == IGNORED else None
    return names[cell] if cell < len(names) else cell


def python_cells(
    load: Callable[[], list[Any]], one: Callable[[int], Any], rows: int, place: str, column: str, before: int = 0
) -> list[Any]:
    """A column as Python values, numbers of every width as int or float. Raises ``DataError`` naming the bad row.

    ``load`` reads it whole, ``one`` a row by its number from 0, ``before`` rows of the file having been read already.
    """
    try:
        return _plain_numbers(load())
    except (UnicodeDecodeError, ValueError, OverflowError) as whole:
        for row in range(rows):
            try:
                one(row)
            except (UnicodeDecodeError, ValueError, OverflowError) as error:
                fault = (
                    f"not UTF-8 text ({error.reason}); save it as UTF-8"
                    if (isinstance(error, UnicodeDecodeError))
                    else f"cannot be read: {error}"
                )
                raise DataError([f"{place}, row {before + row + 1}, column `{column}`: {fault}"]) from error
        raise DataError([f"{place}, column `{column}`: cannot be read: {whole}"]) from whole


def _plain_numbers(cells: list[Any]) -> list[Any]:
    """Cells of one type, decimals and NumPy's numbers as Python's own."""
    first = next((cell for cell in cells if cell is not None), None)
    if isinstance(first, list):
        nested = next((each for cell in cells for each in cell or () if each is not None), None)
        return [cell and _plain_numbers(cell) for cell in cells] if isinstance(nested, (Decimal, np.generic)) else cells
    if isinstance(first, Decimal):
        return [None if cell is None else float(cell) for cell in cells]
    return [None if cell is None else cell.item() for cell in cells] if isinstance(first, np.generic) else cells


def decoded(content: bytes, place: str) -> str:
    """The text of a UTF-8 file; a byte that is not UTF-8 stays visible in its cell. Refuses other encodings by mark."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError([f"{place}, line 1: not UTF-8 text (it begins as UTF-16 does); save the file as UTF-8"])
    return content.decode("utf-8-sig", "surrogateescape")


def _read_jsonl(path: Path) -> Table:
    rows: list[dict[str, Any]] = []
    bad: list[tuple[int, str]] = []
    text = decoded(path.read_bytes(), str(path)).rstrip()
    for number, line in enumerate(text.split("\n") if text else (), start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            bad.append((number, f"not JSON: {error.msg} at character {error.colno}"))
            continue
        if isinstance(row, dict):
            rows.append(row)
        else:
            bad.append((number, f"expected a JSON object, found {type(row).__name__}"))
    if bad:
        raise DataError(in_rows(str(path), None, bad))
    return table_of_rows(str(path), rows)


def _read_separated(path: Path, delimiter: str) -> Table:
    lines = io.StringIO(decoded(path.read_bytes(), str(path)).rstrip("\r\n"), newline="")
    reader = SeparatedRows(lines, delimiter, str(path), "row")
    rows = [cells for _, cells in reader]
    if not rows:
        raise DataError([f"{path}: the file is empty; its first line must name the columns"])
    header, *cells = rows
    bad = [
        (number, f"expected {len(header)} cells, found {len(row)}")
        for number, row in enumerate(cells, start=1)
        if len(row) != len(header)
    ]
    if bad:
        raise DataError(in_rows(str(path), None, bad))
    columns = {name: [row[index] for row in cells] for index, name in enumerate(header)}
    note = reader.breaks.note(str(path))
    return Table(str(path), columns, untyped=True, notes=(note,) if note else ())


def _read_parquet(path: Path) -> Table:
    from pyarrow import ArrowException, parquet

    try:
        table = parquet.read_table(path)
    except (ArrowException, OSError) as error:
        raise DataError([f"{path}: not a parquet file that can be read: {error}"]) from error

    def load(name: str) -> Sequence[Any]:
        column = table.column(name)
        return python_cells(column.to_pylist, lambda row: column[row].as_py(), len(column), str(path), name)

    return Table(str(path), LoadedOnDemand(table.column_names, load), rows=table.num_rows)


_READERS: Mapping[str, Callable[[Path], Table]] = {
    ".jsonl": _read_jsonl,
    ".csv": lambda path: _read_separated(path, ","),
    ".tsv": lambda path: _read_separated(path, "\t"),
    ".parquet": _read_parquet,
}
