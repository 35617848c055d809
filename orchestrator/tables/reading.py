"""A recorded table of any kind, read and checked, and `affinity.csv` beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from auxtune.orchestrator.tables.groups import GroupsTable, read_groups
from auxtune.orchestrator.tables.mixtures import MixturesTable, read_mixtures
from auxtune.orchestrator.tables.rows import (
    Header,
    TableError,
    parse_numbers,
    parse_seconds,
    parse_whole_numbers,
    read_header,
    read_rows,
)
from auxtune.orchestrator.tables.transfers import TransferTable, read_transfer

Table: TypeAlias = GroupsTable | TransferTable | MixturesTable

_READERS: dict[str, Callable[[Path, Header], Table]] = {
    "groups": read_groups,
    "transfer": read_transfer,
    "mixtures": read_mixtures,
}


@dataclass(frozen=True, eq=False)
class Affinities:
    """Affinities of every pair by method, tables ``[recipient, source]``; ``nan`` where there is no row."""

    path: Path
    seeds: tuple[int, ...]
    values: dict[str, np.ndarray]  # by method: (seeds, tasks, tasks)
    seconds: dict[str, np.ndarray]  # the same shapes, nan where unknown


@dataclass(frozen=True, eq=False)
class Recorded:
    """A table and what was measured beside it."""

    name: str
    table: Table
    affinities: Affinities | None


def read_recorded(folder: Path) -> Recorded:
    """The table in ``folder``. Raises ``TableError`` with every mistake of the file that is wrong."""
    header = read_header(folder)
    table = _READERS[header.kind](folder, header)
    return Recorded(folder.resolve().name, table, read_affinities(folder, header.tasks))


def read_transfers(folder: Path) -> TransferTable:
    """A table of the kind transfer. Raises ``TableError`` for another kind, too."""
    table = read_recorded(folder).table
    if not isinstance(table, TransferTable):
        raise TableError(f"{folder / 'table.json'}: kind: expected transfer, found {table.header.kind}")
    return table


def read_affinities(folder: Path, tasks: tuple[str, ...]) -> Affinities | None:
    """The file in ``folder``, ``None`` where there is none. Raises ``TableError`` with every mistake."""
    path = folder / "affinity.csv"
    if not path.exists():
        return None
    rows, mistakes = read_rows(path, ["method", "recipient", "source", "value"])
    value, seed = parse_numbers(rows, "value", mistakes, gaps=True), parse_whole_numbers(rows, "seed", mistakes)
    seconds = parse_seconds(rows, mistakes)
    seeds = sorted(set(seed.tolist()))
    places = {task: place for place, task in enumerate(tasks)}
    shape = (len(seeds), len(tasks), len(tasks))
    values = {method: np.full(shape, np.nan) for method in dict.fromkeys(rows["method"])}
    took = {method: np.full(shape, np.nan) for method in values}
    seen = set()
    for row, (method, recipient, source) in enumerate(
        zip(rows["method"], rows["recipient"], rows["source"], strict=True)
    ):
        for column, task in (("recipient", recipient), ("source", source)):
            if task not in places:
                mistakes.add(f"expected a task of table.json, found {task!r}", row, column)
                break
        else:
            place = (seeds.index(seed[row]), places[recipient], places[source])
            if (method, place) in seen:
                mistakes.add(f"{method} has a value of {source} onto {recipient} already", row, "method")
            seen.add((method, place))
            values[method][place] = value[row]
            took[method][place] = np.nan if seconds is None else seconds[row]
    mistakes.stop()
    return Affinities(path, tuple(seeds), values, took)
