"""Mixtures as points of a cube, so that a search that knows only cubes can look for shares.

A mixture of K tasks lies on a simplex. It is broken like a stick, the primary first: each coordinate is the part of
what is left that goes to the next task, sent through the quantiles of a Beta distribution, so that a uniform point of
the cube [0, 1]^(K-1) is a uniform mixture. With a ``floor``, the primary is certain of that share and the rest is
mixed. The stick depends on the order of the tasks, the distribution does not: the coordinates of a mixture change with
the order, and with them what a search with few trials finds, but every order reaches every mixture alike.
"""

from __future__ import annotations

import numpy as np

SMALLEST = 0.02  # shares under it become 0: less is no training at all


def to_shares(point: np.ndarray, floor: float) -> np.ndarray:
    """The shares, (K,) and summing to 1, of a ``point`` of the cube, (K-1,). The first share is at least ``floor``."""
    left = np.arange(len(point), 0, -1)  # tasks that still wait after each break
    taken = 1 - (1 - point) ** (1 / left)  # quantile of Beta(1, left)
    rest = np.concatenate([[1.0], np.cumprod(1 - taken)])
    mixed = rest * np.concatenate([taken, [1.0]])
    shares = (1 - floor) * mixed
    shares[0] += floor
    shares[1:][shares[1:] < SMALLEST] = 0.0
    kept: np.ndarray = shares / shares.sum()
    return kept


def to_point(shares: np.ndarray, floor: float, free: np.ndarray | None = None) -> np.ndarray:
    """The point of the cube, (K-1,), whose mixture has these ``shares``, (K,).

    A first share below ``floor`` (executed shares are rounded) counts as the floor. Where nothing is left to break, a
    coordinate means nothing and is that of ``free``, (K-1,), by default 0: a search that asked for a mixture must find
    its score at the point where it asked.
    """
    mixed = shares.astype(float)
    mixed[0] = max(mixed[0] - floor, 0.0)
    mixed /= max(mixed.sum(), 1e-12)  # the floor may be all there is
    before = 1 - np.concatenate([[0.0], np.cumsum(mixed)])[: len(mixed) - 1]
    breakable = before > 1e-9
    taken = np.divide(mixed[:-1], before, out=np.zeros(len(mixed) - 1), where=breakable)
    left = np.arange(len(taken), 0, -1)
    point: np.ndarray = 1 - (1 - np.clip(taken, 0.0, 1.0)) ** left
    return point if free is None else np.where(breakable, point, free)
