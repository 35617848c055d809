"""Shares of training, the fraction of the optimisation steps that each task gets: as cycles and as draws, and capped.

**Cycles** (``count_cycle``). A sampling rule gives shares to a subset of tasks; a cycle turns shares into whole
numbers, so that training can execute them exactly: of every sum(c) steps, c train a given task. Every length up to the
longest is apportioned by largest remainder (Hamilton's method), with at least one step for the primary. The length wins
whose shares are closest to the requested ones, measured as the share of steps that train the wrong task,
½ Σ |c/n - w|; on ties the shortest. So equal shares give one step each, a ratio 2:4 becomes 1:2, and asking for the
executed shares gives the same cycle. A task whose share is small beside 1/n may get no step at all: its executed share
is then 0, and that is what the caller records.

**Draws** (``Draws``): mixtures to try, and the best ones by a regression, kept apart from each other. Source: Q. Liu et
al., "RegMix", 2024, https://arxiv.org/abs/2407.01492: a Dirichlet around the square root of the sizes, whose strength
(the sum of its parameters) is drawn on a log scale from 0.1 to 5. Many mixtures are then nearly one task, and some mix
several; the extremes say most about the worth of a task. There the sizes are those of corpora that are to be used up;
a primary is often the smallest task, and its share the one that matters most. So half of the draws, as those of
``candidates.py``, give it a share drawn uniformly, and the Dirichlet is of the other tasks.

**Repeats** (``RepeatCap``): how often a training may pass over the rows of a task. The code of RegMix and of its
successor olmix bounds this too, by drawing again what exceeds it; here the excess goes to tasks that have room, so that
any mixture can be made to fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from auxtune.selectors.protocol import Problem

_DIGITS = 9  # a smaller difference is rounding, not intent
_POWERS = {"equal": 0.0, "proportional": 1.0}


def count_cycle(weights: Mapping[str, float], primary: str | None, longest: int | None = None) -> dict[str, int]:
    """Steps of each task in one cycle, together at most ``longest``, by default ``find_longest_cycle``.

    ``weights`` need not sum to 1. ``primary`` gets at least one step, even if its weight is 0.

    >>> count_cycle({"rte": 0.2, "qqp": 0.4, "mnli": 0.4}, "rte")
    {'rte': 1, 'qqp': 2, 'mnli': 2}

    Raises ``ValueError`` for weights that are negative, not finite or all zero, for an absent primary, for a
    ``longest`` below 1.
    """
    shares = _scale_weights(weights)  # (tasks,)
    if primary is not None and primary not in weights:
        raise ValueError(f"a cycle must train the primary {primary!r}, got weights for {', '.join(weights)}")
    if longest is None:
        longest = find_longest_cycle(len(weights))
    if longest < 1:
        raise ValueError(f"a cycle must have at least 1 step, got {longest}")
    first = None if primary is None else list(weights).index(primary)
    cycles = [_allocate_steps(shares, length, first) for length in range(1, longest + 1)]
    best = min(cycles, key=lambda counts: round(_measure_misplaced(counts, shares), _DIGITS))
    return dict(zip(weights, best.tolist(), strict=True))


def share_by_cycle(counts: Mapping[str, int]) -> dict[str, float]:
    """The shares that a cycle of ``counts`` steps trains; they sum to 1."""
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
    power = _read_power(rule)
    sizes = {task: rows[task] ** power for task in tasks}
    total = sum(sizes.values())
    return {task: size / total for task, size in sizes.items()}


def _read_power(rule: str) -> float:
    """The power of a task's rows to which its share is proportional."""
    if rule in _POWERS:
        return _POWERS[rule]
    found = re.fullmatch(r"size\^(\d*\.?\d+)", rule)
    if found is None:
        raise ValueError(f"sampling must be equal, proportional or size^a with a >= 0, such as size^0.5, got {rule!r}")
    return float(found[1])


def _scale_weights(weights: Mapping[str, float]) -> np.ndarray:
    values: np.ndarray = np.array(list(weights.values()), dtype=float)
    if not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise ValueError(f"weights must be finite and at least 0, one of them above 0; got {dict(weights)}")
    shares: np.ndarray = values / values.sum()
    return shares


def _allocate_steps(shares: np.ndarray, length: int, primary: int | None) -> np.ndarray:
    """Whole steps, (tasks,), that sum to ``length``: largest remainder, ties to the task that comes first."""
    quotas = np.round(shares * length, _DIGITS)
    counts = np.floor(quotas).astype(int)
    by_remainder = np.argsort(np.round(counts - quotas, _DIGITS), kind="stable")
    counts[by_remainder[: length - counts.sum()]] += 1
    if primary is not None and counts[primary] == 0:
        surplus = np.where(counts > 0, counts - quotas, -np.inf)
        counts[surplus.argmax()] -= 1  # the primary's step comes from the task with the largest surplus
        counts[primary] = 1
    return counts


def _measure_misplaced(counts: np.ndarray, shares: np.ndarray) -> float:
    return float(np.abs(counts / counts.sum() - shares).sum() / 2)


_WEAKEST, _STRONGEST = 0.1, 5.0  # range of the Dirichlet's strength
# The part of a mixture that each step of the local search exchanges.
_STEPS = (0.5, 0.3, 0.2, 0.1, 0.1, 0.05, 0.05, 0.02, 0.02, 0.01)
_KEPT = 4  # mixtures from which a step of the search continues


def find_longest_cycle(tasks: int) -> int:
    """The steps of the longest cycle of that many ``tasks``, where a study does not say otherwise."""
    return max(20, 2 * tasks)


def find_least_share(tasks: int) -> float:
    """Half a step of a study's longest cycle, by default: a smaller share of that many ``tasks`` is hardly trained."""
    return 0.5 / find_longest_cycle(tasks)


def drop_small_shares(shares: np.ndarray, always: np.ndarray | bool = False) -> np.ndarray:
    """``shares``, (m, K), without those below half a step of the longest cycle, but for tasks kept ``always``, (K,)."""
    seen = (shares >= find_least_share(shares.shape[1])) | always
    # If nearly all are that small, dropping them would leave too little of the mixture.
    kept = np.where(seen | ((shares * seen).sum(axis=1, keepdims=True) < 0.5), shares, 0.0)
    cut: np.ndarray = kept / kept.sum(axis=1, keepdims=True)
    return cut


@dataclass(frozen=True)
class Draws:
    """The source of mixtures: a prior over the tasks, (K,), summing to 1, and the least share of each, (K,).

    ``primary`` is the place of the task to win, if there is one; ``cap`` limits how often rows are repeated.
    """

    prior: np.ndarray
    floor: np.ndarray
    primary: int | None = None
    cap: RepeatCap | None = None

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Mixtures, (count, K)."""
        strengths = np.exp(rng.uniform(np.log(_WEAKEST), np.log(_STRONGEST), count))
        shares = np.stack([rng.dirichlet(strength * self.prior) for strength in strengths])
        if self.primary is not None and len(self.prior) > 1:
            others = np.delete(self.prior, self.primary)
            others /= others.sum()
            own = rng.random(count)
            for at in np.flatnonzero(rng.random(count) < 0.5):
                rest = (1 - own[at]) * rng.dirichlet(strengths[at] * others)
                shares[at] = np.insert(rest, self.primary, own[at])
        return self.raise_to_floor(shares)

    def raise_to_floor(self, shares: np.ndarray) -> np.ndarray:
        """``shares``, (m, K), raised to the floor and limited."""
        return self.limit(self.floor + (1 - self.floor.sum()) * shares)

    def limit(self, shares: np.ndarray) -> np.ndarray:
        """``shares``, (m, K), without those below half a step of the longest cycle, and under the cap."""
        kept = drop_small_shares(shares, self.floor > 0)
        return kept if self.cap is None else self.cap.apply(kept)

    def find_best(
        self, value: Callable[[np.ndarray], np.ndarray], known: np.ndarray, count: int, rng: np.random.Generator
    ) -> np.ndarray:
        """The ``count`` mixtures of largest ``value``, (m, K) -> (m,), no two closer than a twentieth of the steps.

        A local search: it starts from fresh draws and the mixtures ``known``, (n, K), and exchanges ever smaller parts
        of the best of them for a single task or a fresh draw.
        """
        pool = np.concatenate([known if self.cap is None else self.cap.apply(known), self.draw(rng, 2000)])
        values = value(pool)
        corners = self.raise_to_floor(np.eye(len(self.prior)))
        for step in _STEPS:
            starts = pool[np.argsort(-values, kind="stable")[:_KEPT]]
            others = np.concatenate([corners, self.draw(rng, 32)])
            moved = self.limit(((1 - step) * starts[:, None] + step * others).reshape(-1, len(self.prior)))
            pool, values = np.concatenate([pool, moved]), np.concatenate([values, value(moved)])
        chosen: list[np.ndarray] = []
        for at in np.argsort(-values, kind="stable"):
            if all(np.abs(pool[at] - other).sum() / 2 > 0.05 for other in chosen):
                chosen.append(pool[at])
            if len(chosen) == count:
                break
        return np.stack(chosen)


def build_draws(problem: Problem, min_primary: float, max_epochs: float | None = None) -> Draws:
    """Draws around the square roots of the training rows; a primary gets at least ``min_primary``.

    ``max_epochs`` limits how often rows are repeated. Raises what ``build_repeat_cap`` raises.
    """
    roots = np.sqrt([max(task.train_rows, 1) for task in problem.tasks])
    floor = np.array([min_primary if name == problem.primary else 0.0 for name in problem.names])
    primary = None if problem.primary is None else problem.names.index(problem.primary)
    cap = None if max_epochs is None else build_repeat_cap(problem, max_epochs, min_primary)
    return Draws(roots / roots.sum(), floor, primary, cap)


@dataclass(frozen=True)
class RepeatCap:
    """The most that each task may get if no row is to be repeated more often than is asked.

    ``limits``, (K,), are shares; where trainings have the examples of the primary in common, they are multiples of its
    share (``is_relative``). ``primary`` is its place, if there is one.
    """

    limits: np.ndarray
    primary: int | None = None
    is_relative: bool = False

    def apply(self, shares: np.ndarray) -> np.ndarray:
        """Mixtures, (m, K), no task above its limit: the excess goes to the other tasks of the mixture in proportion.

        Where all of these are full, the rest goes to tasks that are not in it, in proportion to their limits; where
        limits are multiples of the primary's share, to the primary.
        """
        if self.is_relative and self.primary is not None:
            own = np.maximum(shares[:, [self.primary]], 1e-9)
            parts = np.minimum(shares / own, self.limits)
            parts[:, self.primary] = 1.0
            related: np.ndarray = parts / parts.sum(axis=1, keepdims=True)
            return related
        capped: np.ndarray = np.minimum(shares, self.limits)
        for _ in range(shares.shape[1]):  # each round fills a task or ends
            left = 1 - capped.sum(axis=1, keepdims=True)
            room = np.where(capped < self.limits, capped, 0.0)
            free = np.where(room.any(axis=1, keepdims=True), room, self.limits - capped)
            total = free.sum(axis=1, keepdims=True)
            capped = np.minimum(capped + left * free / np.where(total > 0, total, 1.0), self.limits)
        return capped

    def round_to_cycle(self, shares: np.ndarray) -> np.ndarray:
        """A mixture, (K,), under the cap also after a cycle has rounded it: the shares of the nearest such cycle.

        The cycle is at most as long as a study's is by default; asked for these shares it gives them. Where limits are
        too low for a step of any such cycle, the mixture is only capped.
        """
        capped: np.ndarray = self.apply(shares[None])[0]
        lengths = range(1, find_longest_cycle(len(shares)) + 1)
        filled = (self._fill_cycle(capped, length) for length in lengths)
        cycles = [counts for counts in filled if counts is not None]
        if not cycles:
            return capped
        best = min(cycles, key=lambda counts: round(_measure_misplaced(counts, capped), _DIGITS))
        rounded: np.ndarray = best / best.sum()
        return rounded

    def _fill_cycle(self, shares: np.ndarray, length: int) -> np.ndarray | None:
        """Steps, (K,), of a cycle of ``length`` near ``shares``, no task above its limit; ``None`` where none is left.

        A step too many goes to the task of the mixture that lacks most of its share.
        """
        primary = None if self.primary is None or shares[self.primary] == 0 else self.primary
        counts = _allocate_steps(shares, length, primary)
        lacking = np.where(shares > 0, shares * length, -float(length))
        for _ in range(length):
            most = np.floor(self._limit_steps(counts) + 10.0**-_DIGITS)
            above, room = counts - most, np.where(counts < most, lacking - counts, -np.inf)
            if above.max() <= 0:
                return counts if primary is None or counts[primary] else None
            if np.isneginf(room.max()):
                return None
            counts[above.argmax()] -= 1
            counts[room.argmax()] += 1
        return None

    def _limit_steps(self, counts: np.ndarray) -> np.ndarray:
        """The most steps of each task, (K,), in a cycle of ``counts``."""
        if not self.is_relative or self.primary is None:
            return np.asarray(self.limits * counts.sum())
        most = np.asarray(self.limits * counts[self.primary])
        most[self.primary] = np.inf
        return most


def build_repeat_cap(problem: Problem, max_epochs: float, min_primary: float) -> RepeatCap:
    """The cap that lets a training pass at most ``max_epochs`` times over the rows of each task.

    All batches count as full. The primary may have a share of ``min_primary`` all the same. The caller's cycle rounds
    shares afterwards, by up to half a step; a task that would get less than that is left out.
    Raises ``ValueError`` where the number of examples is unknown, and where all tasks together cannot fill a training.
    """
    examples = problem.examples or problem.primary_examples
    if examples is None:
        raise ValueError("max_epochs needs to know how long trainings are, and nothing is trained here; leave it out")
    rows = np.array([task.train_rows for task in problem.tasks])
    limits: np.ndarray = max_epochs * rows / examples
    place = None if problem.primary is None else problem.names.index(problem.primary)
    if problem.examples is None:
        return RepeatCap(limits, place, is_relative=place is not None)
    limits = np.where(limits < find_least_share(len(rows)), 0.0, np.minimum(limits, 1.0))
    if place is not None:
        limits[place] = max(min(max_epochs * rows[place] / examples, 1.0), min_primary)
    if limits.sum() < 1:
        raise ValueError(
            f"a training sees {examples:,} examples, of which all {rows.sum():,} training rows fill only "
            f"{limits.sum():.0%} with max_epochs {max_epochs:g}; raise it or take fewer steps"
        )
    return RepeatCap(limits, place)
