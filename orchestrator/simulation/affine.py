"""Whether one column of numbers is another one on a different scale."""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr

_FEWEST, _MANY, _LINES, _TOLERANCE = 4, 8, 300, 1e-3


def copied(first: np.ndarray, second: np.ndarray) -> float:
    """The largest share of points, (points,) each, on one line, to a thousandth of the spread; 0 for fewer than 4.

    Of fewer than 8 all must be on it, or it is 0: two points always are.

    Lines through pairs of points are tried, so that it is found also where other rows are of another origin.
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


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Spearman's coefficient of the points known of both; ``None`` for fewer than 3, or where one is constant."""
    known = np.isfinite(first) & np.isfinite(second)
    x, y = first[known], second[known]
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(spearmanr(x, y).statistic)
