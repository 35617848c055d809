"""What earlier studies say of every (target, source), on one scale, with nothing in it of the target in question.

No source of its own. Targets score on scales of their own, so each is taken by itself: the mean over seeds of every
source, less the mean over sources, over their standard deviation. An affine change of one target's scores thus changes
nothing. What a target scored without any source is put on the same scale, as a source called nothing. A score of few
seeds is drawn towards the target's mean, by the share of its variance that is noise, which is read off where several
seeds were run. A target of one source, or where all sources score alike, says nothing and is left out.

Rows about the target in question are dropped before anything is computed: what is to be predicted cannot leak in. So
are rows of a task that is its own source, and scores that are not finite.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from auxtune.selectors.affinity import Affinity, affinity_of
from auxtune.selectors.protocol import Problem, Transfer

_ALIKE = 1e-9  # of the scores themselves: what is below is rounding
_LEAST_SIGNAL = 0.1  # of a target's variance; few seeds may call all of it noise


@dataclass(frozen=True, eq=False)
class TransferLog:
    """Transfers on one scale, ``[target, source]``: the problem's tasks first, then others of the log."""

    transfers: Affinity
    nothing: np.ndarray  # (tasks,) of each target without any source, nan where unknown

    @property
    def targets(self) -> int:
        """Targets of which something is known."""
        return int(np.isfinite(self.transfers.values).any(axis=1).sum())

    def place(self, task: str) -> int:
        """The row and column of a task."""
        return self.transfers.tasks.index(task)


def transfer_log(problem: Problem) -> TransferLog:
    """All that ``problem.earlier`` says of targets other than the primary. Raises ``ValueError`` without a primary."""
    target = problem.require_primary()
    rows = [row for row in problem.earlier if row.target != target and row.source != row.target]
    rows = [row for row in rows if np.isfinite(row.score)]
    # In the order of the log, not of names: what a task is called must not matter.
    tasks = tuple(dict.fromkeys((*problem.names, *_named(rows))))
    places = {task: place for place, task in enumerate(tasks)}
    scores: dict[tuple[int, int], list[float]] = {}
    for row in rows:
        source = len(tasks) if row.source is None else places[row.source]
        scores.setdefault((places[row.target], source), []).append(row.score)
    scaled = _on_one_scale(scores, len(tasks))
    transfers = affinity_of(tasks, scaled[:, :-1], "transfer_prior", "standard deviations of each target's sources")
    return TransferLog(transfers, scaled[:, -1])


def _named(rows: Iterable[Transfer]) -> Iterable[str]:
    return (task for row in rows for task in (row.target, row.source) if task is not None)


def _on_one_scale(scores: dict[tuple[int, int], list[float]], tasks: int) -> np.ndarray:
    """(tasks, tasks + 1), the last column of no source; ``nan`` where nothing is known."""
    means, runs = np.full((tasks, tasks + 1), np.nan), np.zeros((tasks, tasks + 1))
    within = np.zeros((tasks, tasks + 1))  # squared deviations of a cell's seeds from their mean
    for cell, values in scores.items():
        means[cell], runs[cell] = np.mean(values), len(values)
        within[cell] = np.sum((np.array(values) - means[cell]) ** 2)
    centre, spread = np.full((2, tasks, 1), np.nan)
    for row, sources in enumerate(means[:, :-1]):
        known = sources[np.isfinite(sources)]
        if len(known) > 1 and np.ptp(known) > _ALIKE * np.abs(known).max():
            centre[row], spread[row] = known.mean(), known.std()
    scaled: np.ndarray = (means - centre) / spread * _trust(runs, within / spread**2)
    return scaled


def _trust(runs: np.ndarray, within: np.ndarray) -> np.ndarray:
    """The share of each mean's variance that is no noise, (targets, sources + 1), of scores on one scale."""
    counted = (runs > 0) & np.isfinite(within)
    spare = (runs[counted] - 1).sum()
    if spare == 0:
        return np.ones_like(runs)  # one seed each: noise is not known, and alike for all
    noise = within[counted].sum() / spare
    signal = max(1 - noise * float((1 / runs[counted]).mean()), _LEAST_SIGNAL)
    trust: np.ndarray = signal / (signal + noise / np.maximum(runs, 1))
    return trust
