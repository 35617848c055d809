"""Mixtures to try: Dirichlet draws around the tasks' sizes, and the best ones by a regression, apart from each other.

Source of the draws: Q. Liu et al., "RegMix", 2024, https://arxiv.org/abs/2407.01492: a Dirichlet around the square root
of the sizes, whose strength, the sum of its numbers, is drawn on a log scale from 0.1 to 5, so that many mixtures are
nearly one task and some mix several: the ends teach most of what a task is worth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from auxtune.selectors.protocol import Problem

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


def draws_of(problem: Problem, min_primary: float) -> Draws:
    """Draws around the square roots of the training rows; a primary has at least ``min_primary``."""
    roots = np.sqrt([max(task.train_rows, 1) for task in problem.tasks])
    floor = np.array([min_primary if name == problem.primary else 0.0 for name in problem.names])
    return Draws(roots / roots.sum(), floor)
