"""How much better the selection is than a control, and how sure that is.

Lift is the mean over seeds of the paired difference on the report split. Its 95 % interval joins two independent
sources of doubt: ± sqrt((t_{S-1} s / sqrt(S))² + (1.96 e)²), with s the spread of the seeds' lifts and e the standard
error of the seed-averaged lift from a bootstrap over the report rows (the same rows for all seeds and both arms).
For groups it is the mean over tasks, each with its own report rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from scipy import stats

from auxtune.orchestrator.answer.resampling import Predictions, resampled
from auxtune.trials.metrics import direction_of

DRAWS = 1000
LEVEL = 0.95                                           # of an interval, where several do not ask for more
FEWEST_SEEDS = 4                                       # under this no interval is given

Pair: TypeAlias = tuple[Predictions, Predictions]      # ours and theirs, with the same seed


@dataclass(frozen=True)
class Lift:
    """A paired difference on the report split; ``low`` and ``high`` are ``None`` under four seeds."""

    metric: str
    mean: float
    low: float | None
    high: float | None
    seeds: int


@dataclass(frozen=True)
class MeanLift(Lift):
    """The mean over tasks of their lifts (``metric`` is then ``mean``), and each task's own in its main metric.

    ``models`` is how many the control trains with each seed.
    """

    models: int
    tasks: Mapping[str, Lift]


def paired_lift(
    metric: str, ours: Sequence[Predictions], theirs: Sequence[Predictions], seed: int, level: float = LEVEL
) -> Lift | None:
    """The lift of one arm over another, seed by seed; ``None`` without a common seed."""
    if not ours:
        return None
    return _estimated(metric, _differences(metric, ours, theirs), lambda: _error(metric, ours, theirs, seed), level)


def measured(metric: str, arm: Sequence[Predictions], seed: int) -> Lift:
    """What one arm comes to by itself, with the interval of a lift over nothing."""
    values = np.array([answers.metric(metric) for answers in arm])
    return _estimated(metric, values, lambda: float(np.std(bootstrap(metric, tuple(arm), seed), ddof=1)))


def mean_lift(
    metrics: Mapping[str, str], pairs: Sequence[Mapping[str, Pair]], models: int, seed: int, level: float = LEVEL
) -> MeanLift | None:
    """The lift on average over the tasks of ``metrics`` (task -> main metric), over a control of ``models`` models.

    ``pairs`` are by seed and task. A task's own lift is over the seeds that have it, the mean over those that have
    every task; ``None`` without such a seed. The tasks' report rows are taken as drawn independently, so the standard
    error of the mean over n tasks is sqrt(sum of their e²) / n.
    """
    own = {}
    for task, metric in metrics.items():
        having = [pair[task] for pair in pairs if task in pair]
        lift = paired_lift(metric, [a for a, _ in having], [b for _, b in having], seed, level)
        if lift is not None:
            own[task] = lift
    whole = [pair for pair in pairs if pair.keys() >= metrics.keys()]
    if not whole:
        return None
    sides = {task: ([pair[task][0] for pair in whole], [pair[task][1] for pair in whole]) for task in metrics}
    each = np.stack([_differences(metric, *sides[task]) for task, metric in metrics.items()])   # (tasks, seeds)

    def error() -> float:
        errors = [_error(metric, *sides[task], seed) for task, metric in metrics.items()]
        return float(np.linalg.norm(errors)) / len(errors)

    mean = _estimated("mean", each.mean(axis=0), error, level)
    return MeanLift(mean.metric, mean.mean, mean.low, mean.high, mean.seeds, models, own)


def _differences(metric: str, ours: Sequence[Predictions], theirs: Sequence[Predictions]) -> np.ndarray:
    """By how much ours are better than theirs, (seeds,): above 0 is better, also where a lower value is."""
    differences = [a.metric(metric) - b.metric(metric) for a, b in zip(ours, theirs, strict=True)]
    return direction_of(metric) * np.array(differences)


def _error(metric: str, ours: Sequence[Predictions], theirs: Sequence[Predictions], seed: int) -> float:
    """The standard error of the seed-averaged lift, from the bootstrap over the report rows."""
    return float(np.std(bootstrap(metric, tuple(ours), seed) - bootstrap(metric, tuple(theirs), seed), ddof=1))


def _estimated(metric: str, differences: np.ndarray, error: Callable[[], float], level: float = LEVEL) -> Lift:
    """The mean of the seeds' ``differences``, (seeds,), with its interval if there are enough of them."""
    seeds, mean = len(differences), float(differences.mean())
    if seeds < FEWEST_SEEDS:
        return Lift(metric, mean, None, None, seeds)
    tail = (1 + level) / 2
    spread = float(stats.t.ppf(tail, seeds - 1)) * float(differences.std(ddof=1)) / np.sqrt(seeds)
    normal = 1.96 if level == LEVEL else float(stats.norm.ppf(tail))
    half = float(np.hypot(spread, normal * error()))
    return Lift(metric, mean, mean - half, mean + half, seeds)


@lru_cache(maxsize=256)
def bootstrap(metric: str, arm: tuple[Predictions, ...], seed: int) -> np.ndarray:
    """The seed-averaged metric on ``DRAWS`` resamples of the report rows, (DRAWS,). The same seed, the same rows."""
    rows = int(arm[0].rows.max()) + 1
    draws = np.random.default_rng(seed).integers(rows, size=(DRAWS, rows))
    per_seed = np.stack([resampled(metric, answers, draws) for answers in arm])             # (seeds, DRAWS)
    return np.asarray(per_seed.mean(axis=0))
