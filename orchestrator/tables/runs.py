"""Runs that were made anywhere, as rows of a CSV: each with the mixture that was trained and what it scored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auxtune.orchestrator.tables.mixtures import check_shares
from auxtune.orchestrator.tables.rows import TableError, parse_numbers, read_rows


@dataclass(frozen=True, eq=False)
class Runs:
    """What was trained and what it came to; ``nan`` where a run has no value of a target yet."""

    path: Path
    tasks: tuple[str, ...]
    shares: np.ndarray  # (runs, tasks), each row sums to 1
    targets: tuple[str, ...]
    values: np.ndarray  # (runs, targets)

    def read_target(self, target: str | None, key: str = "--target NAME") -> tuple[str, np.ndarray]:
        """A target's name and values, (runs,). Raises ``TableError`` for an unknown one, or for none of several.

        ``key`` is what people name it by.
        """
        if target is None and len(self.targets) > 1:
            raise TableError(f"{self.path}:1: expected {key}, one of {', '.join(self.targets)}; got none")
        chosen = self.targets[0] if target is None else target
        if chosen not in self.targets:
            raise TableError(f"{self.path}:1: expected a target of {', '.join(self.targets)}, got {chosen!r}")
        return chosen, self.values[:, self.targets.index(chosen)]


def read_runs(path: Path) -> Runs:
    """The runs in a CSV with columns ``w:<task>`` and ``y:<target>``; others are ignored.

    Raises ``TableError`` with every mistake, its line and column.
    """
    rows, mistakes = read_rows(path, [])
    shares = [column for column in rows if column.startswith("w:") and column != "w:"]
    targets = [column for column in rows if column.startswith("y:") and column != "y:"]
    for columns, kind in ((shares, "w:<task>"), (targets, "y:<target>")):
        if not columns:
            raise TableError(f"{path}:1: expected a column {kind}, found {', '.join(rows)}")
    weights = np.column_stack([parse_numbers(rows, column, mistakes) for column in shares])
    values = np.column_stack([parse_numbers(rows, column, mistakes, gaps=True) for column in targets])
    check_shares(weights, shares, mistakes)
    mistakes.stop()
    return Runs(
        path,
        tuple(column[2:] for column in shares),
        weights / weights.sum(axis=1, keepdims=True),
        tuple(column[2:] for column in targets),
        values,
    )
