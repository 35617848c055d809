"""Values recorded with several seeds."""

from __future__ import annotations

import numpy as np


def mean_over_seeds(values: np.ndarray) -> np.ndarray:
    """Means over the last axis of what is known; ``nan`` where no seed has a value."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=-1)
    mean: np.ndarray = np.divide(total, known.sum(axis=-1), out=np.full(total.shape, np.nan), where=known.any(axis=-1))
    return mean
