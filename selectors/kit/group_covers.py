"""Which groups to serve by expectations of every group, and what one more training is expected to add.

A *cover* is a choice of networks within the budget that together serve every task, each task by the one that is best
for it; its value is the mean over the tasks. ``find_cover`` improves a cover step by step: it takes out one or two
networks and fills up again with what adds most. That takes milliseconds, where the exact programme of ``networks.py``
may take seconds with some hundreds of networks, so that covers can be found for many draws of what scores may be.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from auxtune.selectors.kit.group_process import GroupProcess, Points, list_points
from auxtune.selectors.kit.networks import choose_networks
from auxtune.selectors.protocol import Network, Problem

_DRAWS = 16  # of the scores of all groups, for covers that may be best
_FUTURES = 128  # draws of the scores of one training
_NOTHING = 1e-4  # of the noise: smaller gains cannot be told apart by so few draws
_EXACT = 64  # networks up to which one table is solved exactly
_UNSERVED = 1e9  # what a task that no network serves costs
_MEMBER = 1e-7  # of the scores' range: the least gain of a further member
_PAIRS_UP_TO = 6  # networks in a cover up to which two at a time are taken out


@dataclass(frozen=True)
class Serving:
    """What may be served: of each network the cost, and what all together may cost."""

    costs: np.ndarray  # (networks,)
    budget: float


def limit_serving(problem: Problem, networks: Sequence[Network]) -> Serving:
    """The limit by cost, where the problem has an inference budget, else by number."""
    if problem.inference_budget is None:
        return Serving(np.ones(len(networks)), float(problem.models or 1))
    return Serving(np.array([network.cost for network in networks]), problem.inference_budget)


def find_covers(scores: np.ndarray, serving: Serving) -> np.ndarray:
    """A good cover for each of several tables: (tables, networks) booleans, none of a table where no cover is found.

    ``scores`` is (tables, networks, tasks), higher is better, ``nan`` where a network cannot serve a task.
    """
    known = np.isfinite(scores)
    spread = float(np.ptp(scores[known])) if known.any() else 0.0
    values = np.where(known, scores, -_UNSERVED) - _MEMBER * spread * known.sum(axis=2, keepdims=True)
    opened = _fill_up(values, serving, np.zeros(values.shape[:2], dtype=bool))
    worth = _add_up(values, opened)
    while True:
        tried = [_fill_up(values, serving, less) for less in _take_out(opened)]
        worths = np.array([_add_up(values, each) for each in tried]).reshape(len(tried), len(worth))
        better = worths.max(axis=0, initial=-np.inf) > worth + 1e-12 * spread
        if not better.any():
            break
        for table in np.flatnonzero(better).tolist():
            opened[table] = tried[int(worths[:, table].argmax())][table]
        worth = _add_up(values, opened)
    serves = np.where(opened[..., None], values, -np.inf).argmax(axis=1)  # (tables, tasks)
    used = np.zeros_like(opened)
    np.put_along_axis(used, serves, True, axis=1)
    covers: np.ndarray = used & opened & (worth > -_UNSERVED / 2)[:, None]
    return covers


def find_cover(scores: np.ndarray, serving: Serving) -> list[int]:
    """The networks of a good cover of one table, (networks, tasks), in their order; empty if there is none."""
    if len(scores) > _EXACT:
        cover: list[int] = np.flatnonzero(find_covers(scores[None], serving)[0]).tolist()
        if cover:
            return cover
    try:
        return [] if not len(scores) else choose_networks(scores, serving.costs.tolist(), serving.budget)
    except ValueError:
        return []


def _take_out(opened: np.ndarray) -> list[np.ndarray]:
    """The covers less one or two of their networks, by the place of these in each cover."""
    order = np.cumsum(opened, axis=1) * opened  # 1 for the first network of a cover, 2 for the second …
    most = int(order.max(initial=0))
    taken: list[tuple[int, ...]] = [(place,) for place in range(1, most + 1)]
    if most <= _PAIRS_UP_TO:
        taken += itertools.combinations(range(1, most + 1), 2)
    return [opened & ~np.isin(order, places) for places in taken]


def _fill_up(values: np.ndarray, serving: Serving, opened: np.ndarray) -> np.ndarray:
    """The covers, and what adds most to each, one network after another, while there is budget."""
    opened = opened.copy()
    every = np.arange(len(values))
    best = np.where(opened[..., None], values, -_UNSERVED).max(axis=1)  # (tables, tasks)
    left = serving.budget - opened @ serving.costs
    while True:
        gains = np.maximum(values, best[:, None]).sum(axis=2) - best.sum(axis=1)[:, None]
        gains[serving.costs > left[:, None] + 1e-9] = -np.inf
        place = gains.argmax(axis=1)
        adds = gains[every, place] > 0
        if not adds.any():
            return opened
        opened[every[adds], place[adds]] = True
        best[adds] = np.maximum(best[adds], values[every[adds], place[adds]])
        left[adds] -= serving.costs[place[adds]]


def _add_up(values: np.ndarray, opened: np.ndarray) -> np.ndarray:
    """The sum over the tasks of the best opened network for each: (tables,)."""
    total: np.ndarray = np.where(opened[..., None], values, -_UNSERVED).max(axis=1).sum(axis=1)
    return total


def score_networks(points: Points, networks: int, scores: np.ndarray) -> np.ndarray:
    """Scores of points, (…, n), as (…, networks, tasks), ``nan`` where the task is no member."""
    table = np.full((*scores.shape[:-1], networks, points.count_tasks), np.nan)
    table[..., points.networks, points.tasks] = scores
    return table


@dataclass(frozen=True)
class Gains:
    """The best cover by expectation, and what one training of each network is expected to add to it."""

    cover: list[int]  # places among the networks; empty if there is none
    scores: np.ndarray  # (networks, tasks) expected, ``nan`` where the task is no member
    gains: np.ndarray  # (networks,) in units of the score, of the mean over tasks


def estimate_gains(
    process: GroupProcess, problem: Problem, networks: Sequence[Network], rng: np.random.Generator
) -> Gains:
    """The expected rise of the best cover's value by one training of each network.

    The covers that may become the answer are the one that is best by expectation and those that are best for draws of
    what the scores may be. One training scores a point for each member; by these the value of every such cover moves
    together with what they have in common, and the gain is how far the best of them is expected to rise: the knowledge
    gradient (``knowledge_gradient.py``), here over draws of the scores to come, since there are several at once.
    """
    points, serving = list_points(problem, networks), limit_serving(problem, networks)
    means, covariance = process.predict_jointly(points)
    scores = score_networks(points, len(networks), means)
    cover, gains = find_cover(scores, serving), np.zeros(len(networks))
    if not cover:
        return Gains(cover, scores, gains)
    drawn = means + rng.standard_normal((_DRAWS, len(means))) @ _factor(covariance).T
    weights = _weigh_points(points, len(networks), np.vstack([means, drawn]), serving)
    values, shared = weights @ means, weights @ covariance
    half = rng.standard_normal((points.count_tasks, _FUTURES // 2))
    normal = np.hstack([half, -half])  # so that expectations stay exactly as they are
    for network in range(len(networks)):
        own = np.flatnonzero(points.networks == network)
        noise = np.diag(process.noise_deviations[points.tasks[own]] ** 2)
        # How far the value of each cover moves with each standard normal variable behind the scores: (covers, members).
        moves = np.linalg.solve(_factor(covariance[np.ix_(own, own)] + noise), shared[:, own].T).T
        gains[network] = (values[:, None] + moves @ normal[: len(own)]).max(axis=0).mean() - values.max()
    gains[gains < _NOTHING * process.noise_deviations.mean()] = 0.0
    return Gains(cover, scores, gains)


def _weigh_points(points: Points, networks: int, scores: np.ndarray, serving: Serving) -> np.ndarray:
    """What each point counts in the value of each cover that is best for some row of ``scores``: (covers, points)."""
    tables = score_networks(points, networks, scores)
    opened = np.where(find_covers(tables, serving)[..., None] & np.isfinite(tables), tables, -np.inf)
    serves = opened.argmax(axis=1)  # (rows, tasks) the network that serves each task
    serves = np.unique(serves[np.isfinite(opened.max(axis=1)).all(axis=1)], axis=0)
    weights = np.zeros((len(serves), len(points.rows)))
    served_at = points.locate(networks)[serves, np.arange(points.count_tasks)]
    weights[np.arange(len(serves))[:, None], served_at] = 1 / points.count_tasks
    return weights


def _factor(covariance: np.ndarray) -> np.ndarray:
    """A factor of a covariance that rounding may have left just short of positive definite."""
    jitter = 1e-10 * max(float(np.trace(covariance)) / max(len(covariance), 1), 1e-300)
    while True:
        try:
            return np.linalg.cholesky(covariance + jitter * np.eye(len(covariance)))
        except np.linalg.LinAlgError:
            jitter *= 100
