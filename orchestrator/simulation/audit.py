"""Audits whether a recorded table can tell selectors apart: takes seconds, so it comes before any figure.

A table whose test values are its validation values on another scale shows nothing of generalisation; where most of a
target's values are one value there is nothing to choose; and where the splits do not correlate, choosing on one is
choosing at random on the other.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.stats import spearmanr

from auxtune.orchestrator.tables.groups import GroupsTable
from auxtune.orchestrator.tables.mixtures import MixturesTable
from auxtune.orchestrator.tables.reading import Table
from auxtune.orchestrator.tables.rows import average_over_seeds
from auxtune.orchestrator.tables.transfers import TransferTable

_COPIED, _ONE_VALUE, _WEAK = 0.5, 0.5, 0.2


def audit_table(table: Table) -> list[str]:
    """A line for each thing to be wary of; empty for a table that can tell selectors apart."""
    match table:
        case GroupsTable():
            return list(_audit_groups(table))
        case TransferTable():
            return list(_audit_transfer(table))
        case MixturesTable():
            return list(_audit_mixtures(table))


def _audit_groups(table: GroupsTable) -> Iterator[str]:
    means = {split: table.mean(split) for split in table.values}
    for column, task in enumerate(table.header.tasks):
        if task not in table.targets:
            continue
        each = {split: mean[:, column] for split, mean in means.items()}
        for split in ("validation", "test"):
            yield from _find_constant(f"{task} on {split}", each[split])
        yield from _find_copies(task, each)
        yield from _find_weak_correlation(task, each["validation"], each["test"], "test")
    lacking = [
        "+".join(network.tasks)
        for place, network in enumerate(table.networks)
        if any(
            np.isnan(means[s][place, table.header.tasks.index(t)])
            for s in ("validation", "test")
            for t in network.tasks
            if t in table.targets
        )
    ]
    if lacking:
        shown = ", ".join(lacking[:3]) + (" …" if len(lacking) > 3 else "")
        yield f"{len(lacking)} groups lack a value of a member on a split ({shown}): they cannot serve that member"


def _audit_transfer(table: TransferTable) -> Iterator[str]:
    for task in table.targets:
        yield from _find_constant(task, table.mean[1:, table.header.tasks.index(task)])
    if len(table.seeds) > 1:
        one, other = (average_over_seeds(table.values[1:, :, start::2]) for start in (0, 1))
        for column, task in enumerate(table.header.tasks):
            if task in table.targets:
                yield from _find_weak_correlation(
                    task, one[:, column], other[:, column], "the other half", "one half of the seeds"
                )


def _audit_mixtures(table: MixturesTable) -> Iterator[str]:
    for column, task in enumerate(table.header.tasks):
        if np.ptp(np.concatenate([shares[:, column] for shares in table.weights.values()])) == 0:
            yield f"w:{task} is the same in every row: nothing can be learnt of it"
    for column, target in enumerate(table.targets):
        for split in ("train", "test"):
            yield from _find_constant(f"{target} on {split}", table.values[split][:, column])
    places = {row.tobytes(): place for place, row in enumerate(table.weights["test"])}
    for split, weights in table.weights.items():
        pairs = [(places[row.tobytes()], place) for place, row in enumerate(weights) if row.tobytes() in places]
        if split == "test" or not pairs:
            continue
        if split == "train":
            yield f"{len(pairs)} mixtures of the split train are in the split test, too"
        here, there = (list(side) for side in zip(*pairs, strict=True))
        for column, target in enumerate(table.targets):
            one, other = table.values["test"][here, column], table.values[split][there, column]
            yield from _find_copies(target, {"test": one, split: other})
            yield from _find_weak_correlation(target, one, other, split, "test")


def _find_constant(target: str, values: np.ndarray) -> Iterator[str]:
    known = values[np.isfinite(values)]
    found, counts = np.unique(known, return_counts=True)
    if len(known) > 1 and counts.max() > _ONE_VALUE * len(known):
        value = found[counts.argmax()]
        yield f"{target}: {counts.max()} of {len(known)} values are {value:g}: there is little to choose between"


def _find_copies(target: str, splits: dict[str, np.ndarray]) -> Iterator[str]:
    names = list(splits)
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            share = measure_copied_share(splits[first], splits[second])
            if share > _COPIED:
                yield (
                    f"{target}: {second} is {first} on another scale in {share:.0%} of the rows (an affine copy): "
                    "what is chosen on the one is judged on the same numbers again"
                )


def _find_weak_correlation(
    target: str, chosen_on: np.ndarray, judged_on: np.ndarray, to: str, of: str = "validation"
) -> Iterator[str]:
    correlation = correlate_ranks(chosen_on, judged_on)
    if correlation is not None and correlation < _WEAK:
        yield f"{target}: {of} and {to} hardly agree (Spearman {correlation:.2f}): choosing well cannot show"


_FEWEST, _MANY, _LINES, _TOLERANCE = 4, 8, 300, 1e-3


def measure_copied_share(first: np.ndarray, second: np.ndarray) -> float:
    """The largest share of points, (points,) each, on one line, to a thousandth of the spread; 0 for fewer than 4.

    Of fewer than 8 points all must be on it, or the share is 0: two points always are.

    Lines through pairs of points are tried, so that a line is found even where other rows are of another origin.
    """
    known = np.isfinite(first) & np.isfinite(second)
    x, y = first[known], second[known]
    if len(x) < _FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    order = np.argsort(x, kind="stable")[:: max(1, len(x) // _LINES)]
    best = 0.0
    for a, b in zip(order, np.roll(order, len(order) // 2), strict=True):
        if x[a] != x[b]:
            slope = (y[b] - y[a]) / (x[b] - x[a])
            on_line = np.abs(y - y[a] - slope * (x - x[a])) <= _TOLERANCE * y.std()
            best = max(best, float(on_line.mean()))
    return best if len(x) >= _MANY or best == 1 else 0.0


def correlate_ranks(first: np.ndarray, second: np.ndarray) -> float | None:
    """Spearman's coefficient of the points known of both; ``None`` for fewer than 3, or where one is constant."""
    known = np.isfinite(first) & np.isfinite(second)
    x, y = first[known], second[known]
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(spearmanr(x, y).statistic)
