"""Shares of training: how much of a run each task gets.

A share is a fraction of the optimisation steps. A sampling rule gives shares to a subset of tasks; a cycle turns
shares into whole numbers, so that training can execute them exactly: c steps of every block of sum(c) train a task.

How a cycle is chosen. Every length up to the longest is apportioned by largest remainder (Hamilton's method), with at
least one step for the primary. The length wins whose shares come nearest to those asked for, counted as the share of
steps that train the wrong task, half of sum |c/n - w|; of equals the shortest. Hence equal shares give one step each,
a ratio 2:4 becomes 1:2, and what a cycle executes is reproduced by asking for it again. A task whose share is small
beside 1/n may get no step at all: the executed share is then 0, and the caller records that one.

Mixtures as points of a cube, so that a search that knows only cubes can look for shares.

A mixture of K tasks lies on a simplex. It is broken like a stick, the primary first: each coordinate is the part of
what is left that goes to the next task, sent through the quantiles of a Beta distribution, so that a uniform point of
the cube [0, 1]^(K-1) is a uniform mixture. With a ``floor``, the primary is certain of that share and the rest is
mixed. The stick depends on the order of the tasks, the distribution does not: the coordinates of a mixture change with
the order, and with them what a search with few trials finds, but every order reaches every mixture alike.

Mixtures to try: Dirichlet draws around the tasks' sizes, and the best ones by a regression, apart from each other.

Source of the draws: Q. Liu et al., "RegMix", 2024, https://arxiv.org/abs/2407.01492: a Dirichlet around the square root
of the sizes, whose strength, the sum of its numbers, is drawn on a log scale from 0.1 to 5, so that many mixtures are
nearly one task and some mix several: the ends teach most of what a task is worth.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from auxtune.selectors.protocol import Problem

_DIGITS = 9  # a smaller difference is float noise, not intent
_POWERS = {"equal": 0.0, "proportional": 1.0}


def count_cycle(weights: Mapping[str, float], primary: str | None, longest: int | None = None) -> dict[str, int]:
    """Steps of each task in one cycle, together at most ``longest``, by default ``max(20, 2 * tasks)``.

    ``weights`` need not sum to 1. ``primary`` gets at least one step, also where its weight is 0.

    >>> count_cycle({"rte": 0.2, "qqp": 0.4, "mnli": 0.4}, "rte")
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


def share_by_sampling(rule: str, rows: Mapping[str, int], tasks: Sequence[str]) -> dict[str, float]:
    """Shares of ``tasks``: ``equal``, ``proportional`` to their training rows, or to rows to a power, ``size^0.5``.

    >>> share_by_sampling("size^0.5", {"a": 900, "b": 100}, ["a", "b"])
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


_WEAKEST, _STRONGEST = 0.1, 5.0
# Of the local search: the part of a mixture that is exchanged.
_STEPS = (0.5, 0.3, 0.2, 0.1, 0.1, 0.05, 0.05, 0.02, 0.02, 0.01)
_KEPT = 4  # mixtures that a step of the search goes on from


@dataclass(frozen=True)
class Draws:
    """Where mixtures come from: a prior over the tasks, (K,), summing to 1, and the least share of each, (K,)."""

    prior: np.ndarray
    floor: np.ndarray

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Mixtures, (count, K)."""
        strengths = np.exp(rng.uniform(np.log(_WEAKEST), np.log(_STRONGEST), count))
        return self.legal(np.stack([rng.dirichlet(strength * self.prior) for strength in strengths]))

    def legal(self, shares: np.ndarray) -> np.ndarray:
        """``shares``, (m, K), raised to the floor, and without those that a study's cycle would round away."""
        return self._cut(self.floor + (1 - self.floor.sum()) * shares)

    def _cut(self, shares: np.ndarray) -> np.ndarray:
        """``shares``, (m, K), without those of under half a step of the longest cycle."""
        seen = (shares >= 0.5 / max(20, 2 * shares.shape[1])) | (self.floor > 0)
        # Where nearly all are so small there is no telling which to leave out.
        kept = np.where(seen | ((shares * seen).sum(axis=1, keepdims=True) < 0.5), shares, 0.0)
        cut: np.ndarray = kept / kept.sum(axis=1, keepdims=True)
        return cut

    def best(
        self, value: Callable[[np.ndarray], np.ndarray], known: np.ndarray, count: int, rng: np.random.Generator
    ) -> np.ndarray:
        """The ``count`` mixtures of largest ``value``, (m, K) -> (m,), no two closer than a twentieth of the steps.

        Searched among fresh draws and the mixtures ``known``, (n, K), and by exchanging ever smaller parts of the best
        of them for a single task or a fresh draw.
        """
        pool = np.concatenate([known, self.draw(rng, 2000)])
        values = value(pool)
        corners = self.legal(np.eye(len(self.prior)))
        for step in _STEPS:
            starts = pool[np.argsort(-values, kind="stable")[:_KEPT]]
            others = np.concatenate([corners, self.draw(rng, 32)])
            moved = self._cut(((1 - step) * starts[:, None] + step * others).reshape(-1, len(self.prior)))
            pool, values = np.concatenate([pool, moved]), np.concatenate([values, value(moved)])
        chosen: list[np.ndarray] = []
        for at in np.argsort(-values, kind="stable"):
            if all(np.abs(pool[at] - other).sum() / 2 > 0.05 for other in chosen):
                chosen.append(pool[at])
            if len(chosen) == count:
                break
        return np.stack(chosen)


def make_draws(problem: Problem, min_primary: float) -> Draws:
    """Draws around the square roots of the training rows; a primary has at least ``min_primary``."""
    roots = np.sqrt([max(task.train_rows, 1) for task in problem.tasks])
    floor = np.array([min_primary if name == problem.primary else 0.0 for name in problem.names])
    return Draws(roots / roots.sum(), floor)
