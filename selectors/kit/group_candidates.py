"""Which groups a search weighs: the first ones, all that may be of use, or a pool of them, and their neighbours.

Up to 255 groups, those of eight tasks, all are weighed. Beyond, a pool is built around what is known: groups that were
trained, random ones of any size, and round by round the groups of the best cover with one task more or less. Where only
some networks are on offer, as in a recorded table, only these are considered.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from auxtune.selectors.kit.group_covers import find_cover, limit_serving, score_networks
from auxtune.selectors.kit.group_process import GroupProcess, list_points
from auxtune.selectors.protocol import Network, Problem

_LISTED = 255  # groups up to which all are weighed: those of 8 tasks
_POOL = 400  # groups to consider where there are more
_POINTS = 1000  # members of the groups that are weighed together, since time grows with their square
_DRAWN = 60  # random ones among these
_ROUNDS = 4  # of neighbours of the best cover


def list_start(problem: Problem) -> list[Network]:
    """The networks to begin with: all tasks, and a random partition into as many groups as may be served.

    Where only some are on offer, the largest of them, and for each group of the partition the smallest that holds it.
    """
    names = problem.names
    whole = max(problem.networks, key=lambda each: (len(each.tasks), each.cost), default=Network(names))
    models = int(problem.models or 1 if problem.inference_budget is None else problem.inference_budget / whole.cost)
    models = min(max(1, models), len(names))
    order = np.random.default_rng([problem.seed, 0]).permutation(len(names)).tolist()
    parts = [tuple(names[place] for place in sorted(order[first::models])) for first in range(models)]
    if not problem.networks:
        return list(dict.fromkeys([whole, *map(Network, parts)]))
    alike = [network for network in problem.networks if network.name == whole.name]
    holding = [[network for network in alike if set(part) <= set(network.tasks)] or [whole] for part in parts]
    return list(dict.fromkeys([whole, *(min(each, key=lambda network: len(network.tasks)) for each in holding)]))


def build_pool(
    problem: Problem,
    process: GroupProcess,
    trained: Sequence[Network],
    failed: Collection[Network],
    rng: np.random.Generator,
) -> list[Network]:
    """All networks if they are few; else those ``trained``, random ones, and neighbours of the best cover.

    None of those that ``failed`` is among them.
    """
    every = list_networks(problem)
    if every is not None and len(every) <= _LISTED:
        return [network for network in every if network not in failed]
    offered = None if every is None else set(every)
    first = [*trained, *list_start(problem), *_draw_networks(problem, every, rng, _DRAWN)]
    pool = [network for network in dict.fromkeys(first) if network not in failed]
    cover: list[Network] = []
    for _ in range(_ROUNDS):
        points = list_points(problem, pool)
        table = score_networks(points, len(pool), process.predict(points))
        cover = [pool[place] for place in find_cover(table, limit_serving(problem, pool))]
        near = [other for network in cover for other in _list_neighbours(problem, network)]
        known = {*pool, *failed}
        fresh = [n for n in dict.fromkeys(near) if n not in known and (offered is None or n in offered)]
        if not fresh or len(pool) + len(fresh) > _POOL:
            break
        pool += fresh
    return _keep_promising(problem, process, pool, cover)


def _keep_promising(
    problem: Problem, process: GroupProcess, pool: list[Network], cover: list[Network]
) -> list[Network]:
    """The ``cover`` and those networks that may improve it most, as many as can be weighed together.

    What may be improved is the sum over members of how far the expected score and a standard deviation are above the
    expected score of the network that serves the member in the cover.
    """
    points = list_points(problem, pool)
    means, deviations = process.predict(points), process.doubt(points)
    table = score_networks(points, len(pool), means)
    served = np.nanmax(table[[pool.index(network) for network in cover]], axis=0, initial=-np.inf)
    above = np.maximum(means + deviations - served[points.tasks], 0.0)
    promise = np.bincount(points.networks, weights=above, minlength=len(pool))
    promise[[pool.index(network) for network in cover]] = np.inf
    order = np.argsort(-promise, kind="stable")
    weighed = np.cumsum([len(pool[place].tasks) for place in order]) <= max(_POINTS, len(cover) * len(problem.names))
    return [pool[place] for place in sorted(order[weighed].tolist())]


def list_networks(problem: Problem) -> list[Network] | None:
    """Every network that may be trained and be of use; ``None`` where there are too many to list."""
    names = problem.names
    if problem.models == 1 and problem.inference_budget is None:  # it must serve all tasks
        return [each for each in problem.networks or [Network(names)] if len(each.tasks) == len(names)]
    if problem.networks:
        return list(problem.networks)
    if 2 ** len(names) - 1 > _LISTED:
        return None
    sizes = range(1, len(names) + 1)
    return [Network(group) for size in sizes for group in itertools.combinations(names, size)]


def _draw_networks(
    problem: Problem, every: list[Network] | None, rng: np.random.Generator, count: int
) -> list[Network]:
    """Random networks: of those on offer, or of any size."""
    if every is not None:
        return [every[place] for place in rng.permutation(len(every))[:count].tolist()]
    names = problem.names
    chosen = [rng.permutation(len(names))[: rng.integers(1, len(names) + 1)] for _ in range(count)]
    return [Network(tuple(names[place] for place in sorted(places.tolist()))) for places in chosen]


def draw_untried(problem: Problem, tried: Collection[Network], rng: np.random.Generator) -> Network | None:
    """A random network that was never ``tried``; ``None`` if none is found."""
    every = list_networks(problem)
    drawn = _draw_networks(problem, every, rng, _DRAWN if every is None else len(every))
    return next((network for network in drawn if network not in tried), None)


def _list_neighbours(problem: Problem, network: Network) -> list[Network]:
    """The network with one task more or less."""
    changed = [set(network.tasks) ^ {name} for name in problem.names]
    members = [tuple(name for name in problem.names if name in each) for each in changed]
    return [replace(network, tasks=tasks) for tasks in members if tasks]
