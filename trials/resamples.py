"""Arithmetic on many resamples at once. A resample is how often each row was drawn: ``times``, (resamples, rows)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_CELLS = 1 << 21  # of (resamples, elements) at a time: 16 MB for each array


def resample_mean(values: np.ndarray, rows: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The mean of ``values`` (elements,) in each resample, ``times`` (resamples, rows): (resamples,)."""
    count = times.shape[1]
    sums = np.bincount(rows, values, minlength=count), np.bincount(rows, minlength=count).astype(float)
    total, elements = (times @ each for each in sums)
    means: np.ndarray = np.divide(total, elements, out=np.zeros_like(total), where=elements > 0)
    return means


def sum_ties(values: np.ndarray, ties: np.ndarray) -> np.ndarray:
    """Sums of ``values``, (resamples, elements), from each of ``ties`` (groups,) to the next: (resamples, groups)."""
    return np.asarray(np.add.reduceat(values, ties, axis=1))


def split_resamples(resamples: int, elements: int) -> Iterator[slice]:
    """All resamples, in as many parts as keep an array of (resamples, elements) small."""
    size = max(1, _CELLS // max(1, elements))
    return (slice(start, start + size) for start in range(0, resamples, size))
