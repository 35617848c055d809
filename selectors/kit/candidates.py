"""Mixtures that a search may try next: sparse draws, mixtures around a good one, and the best by any measure.

Most tasks do not help, so most mixtures that are worth trying hold few of them: the number of auxiliaries is drawn
log-uniformly. Half of the draws give the primary a share drawn uniformly, so that the mixtures a small primary needs
are among them; in the other half it is one task of the Dirichlet's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from auxtune.selectors.kit.mixtures import RepeatCap, drop_small_shares
from auxtune.selectors.protocol import Problem

_STEPS = (0.5, 0.2, 0.08)  # the part of a mixture that goes to a single task
_KEPT = (0.0, 0.5)  # what is left of a task's share that is cut
_FACTORS = (0.2, 0.5, 1.0)  # standard deviations of the logarithms of what all shares are multiplied with
_VARIED = 20  # mixtures for each of these
_WEAKEST, _STRONGEST = 0.5, 8.0  # range of the Dirichlet's concentration
_POOL = 300  # draws from which the most distant is taken
_DRAWN = 600  # fresh draws from which the search for the best begins
REFINED = 3  # mixtures whose neighbours are looked at
_ROUNDS = 4  # of neighbours of the best mixtures


@dataclass(frozen=True)
class Candidates:
    """The source of mixtures of ``tasks`` tasks.

    ``primary`` is the place of the task to win, ``None`` where a score of the mixture is to be won, and ``floor`` the
    least share that task gets; ``cap`` limits how often rows are repeated.
    """

    tasks: int
    primary: int | None
    floor: float
    cap: RepeatCap | None = None

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Mixtures, (count, tasks)."""
        others = self.tasks - (self.primary is not None)
        sizes = np.exp(rng.uniform(0.0, np.log(others + 1), count)).astype(int)
        places = rng.random((count, self.tasks))
        if self.primary is not None:
            places[:, self.primary] = 2.0  # drawn apart
        chosen = places.argsort(axis=1).argsort(axis=1) < sizes[:, None]
        strength = np.exp(rng.uniform(np.log(_WEAKEST), np.log(_STRONGEST), count))
        parts = rng.gamma(np.repeat(strength[:, None], self.tasks, axis=1)) + 1e-12  # of a Dirichlet, before scaling
        own = rng.random(count)
        if self.primary is None:
            return self.limit(_scale(parts * chosen))
        apart = rng.random(count) < 0.5
        mixed = parts * chosen
        mixed[:, self.primary] = np.where(apart, 0.0, parts[:, self.primary])
        shares = _scale(mixed) * np.where(apart, 1 - own, 1.0)[:, None]
        shares[:, self.primary] += np.where(apart, own, 0.0)
        return self.limit(shares)

    def draw_far(self, rng: np.random.Generator, known: np.ndarray) -> np.ndarray:
        """The draw, (tasks,), of many that is farthest, by Hellinger's distance, from all of ``known``, (n, tasks)."""
        return find_farthest(self.draw(rng, _POOL), known)

    def list_simple(self) -> np.ndarray:
        """Mixtures of one task, of the primary and one other, and of all alike, (m, tasks)."""
        corners = np.eye(self.tasks)
        rows = [np.full((1, self.tasks), 1 / self.tasks)]
        if self.primary is None:
            rows.append(corners)
        else:
            own = corners[self.primary]
            rows.append(own[None])
            others = np.delete(corners, self.primary, axis=0)
            rows += [part * own + (1 - part) * others for part in (0.25, 0.5, 0.75)]
        return self.limit(np.concatenate(rows))

    def draw_neighbours(self, mixture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Mixtures, (m, tasks), around one, (tasks,): a task has more or less, or all shares are varied by factors."""
        more = [(1 - step) * mixture + step * np.eye(self.tasks) for step in _STEPS]
        present = np.flatnonzero(mixture)
        less = []
        for kept in _KEPT if len(present) > 1 else ():
            cut = np.repeat(mixture[None], len(present), axis=0)
            cut[np.arange(len(present)), present] *= kept
            less.append(cut / cut.sum(axis=1, keepdims=True))
        factors = np.exp(
            np.repeat(_FACTORS, _VARIED)[:, None] * rng.standard_normal((len(_FACTORS) * _VARIED, self.tasks))
        )
        return self.limit(np.concatenate([*more, *less, _scale(mixture * factors)]))

    def find_best(
        self,
        value: Callable[[np.ndarray], np.ndarray],
        tried: np.ndarray,
        leaders: np.ndarray,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, float]:
        """The mixture, (tasks,), of the largest ``value``, (m, tasks) -> (m,), and that value.

        A local search: among what was ``tried``, (n, tasks), simple and drawn mixtures and neighbours of the
        ``leaders``, then among neighbours of the best of these.
        """
        near = [self.draw_neighbours(leader, rng) for leader in leaders]
        known = tried if self.cap is None else self.cap.apply(tried)
        pool = np.concatenate([known, self.list_simple(), self.draw(rng, _DRAWN), *near])
        values = value(pool)
        for _ in range(_ROUNDS):
            best = np.argsort(-values, kind="stable")[:REFINED]
            moved = np.concatenate([self.draw_neighbours(mixture, rng) for mixture in pool[best]])
            pool = np.concatenate([pool[best], moved])
            values = np.r_[values[best], value(moved)]
        at = int(np.argmax(values))
        return pool[at], float(values[at])

    def limit(self, shares: np.ndarray) -> np.ndarray:
        """``shares``, (m, tasks), with the primary's raised to the floor, no share too small for a step, capped."""
        if self.primary is not None:
            own = shares[:, self.primary]
            others = 1 - own
            raised = np.maximum(own, self.floor)
            factor = (1 - raised) / np.where(others > 0, others, 1.0)
            shares = shares * factor[:, None]
            shares[:, self.primary] = raised
        kept = drop_small_shares(shares)
        return kept if self.cap is None else self.cap.apply(kept)


def _scale(parts: np.ndarray) -> np.ndarray:
    """Rows, (m, tasks), that sum to 1 each, 0 where there is nothing to scale."""
    total = parts.sum(axis=1, keepdims=True)
    scaled: np.ndarray = parts / np.where(total > 0, total, 1.0)
    return scaled


def find_farthest(mixtures: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The mixture, (K,), of some, (m, K), that is farthest by Hellinger's distance from all of ``known``, (n, K)."""
    likeness = np.sqrt(mixtures) @ np.sqrt(known).T
    farthest: np.ndarray = mixtures[int(np.argmin(likeness.max(axis=1)))]
    return farthest


def find_nearest(mixtures: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The mixture, (K,), of some, (m, K), that is nearest by Hellinger's distance to one, (K,)."""
    nearest: np.ndarray = mixtures[int(np.argmax(np.sqrt(mixtures) @ np.sqrt(wanted)))]
    return nearest


def build_candidates(problem: Problem, min_primary: float, cap: RepeatCap | None = None) -> Candidates:
    """The candidates of a problem; its primary, if any, gets at least ``min_primary``."""
    place = None if problem.primary is None else problem.names.index(problem.primary)
    return Candidates(len(problem.tasks), place, min_primary, cap)


def name_usual(problem: Problem) -> dict[str, np.ndarray]:
    """The mixtures, each (K,), that an answer should beat, by what a line calls them: the primary alone, all alike."""
    count = len(problem.tasks)
    usual = {"all tasks": np.full(count, 1 / count)}
    if problem.primary is not None:
        usual = {f"{problem.primary} alone": np.eye(count)[problem.names.index(problem.primary)], **usual}
    return usual


def list_usual(problem: Problem) -> Sequence[np.ndarray]:
    """What people train without a search, each (K,): the primary alone, all tasks alike, all by the root of their rows.

    The last is left out where it is nearly the same as all tasks alike.
    """
    usual = list(name_usual(problem).values())
    equal = usual[-1]
    roots = np.sqrt([max(task.train_rows, 1) for task in problem.tasks])
    by_size = roots / roots.sum()
    differs = float(np.abs(by_size - equal).sum()) / 2 > 0.1
    return [*usual, by_size] if differs else usual
