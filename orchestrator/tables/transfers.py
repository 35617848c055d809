"""A table of the kind ``transfer``: what a target scored after training on one source, or on none."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from auxtune.orchestrator.tables.rows import (
    Header,
    average_over_seeds,
    parse_numbers,
    parse_seconds,
    parse_whole_numbers,
    read_rows,
)
from auxtune.selectors.protocol import Transfer


@dataclass(frozen=True, eq=False)
class TransferTable:
    """Values in the table's own units; ``nan`` where there is no row. A source of ``None`` is no transfer."""

    path: Path
    header: Header
    sources: tuple[str | None, ...]  # None first, whether it was recorded or not; then by table.json
    seeds: tuple[int, ...]
    values: np.ndarray  # (sources, tasks, seeds): [source, target, seed]
    seconds: np.ndarray | None  # the same shape

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """The tasks with at least two recorded sources: fewer cannot be ranked."""
        sources = np.isfinite(self.values[1:]).any(axis=2).sum(axis=0)
        return tuple(task for task, count in zip(self.header.tasks, sources.tolist(), strict=True) if count > 1)

    @cached_property
    def mean(self) -> np.ndarray:
        """Means over seeds, (sources, tasks); ``nan`` where no seed has a value."""
        return average_over_seeds(self.values)

    def transfers(self, without: str | None = None) -> tuple[Transfer, ...]:
        """Every recorded result, but those on the target ``without``; higher is better."""
        found = []
        for row, column, number in np.argwhere(np.isfinite(self.values)).tolist():
            if (target := self.header.tasks[column]) != without:
                score = float(self.header.sign * self.values[row, column, number])
                found.append(Transfer(self.sources[row], target, score, self.seeds[number]))
        return tuple(found)


def read_transfer(folder: Path, header: Header) -> TransferTable:
    """The table in ``folder``. Raises ``TableError`` with every mistake."""
    rows, mistakes = read_rows(folder / "rows.csv", ["source", "target", "value"])
    value = parse_numbers(rows, "value", mistakes)
    seed, seconds = parse_whole_numbers(rows, "seed", mistakes), parse_seconds(rows, mistakes)
    sources: tuple[str | None, ...] = (None, *header.tasks)
    seeds = sorted(set(seed.tolist()))
    shape = (len(sources), len(header.tasks), len(seeds))
    values, took = np.full(shape, np.nan), np.full(shape, np.nan)
    for row, (source, target) in enumerate(zip(rows["source"], rows["target"], strict=True)):
        for column, task in (("source", source), ("target", target)):
            if task not in header.tasks and (column == "target" or task):
                mistakes.add(f"expected a task of table.json, found {task!r}", row, column)
                break
        else:
            place = (sources.index(source or None), header.tasks.index(target), seeds.index(seed[row]))
            if source == target:  # no transfer, though some logs hold it
                continue
            if not np.isnan(values[place]):
                mistakes.add(f"{source or 'no transfer'} to {target} has a value already", row, "source")
            values[place] = value[row]
            took[place] = np.nan if seconds is None else seconds[row]
    mistakes.stop()
    table = TransferTable(folder, header, sources, tuple(seeds), values, None if seconds is None else took)
    if not table.targets:
        mistakes.add("expected a target with at least two sources, found none", column="target")
        mistakes.stop()
    return table
