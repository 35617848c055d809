"""A recorded table of any kind, read and checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from auxtune.orchestrator.simulation.affinity_file import Affinities, read_affinities
from auxtune.orchestrator.simulation.groups_table import GroupsTable, read_groups
from auxtune.orchestrator.simulation.header import Header, read_header
from auxtune.orchestrator.simulation.mistakes import TableError
from auxtune.orchestrator.simulation.mixtures_table import MixturesTable, read_mixtures
from auxtune.orchestrator.simulation.transfer_table import TransferTable, read_transfer

Table: TypeAlias = GroupsTable | TransferTable | MixturesTable

_READERS: dict[str, Callable[[Path, Header], Table]] = {
    "groups": read_groups,
    "transfer": read_transfer,
    "mixtures": read_mixtures,
}


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
