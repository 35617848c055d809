"""Files of rows as named columns: jsonl, csv, tsv, parquet, and splits of a ``datasets`` dataset.

The csv and json modules read text files, not ``datasets`` or pandas: only a reader that knows its place can
say which row is bad, and pandas turns words such as "NA" and "null" into missing values. Quotes follow the
csv rules in tsv files too; a stray quote is an error, because guessing would join rows silently.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auxtune.trials.problems import DataError, in_rows, listed

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Table:
    """Rows as columns of equal length; a cell that a row lacks is ``None``.

    ``place`` is where they come from, for messages. ``classes`` are a column's class names in the order of
    their ids, where the file declares them; such a column holds names, ``None`` where unlabelled. The cells
    of an ``untyped`` table are all text.
    """

    place: str
    columns: Mapping[str, Sequence[Any]]
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    untyped: bool = False

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))


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
    columns: dict[str, Sequence[Any]] = {}
    classes: dict[str, tuple[str, ...]] = {}
    for column, feature in dataset.features.items():
        names = getattr(getattr(feature, "feature", feature), "names", None)
        if names is None:
            columns[column] = dataset[column]
        else:
            classes[column] = tuple(names)
            columns[column] = [_class_names(cell, names) for cell in dataset[column]]
    return Table(place, columns, classes)


def _class_names(cell: Any, names: Sequence[str]) -> Any:
    if isinstance(cell, list):
        return [_class_names(each, names) for each in cell]
    return None if cell is None or cell < 0 else names[cell]


def _read_text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        remedy = "save the file as UTF-8"
        raise DataError([f"{path}, line {line}: not UTF-8 text ({error.reason}); {remedy}"]) from error


def _read_jsonl(path: Path) -> Table:
    rows: list[dict[str, Any]] = []
    bad: list[tuple[int, str]] = []
    text = _read_text(path).rstrip()
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
    lines = io.StringIO(_read_text(path).rstrip("\r\n"), newline="")
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    try:
        rows.extend(reader)
    except csv.Error as error:
        remedy = "put cells with quotes or line breaks in double quotes, and double the quotes inside"
        raise DataError([f"{path}, row {max(len(rows), 1)}: {error}; {remedy}"]) from error
    if not rows:
        raise DataError([f"{path}: the file is empty; its first line must name the columns"])
    header, *cells = rows
    if len(set(header)) < len(header):
        raise DataError([f"{path}: the first line names a column twice: {listed(header)}"])
    bad = [(number, f"expected {len(header)} cells, found {len(row)}")
           for number, row in enumerate(cells, start=1) if len(row) != len(header)]
    if bad:
        raise DataError(in_rows(str(path), None, bad))
    columns = {name: [row[index] for row in cells] for index, name in enumerate(header)}
    return Table(str(path), columns, untyped=True)


def _read_parquet(path: Path) -> Table:
    from pyarrow import ArrowException, parquet

    try:
        table = parquet.read_table(path)
    except (ArrowException, OSError) as error:
        raise DataError([f"{path}: not a parquet file that can be read: {error}"]) from error
    return Table(str(path), {name: table.column(name).to_pylist() for name in table.column_names})


_READERS: Mapping[str, Callable[[Path], Table]] = {
    ".jsonl": _read_jsonl,
    ".csv": lambda path: _read_separated(path, ","),
    ".tsv": lambda path: _read_separated(path, "\t"),
    ".parquet": _read_parquet,
}
