"""A table of the kind ``mixtures``: what mixtures of tasks scored on some targets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auxtune.orchestrator.tables.rows import Header, Mistakes, parse_numbers, parse_seconds, read_rows

_OFF = 0.02  # shares rounded to a few digits need not sum to 1 exactly


@dataclass(frozen=True, eq=False)
class MixturesTable:
    """Rows by split; values in the table's own units, ``nan`` where a cell is empty."""

    path: Path
    header: Header
    targets: tuple[str, ...]
    weights: dict[str, np.ndarray]  # by split: (rows, tasks), each row sums to 1
    values: dict[str, np.ndarray]  # by split: (rows, targets)
    seconds: dict[str, np.ndarray] | None  # by split: (rows,)


def read_mixtures(folder: Path, header: Header) -> MixturesTable:
    """The table in ``folder``. Raises ``TableError`` with every mistake."""
    shares = [f"w:{task}" for task in header.tasks]
    targets = header.targets
    rows, mistakes = read_rows(folder / "rows.csv", ["split", *shares, *(f"y:{target}" for target in targets or ())])
    if targets is None:
        targets = tuple(column[2:] for column in rows if column.startswith("y:"))
    if not targets:
        mistakes.add("expected a column y:<target>, found none")
        mistakes.stop()
    weights = np.column_stack([parse_numbers(rows, column, mistakes) for column in shares])
    values = np.column_stack([parse_numbers(rows, f"y:{target}", mistakes, gaps=True) for target in targets])
    seconds = parse_seconds(rows, mistakes)
    check_shares(weights, shares, mistakes)
    splits = list(dict.fromkeys(rows["split"]))
    for split in ("train", "test"):
        if split not in splits:
            mistakes.add(f"expected rows of the split {split}, found {', '.join(map(repr, splits))}", column="split")
    mistakes.stop()
    weights /= weights.sum(axis=1, keepdims=True)
    places_of = {split: np.flatnonzero(np.array(rows["split"]) == split) for split in splits}
    scored = [np.isfinite(values[places_of[split]]).any(axis=0) for split in ("train", "test")]
    usable = np.flatnonzero(np.all(scored, axis=0)).tolist()
    if not usable:
        mistakes.add("expected a target with values in the splits train and test, found none")
        mistakes.stop()
    targets, values = tuple(targets[column] for column in usable), values[:, usable]
    return MixturesTable(
        folder,
        header,
        targets,
        {split: weights[places] for split, places in places_of.items()},
        {split: values[places] for split, places in places_of.items()},
        None if seconds is None else {split: seconds[places] for split, places in places_of.items()},
    )


def check_shares(weights: np.ndarray, shares: list[str], mistakes: Mistakes) -> None:
    """Note shares below 0, and rows, (rows, tasks), whose shares do not sum to 1 but for rounding."""
    for row, column in np.argwhere(weights < 0).tolist():
        mistakes.add(f"expected a share of at least 0, found {weights[row, column]:g}", row, shares[column])
    total = weights.sum(axis=1)
    for row in np.flatnonzero(np.abs(total - 1) > _OFF).tolist():
        mistakes.add(f"expected shares that sum to 1, found a sum of {total[row]:g}", row, "w:")
