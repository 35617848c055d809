"""Scores of mixtures that are known by a formula, so that the best mixture is known too: what a search should find.

Task 0 is the primary. A surface is drawn by its kind, number of tasks and seed; ``regret`` is 0 at its best mixture and
1 at all tasks alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Score = Callable[[np.ndarray], np.ndarray]  # shares (m, K) -> (m,)

# Kind and number of tasks; "flat" has no best mixture: a search should end early there.
SURFACES = (
    ("interior", 5),
    ("interior", 9),
    ("edge", 9),
    ("corner", 9),
    ("saturating", 5),
    ("saturating", 9),
    ("sparse", 20),
    ("sparse", 60),
    ("pairs", 9),
    ("alone", 9),
    ("flat", 9),
)
_ROUNDS = 400  # of the search for the best mixture


@dataclass(frozen=True)
class Surface:
    """One surface: its score, its best mixture, (K,), and the scores of that and of all tasks alike."""

    score: Score
    best: np.ndarray
    highest: float
    equal: float

    @property
    def gap(self) -> float:
        """How much there is to gain over all tasks alike."""
        return self.highest - self.equal

    def measure_regret(self, shares: np.ndarray) -> float:
        """What a mixture, (K,), misses, in units of the gap; 0 where there is none."""
        missed = self.highest - float(self.score(shares[None])[0])
        return missed / self.gap if self.gap > 1e-12 else 0.0


def build_surface(kind: str, tasks: int, seed: int) -> Surface:
    """A surface of one kind. Raises ``ValueError`` for an unknown one."""
    rng = np.random.default_rng([seed, tasks, sum(map(ord, kind))])
    helpers = 1 + rng.permutation(tasks - 1)
    builders: dict[str, Callable[[], tuple[Score, np.ndarray | None]]] = {
        "interior": lambda: _build_peak(rng.dirichlet(np.full(tasks, 8.0)), rng),
        "edge": lambda: _build_peak(_place_pair(tasks, helpers[0], rng.uniform(0.35, 0.7)), rng),
        "corner": lambda: _build_peak(_place_pair(tasks, helpers[0], 0.1), rng),
        "saturating": lambda: (_build_returns(tasks, helpers[: max(2, tasks // 3)], 0.0, rng), None),
        "sparse": lambda: (_build_returns(tasks, helpers[:3], 1.0, rng), None),
        "pairs": lambda: (_build_pairs(tasks, helpers[:4], rng), None),
        "alone": lambda: _build_harm(tasks, rng),
        "flat": lambda: ((lambda shares: np.zeros(len(shares))), np.full(tasks, 1 / tasks)),
    }
    if kind not in builders:
        raise ValueError(f"the kind of a surface must be one of {', '.join(builders)}, got {kind!r}")
    score, best = builders[kind]()
    best = _find_best(score, tasks, rng) if best is None else best
    highest, equal = score(np.stack([best, np.full(tasks, 1 / tasks)])).tolist()
    return Surface(score, best, highest, equal)


def _place_pair(tasks: int, helper: int, share: float) -> np.ndarray:
    """The primary with ``share``, one helper with the rest."""
    best = np.zeros(tasks)
    best[0], best[helper] = share, 1 - share
    return best


def _build_peak(best: np.ndarray, rng: np.random.Generator) -> tuple[Score, np.ndarray]:
    """A hill around ``best``, in shares or in their roots, steeper along some tasks than along others."""
    power, steep = float(rng.choice([0.5, 1.0])), rng.uniform(0.5, 1.5, len(best))
    return (lambda shares: -(steep * (shares**power - best**power) ** 2).sum(axis=1)), best


def _build_returns(tasks: int, helpers: np.ndarray, harm: float, rng: np.random.Generator) -> Score:
    """The primary and its helpers help less and less with their shares; others cost up to ``harm`` for each share."""
    gain, cost = np.zeros(tasks), rng.uniform(0, harm, tasks)
    scale = np.exp(rng.uniform(np.log(0.05), np.log(0.3), tasks))
    gain[0], gain[helpers] = 1.0, rng.uniform(0.3, 0.8, len(helpers))
    cost[gain > 0] = 0.0
    return lambda shares: (gain * (1 - np.exp(-shares / scale))).sum(axis=1) - shares @ cost


def _build_pairs(tasks: int, four: np.ndarray, rng: np.random.Generator) -> Score:
    """Two auxiliaries cost something alone and help together, two others hurt together, the rest cost something."""
    cost = rng.uniform(0, 0.5, tasks)
    cost[0], cost[four[:2]] = 0.0, 0.3

    def score(shares: np.ndarray) -> np.ndarray:
        seen = 1 - np.exp(-shares / 0.15)
        together: np.ndarray = seen[:, four[0]] * seen[:, four[1]] - seen[:, four[2]] * seen[:, four[3]]
        return together + 1 - np.exp(-shares[:, 0] / 0.2) - shares @ cost

    return score


def _build_harm(tasks: int, rng: np.random.Generator) -> tuple[Score, np.ndarray]:
    """Every auxiliary hurts, by its share or by its root."""
    cost, power = rng.uniform(0.1, 1.0, tasks), float(rng.choice([0.5, 1.0]))
    cost[0] = 0.0
    return (lambda shares: -(shares**power @ cost)), np.eye(tasks)[0]


def _find_best(score: Score, tasks: int, rng: np.random.Generator) -> np.ndarray:
    """The best mixture, (K,), by a local search that exchanges ever other parts of the best ones."""
    pool = np.concatenate([np.eye(tasks), rng.dirichlet(np.full(tasks, 0.3), 2000)])
    for _ in range(_ROUNDS):
        top = pool[np.argsort(-score(pool))[:6]]
        step = float(np.exp(rng.uniform(np.log(1e-3), np.log(0.5))))
        others = np.concatenate([np.eye(tasks), rng.dirichlet(np.full(tasks, 0.3), 30)])
        moved = ((1 - step) * top[:, None] + step * others).reshape(-1, tasks)
        less = np.repeat(top[:1], tasks, axis=0)
        less[np.arange(tasks), np.arange(tasks)] *= rng.choice([0.0, 0.5, 0.9])
        left = less[less.sum(axis=1) > 1e-9]
        pool = np.concatenate([top, moved, left / left.sum(axis=1, keepdims=True)])
    best: np.ndarray = pool[int(np.argmax(score(pool)))]
    return best
