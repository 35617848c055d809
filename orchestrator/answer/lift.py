"""How much better the selection is than a control, and how sure that is.

Lift is the mean over seeds of the paired difference on the test split. Its interval answers for other seeds and for
other rows: the S seeds' differences on the R rows are a layout of two crossed random effects (Cornfield and Tukey 1956,
Annals of Mathematical Statistics 27). With s the spread of the seeds' lifts, e the standard error of the seed-averaged
lift from a bootstrap over the test rows (the same rows for all seeds and both arms), and g the part of it that comes
from seeds disagreeing on single rows, the variance of the lift is s²/S + e² - g²: s and e both hold the noise g, which
counts once. Each part has a factor of its own, as Banerjee (1960, Sankhya 22) adds squares of half-widths, which covers
at least the level whatever the parts are; one factor for all by Satterthwaite's degrees of freedom does not
(``benchmarks/interval_coverage.py``). For groups lift is the mean over tasks, each with its own test rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias, TypeVar

import numpy as np

from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.trials.metrics import Predictions, find_direction, find_metric

DRAWS = 1000
LEVEL = 0.95  # of an interval, where several do not ask for more
FEWEST_SEEDS = 3  # under this no interval is given

Values = TypeVar("Values", float, np.ndarray)

Pair: TypeAlias = tuple[Predictions, Predictions]  # ours and theirs, with the same seed


@dataclass(frozen=True)
class Lift:
    """A paired difference on the test split; ``low`` and ``high`` are ``None`` under ``FEWEST_SEEDS`` seeds.

    With ``same_training`` the control trains what the selection trains: the lift is 0 by that alone, without interval.
    """

    metric: str
    mean: float
    low: float | None
    high: float | None
    seeds: int
    same_training: bool = False


@dataclass(frozen=True, kw_only=True)
class MeanLift(Lift):
    """The mean over tasks of their lifts (``metric`` is then ``mean``), and each task's own in its main metric.

    ``models`` is how many the control trains with each seed.
    """

    models: int
    tasks: Mapping[str, Lift]


@dataclass(frozen=True)
class RowDoubt:
    """The uncertainty that the choice of test rows leaves in a lift averaged over seeds, as standard errors.

    ``error`` is that of the average, ``shared`` its part from rows on which the seeds disagree: the spread of the seeds
    holds that too. Both are 0 where no row could change anything.
    """

    error: float
    shared: float


def estimate_paired_lift(
    metric: str, ours: Sequence[Predictions], theirs: Sequence[Predictions], seed: int, level: float = LEVEL
) -> Lift | None:
    """The lift of one arm over another, seed by seed; ``None`` without a common seed."""
    if not ours:
        return None
    differences = _list_differences(metric, ours, theirs)
    return _estimate(metric, differences, lambda: _estimate_doubt(metric, ours, theirs, seed), level)


def measure_arm(metric: str, arm: Sequence[Predictions], seed: int) -> Lift:
    """The score of one arm by itself, with the interval of a lift over nothing."""
    values = np.array([answers.metric(metric) for answers in arm])
    return _estimate(metric, values, lambda: estimate_row_doubt(bootstrap(metric, tuple(arm), seed)))


def estimate_mean_lift(
    metrics: Mapping[str, str], pairs: Sequence[Mapping[str, Pair]], models: int, seed: int, level: float = LEVEL
) -> MeanLift | None:
    """The lift on average over the tasks of ``metrics`` (task -> main metric), over a control of ``models`` models.

    ``pairs`` are by seed and task. A task's own lift is over the seeds that have it, the mean over those that have
    every task; ``None`` without such a seed. The tasks' test rows are taken as drawn independently, so the standard
    error of the mean over n tasks is sqrt(sum of their e²) / n.
    """
    own = {}
    for task, metric in metrics.items():
        having = [pair[task] for pair in pairs if task in pair]
        lift = estimate_paired_lift(metric, [a for a, _ in having], [b for _, b in having], seed, level)
        if lift is not None:
            own[task] = lift
    whole = [pair for pair in pairs if pair.keys() >= metrics.keys()]
    if not whole:
        return None
    sides = {task: ([pair[task][0] for pair in whole], [pair[task][1] for pair in whole]) for task in metrics}
    each = np.stack([_list_differences(metric, *sides[task]) for task, metric in metrics.items()])  # (tasks, seeds)

    def doubt() -> RowDoubt:
        doubts = [_estimate_doubt(metric, *sides[task], seed) for task, metric in metrics.items()]
        errors, shared = ([getattr(one, part) for one in doubts] for part in ("error", "shared"))
        return RowDoubt(float(np.linalg.norm(errors)) / len(doubts), float(np.linalg.norm(shared)) / len(doubts))

    mean = _estimate("mean", each.mean(axis=0), doubt, level)
    return MeanLift(mean.metric, mean.mean, mean.low, mean.high, mean.seeds, models=models, tasks=own)


def declare_no_lift(
    metrics: Mapping[str, str], served: Sequence[Mapping[str, object]], models: int, primary: str | None
) -> Lift | None:
    """The lift over a control that trains what the selection trains: 0, and no question of chance.

    ``served`` are the selection's models by seed and task, ``models`` how many each seed has; ``None`` without any.
    """
    own = {
        task: Lift(metric, 0.0, None, None, count, same_training=True)
        for task, metric in metrics.items()
        if (count := sum(task in one for one in served))
    }
    if primary is not None:
        return own.get(primary)
    whole = sum(one.keys() >= metrics.keys() for one in served)
    return MeanLift("mean", 0.0, None, None, whole, same_training=True, models=models, tasks=own) if whole else None


def estimate_half_width(spread: Values, error: Values, shared: Values, seeds: int, level: float = LEVEL) -> Values:
    """Half the interval of a mean over at least 2 ``seeds``.

    It is sqrt(max((t spread)², (z shared)²) + z² (error² - shared²)), with t of ``seeds - 1`` degrees of freedom.
    ``spread`` is the standard error by the spread of the seeds alone, the others are a ``RowDoubt``. Where the seeds
    agree by chance more than their noise on single rows allows, that noise stands in for their spread, so the interval
    is never narrower than the rows alone would have it.
    """
    from scipy.stats import norm, t  # half a second to import, which no start needs

    tail = (1 + level) / 2
    student, normal = float(t.ppf(tail, seeds - 1)), float(norm.ppf(tail))
    among_seeds = np.maximum((student * spread) ** 2, (normal * shared) ** 2)
    among_rows = normal**2 * np.maximum(error**2 - shared**2, 0.0)
    half: Values = np.sqrt(among_seeds + among_rows)
    return half


def estimate_row_doubt(draws: np.ndarray) -> RowDoubt:
    """Estimate it from the lift of each seed on the same resamples of the rows, (seeds, resamples).

    The variance over resamples of the seeds' mean is e². Of each seed's departure from it, summed over seeds and over
    S (S - 1), it is g²: what independent noise of the seeds on single rows adds to the variance of their mean.
    """
    seeds, mean = len(draws), draws.mean(axis=0)
    apart = float(np.var(draws - mean, axis=1, ddof=1).sum()) / (seeds * (seeds - 1)) if seeds > 1 else 0.0
    return RowDoubt(float(np.std(mean, ddof=1)), float(np.sqrt(apart)))


def _list_differences(metric: str, ours: Sequence[Predictions], theirs: Sequence[Predictions]) -> np.ndarray:
    """By how much ours are better than theirs, (seeds,): above 0 is better, also where a lower value is."""
    differences = [a.metric(metric) - b.metric(metric) for a, b in zip(ours, theirs, strict=True)]
    return find_direction(metric) * np.array(differences)


def _estimate_doubt(metric: str, ours: Sequence[Predictions], theirs: Sequence[Predictions], seed: int) -> RowDoubt:
    return estimate_row_doubt(bootstrap(metric, tuple(ours), seed) - bootstrap(metric, tuple(theirs), seed))


def _estimate(metric: str, differences: np.ndarray, doubt: Callable[[], RowDoubt], level: float = LEVEL) -> Lift:
    """The mean of the seeds' ``differences``, (seeds,), with its interval if there are enough of them."""
    seeds, mean = len(differences), float(differences.mean())
    if seeds < FEWEST_SEEDS:
        return Lift(metric, mean, None, None, seeds)
    spread, of_rows = float(differences.std(ddof=1)) / np.sqrt(seeds), doubt()
    half = float(estimate_half_width(spread, of_rows.error, of_rows.shared, seeds, level))
    return Lift(metric, mean, mean - half, mean + half, seeds)


@lru_cache(maxsize=256)
def bootstrap(metric: str, arm: tuple[Predictions, ...], seed: int) -> np.ndarray:
    """Each seed's metric on ``DRAWS`` resamples of the test rows, (seeds, DRAWS). The same seed, the same rows."""
    rows = int(arm[0].rows.max()) + 1
    draws = np.random.default_rng(seed).integers(rows, size=(DRAWS, rows))
    return np.stack([score_resamples(metric, answers, draws) for answers in arm])


@lru_cache(maxsize=256)
def load_predictions(path: StoredPath, task: str) -> Predictions:
    """The predictions a confirm trial left in ``predictions.npz``. An arm is compared with several; it is read once."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        names = tuple(arrays[f"{task}/names"].tolist()) if f"{task}/names" in arrays else ()
        shares = arrays.get(f"{task}/probabilities", None)
        labels, predictions, rows = (arrays[f"{task}/{name}"] for name in ("labels", "predictions", "rows"))
        return Predictions(labels, predictions, rows, names, shares)


def score_resamples(metric: str, answers: Predictions, draws: np.ndarray) -> np.ndarray:
    """``metric`` on each resample. ``draws`` (resamples, rows) are row numbers; the result is (resamples,)."""
    rows = draws.shape[1]
    times = np.stack([np.bincount(draw, minlength=rows) for draw in draws])  # (resamples, rows)
    return find_metric(metric).on_resamples(answers, times)
