"""How much better the selection is than a control, and how sure that is.

Lift is the mean over seeds of the paired difference on the report split. Its 95 % interval joins two independent
sources of doubt: ± sqrt((t_{S-1} s / sqrt(S))² + (1.96 e)²), with s the spread of the seeds' lifts and e the standard
error of the seed-averaged lift from a bootstrap over the report rows (the same rows for all seeds and both arms).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

from auxtune.orchestrator.answer.resampling import Predictions, resampled

DRAWS = 1000
FEWEST_SEEDS = 4                                       # under this no interval is given


@dataclass(frozen=True)
class Lift:
    """A paired difference on the report split; ``low`` and ``high`` are ``None`` under four seeds."""

    metric: str
    mean: float
    low: float | None
    high: float | None
    seeds: int


def paired_lift(
    metric: str, ours: Sequence[Predictions], theirs: Sequence[Predictions], seed: int
) -> Lift | None:
    """The lift of one arm over another, seed by seed; ``None`` without a common seed."""
    if not ours:
        return None
    differences = np.array([a.metric(metric) - b.metric(metric) for a, b in zip(ours, theirs, strict=True)])
    seeds, mean = len(differences), float(differences.mean())
    if seeds < FEWEST_SEEDS:
        return Lift(metric, mean, None, None, seeds)
    error = float(np.std(bootstrap(metric, tuple(ours), seed) - bootstrap(metric, tuple(theirs), seed), ddof=1))
    spread = float(stats.t.ppf(0.975, seeds - 1)) * float(differences.std(ddof=1)) / np.sqrt(seeds)
    half = float(np.hypot(spread, 1.96 * error))
    return Lift(metric, mean, mean - half, mean + half, seeds)


@lru_cache(maxsize=64)
def bootstrap(metric: str, arm: tuple[Predictions, ...], seed: int) -> np.ndarray:
    """The seed-averaged metric on ``DRAWS`` resamples of the report rows, (DRAWS,). The same seed, the same rows."""
    rows = int(arm[0].rows.max()) + 1
    draws = np.random.default_rng(seed).integers(rows, size=(DRAWS, rows))
    per_seed = np.stack([resampled(metric, answers, draws) for answers in arm])             # (seeds, DRAWS)
    return np.asarray(per_seed.mean(axis=0))
