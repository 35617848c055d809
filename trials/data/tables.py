"""Tables: rows as named columns, from files of every format and from splits of a ``datasets`` dataset.

Only columns that a study names are read: those of parquet and of datasets become Python values one by one, when they
are first used, and a byte that is not UTF-8 is reported with the cell that holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auxtune.trials.data.rows import (
    SEPARATORS,
    Row,
    check_file,
    convert_to_python_cells,
    read_parquet_batches,
    read_parquet_shape,
    read_rows,
)
from auxtune.trials.encoded import IGNORED
from auxtune.trials.errors import DataError, report_rows

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Table:
    """Rows as columns of equal length; a cell that a row lacks is ``None``."""

    place: str  # where the rows come from, for messages
    columns: Mapping[str, Sequence[Any]]
    # A column's class names in the order of their ids, if the file declares them; such a column holds names, and
    # ``None`` for an unlabelled row.
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    untyped: bool = False  # all cells are text, as in csv
    rows: int | None = None  # their number, if columns are loaded on demand
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ())) if self.rows is None else self.rows


class LoadedOnDemand(Mapping[str, Sequence[Any]]):
    """Columns that become Python values when first used. ``load`` raises ``DataError`` for one that cannot be read."""

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
    """The rows of one file, read by its extension. Raises ``DataError`` naming the file and the bad rows."""
    check_file(path)
    ending = path.suffix.lower()
    if ending == ".parquet":
        names, rows = read_parquet_shape(path)

        def load(column: str) -> Sequence[Any]:
            return [cell for (cells,) in read_parquet_batches(path, [column]) for cell in cells]

        return Table(str(path), LoadedOnDemand(names, load), rows=rows)
    bad: list[tuple[int, str]] = []
    notes: list[str] = []
    table = build_table(str(path), _take_sound_rows(read_rows(path, "row", notes.append), bad))
    if bad:
        raise DataError(report_rows(str(path), None, bad))
    return replace(table, untyped=ending in SEPARATORS, notes=tuple(notes))


def _take_sound_rows(rows: Iterable[Row], bad: list[tuple[int, str]]) -> Iterator[Mapping[str, Any]]:
    """The cells of rows without a fault; the others' numbers and faults go to ``bad``."""
    for row in rows:
        if row.fault:
            bad.append((row.number, row.fault))
        else:
            yield row.cells


def build_table(place: str, rows: Iterable[Mapping[str, Any]]) -> Table:
    """Rows as mappings; the columns are all the keys that occur, in the order of first occurrence."""
    columns: dict[str, list[Any]] = {}
    count = 0
    for row in rows:
        for name, cell in row.items():
            column = columns.setdefault(name, [])
            column += [None] * (count - len(column))
            column.append(cell)
        count += 1
    for column in columns.values():
        column += [None] * (count - len(column))
    return Table(place, columns)


def build_dataset_table(place: str, dataset: Dataset) -> Table:
    """A split of a ``datasets`` dataset. Class ids become names; -1, its mark for unlabelled rows, is ``None``."""
    classes: dict[str, tuple[str, ...]] = {}
    for column, feature in dataset.features.items():
        names = getattr(getattr(feature, "feature", feature), "names", None)
        if names is not None:
            classes[column] = tuple(names)

    def load(column: str) -> Sequence[Any]:
        one = dataset.select_columns([column]).with_format(None)
        cells = convert_to_python_cells(lambda: one[:][column], lambda row: one[row][column], len(one), place, column)
        names = classes.get(column)
        return cells if names is None else [_name_classes(cell, names) for cell in cells]

    return Table(place, LoadedOnDemand(list(dataset.features), load), classes, rows=len(dataset))


def _name_classes(cell: Any, names: Sequence[str]) -> Any:
    """A class id as its name; ``IGNORED``, the mark of words that are not scored, stays."""
    if isinstance(cell, list):
        return [_name_classes(each, names) for each in cell]
    if cell is None or cell < 0:
        return IGNORED if cell == IGNORED else None
    return names[cell] if cell < len(names) else cell
