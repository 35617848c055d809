"""Shares of training: how much of a run each task gets.

A share is a fraction of the optimisation steps. A sampling rule gives shares to a subset of tasks; a cycle turns
shares into whole numbers, so that training can execute them exactly: c steps of every block of sum(c) train a task.

How a cycle is chosen. Every length up to the longest is apportioned by largest remainder (Hamilton's method), with at
least one step for the primary. The length wins whose shares come nearest to those asked for, counted as the share of
steps that train the wrong task, half of sum |c/n - w|; of equals the shortest. Hence equal shares give one step each,
a ratio 2:4 becomes 1:2, and what a cycle executes is reproduced by asking for it again. A task whose share is small
beside 1/n may get no step at all: the executed share is then 0, and the caller records that one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

_DIGITS = 9  # a smaller difference is float noise, not intent
_POWERS = {"equal": 0.0, "proportional": 1.0}


def cycle_counts(weights: Mapping[str, float], primary: str | None, longest: int | None = None) -> dict[str, int]:
    """Steps of each task in one cycle, together at most ``longest``, by default ``max(20, 2 * tasks)``.

    ``weights`` need not sum to 1. ``primary`` gets at least one step, also where its weight is 0.

    >>> cycle_counts({"rte": 0.2, "qqp": 0.4, "mnli": 0.4}, "rte")
    {'rte': 1, 'qqp': 2, 'mnli': 2}

    Raises ``ValueError`` for weights that are negative, not finite or all zero, for an absent primary, for a
    ``longest`` below 1.
    """
    shares = _normalised(weights)  # (tasks,)
    if primary is not None and primary not in weights:
        raise ValueError(f"a cycle must train the primary {primary!r}, got weights for {', '.join(weights)}")
    if longest is None:
        longest = max(20, 2 * len(weights))
    if longest < 1:
        raise ValueError(f"a cycle must have at least 1 step, got {longest}")
    first = None if primary is None else list(weights).index(primary)
    cycles = [_apportion(shares, length, first) for length in range(1, longest + 1)]
    best = min(cycles, key=lambda counts: round(_misplaced(counts, shares), _DIGITS))
    return dict(zip(weights, best.tolist(), strict=True))


def executed(counts: Mapping[str, int]) -> dict[str, float]:
    """The shares that a cycle trains; they sum to 1."""
    total = sum(counts.values())
    return {task: count / total for task, count in counts.items()}


def sampling_shares(rule: str, rows: Mapping[str, int], tasks: Sequence[str]) -> dict[str, float]:
    """Shares of ``tasks``: ``equal``, ``proportional`` to their training rows, or to rows to a power, ``size^0.5``.

    >>> sampling_shares("size^0.5", {"a": 900, "b": 100}, ["a", "b"])
    {'a': 0.75, 'b': 0.25}

    Raises ``ValueError`` for an unknown rule and for a task without training rows.
    """
    empty = [task for task in tasks if rows[task] < 1]
    if empty:
        raise ValueError(f"tasks to sample must have training rows, got none for {', '.join(empty)}")
    power = _power(rule)
    sizes = {task: rows[task] ** power for task in tasks}
    total = sum(sizes.values())
    return {task: size / total for task, size in sizes.items()}


def _power(rule: str) -> float:
    """The power of a task's rows that its share is proportional to."""
    if rule in _POWERS:
        return _POWERS[rule]
    found = re.fullmatch(r"size\^(\d*\.?\d+)", rule)
    if found is None:
        raise ValueError(f"sampling must be equal, proportional or size^a with a >= 0, such as size^0.5, got {rule!r}")
    return float(found[1])


def _normalised(weights: Mapping[str, float]) -> np.ndarray:
    values: np.ndarray = np.array(list(weights.values()), dtype=float)
    if not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise ValueError(f"weights must be finite and at least 0, one of them above 0; got {dict(weights)}")
    shares: np.ndarray = values / values.sum()
    return shares


def _apportion(shares: np.ndarray, length: int, primary: int | None) -> np.ndarray:
    """Whole steps, (tasks,), that sum to ``length``: largest remainder, ties to the task that comes first."""
    quotas = np.round(shares * length, _DIGITS)
    counts = np.floor(quotas).astype(int)
    by_remainder = np.argsort(np.round(counts - quotas, _DIGITS), kind="stable")
    counts[by_remainder[: length - counts.sum()]] += 1
    if primary is not None and counts[primary] == 0:
        surplus = np.where(counts > 0, counts - quotas, -np.inf)
        counts[surplus.argmax()] -= 1  # the primary's step is taken where most are too many
        counts[primary] = 1
    return counts


def _misplaced(counts: np.ndarray, shares: np.ndarray) -> float:
    return float(np.abs(counts / counts.sum() - shares).sum() / 2)
