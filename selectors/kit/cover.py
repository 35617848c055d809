"""At most b groups that serve every task, each task by the group that is worth most to it: the selection step of TAG.

Source: C. Fifty, E. Amid, Z. Zhao, T. Yu, R. Anil, C. Finn, "Efficiently Identifying Task Groupings for Multi-Task
Learning", NeurIPS 2021, https://arxiv.org/abs/2109.04617, with a group's worth as in the released notebook
(``grouping.compute_worth``). Groups may overlap. The objective is the mean over tasks of the worth, to each task, of
the group that serves it. A group of one is either banned, as in the release (which scores it -1e6), or is worth the
diagonal; the diagonal must then come from held-out rows, because on training rows every task helps itself most.

How it is solved. Searching all sets of b groups, as the release does, is feasible to about ten tasks. But the tasks
split into *blocks*, one per group, each served by that group, and the best group for a block S is found directly: the
best group of m members is S with the m - |S| other tasks that do most for S. Sorting the others by their sum over S
leaves n sizes to compare. What remains is to split the tasks into at most b blocks, a set partitioning problem with
2^n - 1 columns and n + 1 rows for SciPy's ``milp`` (HiGHS).

- Up to ``ALL_BLOCKS`` (12) tasks every block is a column: exact.
- Up to ``LARGEST`` (20) tasks columns are generated: the linear relaxation is solved with all blocks priced, then the
  integer problem over the columns that can still matter, those whose reduced cost is within the gap. This is exact
  too, unless there are more than ``MOST_COLUMNS`` of them; then only the best are used and ``proven`` is ``False``.
- Beyond, ``cover_by_clusters`` finds blocks by clustering and gives each its best group, without any guarantee.

Ties: groupings that differ by less than 1e-7 of the affinities' range count as equal; fewer groups win, then smaller
ones. The same table gives the same groups; among equally good groupings another order of tasks may give another one.

It takes under a second up to 12 tasks, some seconds at 16, half a minute at 20. Do not use it where groups must be
disjoint (``grouping.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from auxtune.selectors.kit.affinity import Affinity
from auxtune.selectors.kit.grouping import Grouping, assign_to_best, cluster_spectrally

ALL_BLOCKS, LARGEST, MOST_COLUMNS = 12, 20, 30_000
_RANGE = 1e4  # HiGHS stops within 1e-6: affinities span 1e4 for it
_MODEL, _MEMBER = 1e-3, 1e-5  # the least gain, of _RANGE, of a further model and of a further member
_SLICE = 2**14  # blocks evaluated at a time, to bound memory
_PRICED = 500  # columns added at a time


def cover(affinity: Affinity, models: int, singletons: bool = False) -> Grouping:
    """The best groups of at most ``LARGEST`` tasks for at most ``models`` models; one task is a group by itself.

    With ``singletons`` a task may be trained alone, and is then worth the diagonal. Raises ``ValueError`` for more
    tasks, for no model and for unknown affinities, with ``singletons`` also on the diagonal.
    """
    tasks = len(affinity.tasks)
    if tasks > LARGEST:
        raise ValueError(f"a cover is for at most {LARGEST} tasks, got {tasks}; cluster them")
    scaled = _scale_affinities(affinity, models, singletons)
    if tasks == 1:
        return assign_to_best(affinity, [(0,)], proven=True)
    blocks = _evaluate_blocks(scaled, singletons)
    if tasks <= ALL_BLOCKS:
        chosen, proven = _partition(blocks, np.arange(1, 2**tasks), models), True
    else:
        chosen, proven = _solve_by_column_generation(blocks, models)
    trained = [_find_best_group(scaled, blocks, block) for block in chosen.tolist()]
    return assign_to_best(affinity, trained, proven)


def cover_by_clusters(affinity: Affinity, models: int, singletons: bool = False) -> Grouping:
    """Groups for any number of tasks: blocks by spectral clustering, each served by its best group; not proven.

    Raises ``ValueError`` as ``cover`` does, except for the number of tasks.
    """
    scaled = _scale_affinities(affinity, models, singletons)
    masks = np.zeros((models, len(affinity.tasks)), dtype=bool)
    for row, cluster in enumerate(cluster_spectrally(affinity, models)):
        masks[row, [affinity.tasks.index(task) for task in cluster]] = True
    masks = masks[masks.any(axis=1)]
    _, sizes = _weigh_blocks(scaled, masks, singletons)
    trained = [_choose_members(scaled, mask, size) for mask, size in zip(masks, sizes.tolist(), strict=True)]
    return assign_to_best(affinity, trained, proven=False)


@dataclass(frozen=True)
class _Blocks:
    """For every block, the worth of its best group to all its tasks together, and that group's size.

    A block is a number whose bit i is task i.
    """

    tasks: int
    worth: np.ndarray  # (2^tasks,); -inf for the empty block, the first
    sizes: np.ndarray  # (2^tasks,) members of the group

    def build_rows(self, columns: np.ndarray) -> np.ndarray:
        """The tasks of each block as a column of 0 and 1, and a row of ones that counts blocks: (tasks + 1, blocks)."""
        return np.vstack([_unpack_bits(columns, self.tasks).T, np.ones(len(columns))])


def _scale_affinities(affinity: Affinity, models: int, singletons: bool) -> np.ndarray:
    """The affinities scaled to 0 … ``_RANGE``, (tasks, tasks). Adding a constant to all of them changes no choice."""
    if models < 1:
        raise ValueError(f"models must be at least 1, got {models}")
    counted = singletons | ~np.eye(len(affinity.tasks), dtype=bool)
    values = affinity.values[counted]
    if not np.isfinite(values).all():
        raise ValueError("groups need every affinity, got nan for some; leave out the tasks without one")
    low, high = (values.min(), values.max()) if values.size else (0.0, 0.0)
    spread = high - low or 1.0
    return np.where(counted, (affinity.values - low) * (_RANGE / spread), 0.0)


def _evaluate_blocks(values: np.ndarray, singletons: bool) -> _Blocks:
    tasks = len(values)
    worth, sizes = np.full(2**tasks, -np.inf), np.zeros(2**tasks, dtype=int)
    for first in range(1, 2**tasks, _SLICE):
        columns = np.arange(first, min(first + _SLICE, 2**tasks))
        worth[columns], sizes[columns] = _weigh_blocks(values, _unpack_bits(columns, tasks), singletons)
    return _Blocks(tasks, worth, sizes)


def _weigh_blocks(values: np.ndarray, masks: np.ndarray, singletons: bool) -> tuple[np.ndarray, np.ndarray]:
    """For each block, a row of ``masks``, the worth and the size of its best group: (blocks,) each.

    A group's worth to a block is the sum of its members' affinities onto the block's tasks, over the members less one.
    """
    tasks = len(values)
    done = masks @ (values * ~np.eye(tasks, dtype=bool))  # (blocks, tasks): each task's sum onto the block
    inside = (done * masks).sum(axis=1)
    others = -np.sort(np.where(masks, np.inf, -done), axis=1)  # the largest first, members of the block last
    with_others = inside[:, None] + np.cumsum(np.pad(others, ((0, 0), (1, 0)))[:, :tasks], axis=1)
    size = masks.sum(axis=1)[:, None] + np.arange(tasks)  # with 0, 1, 2 … others
    usual = (size > 1) & (size <= tasks)
    worth = np.divide(with_others, size - 1, out=np.full(size.shape, -np.inf), where=usual)
    if singletons:
        alone = size[:, 0] == 1
        worth[alone, 0] = (masks @ np.diag(values))[alone]
    worth -= _MEMBER * size
    best = worth.argmax(axis=1)
    every = np.arange(len(masks))
    return worth[every, best] - _MODEL, size[every, best]


def _choose_members(values: np.ndarray, mask: np.ndarray, size: int) -> tuple[int, ...]:
    """A group of ``size``: the block and the others that do most for it, of equals those that come first."""
    done = np.where(mask, np.inf, values[mask].sum(axis=0))
    return tuple(np.argsort(-done, kind="stable")[:size].tolist())


def _find_best_group(values: np.ndarray, blocks: _Blocks, block: int) -> tuple[int, ...]:
    return _choose_members(values, _unpack_bits(np.array([block]), blocks.tasks)[0], int(blocks.sizes[block]))


def _partition(blocks: _Blocks, columns: np.ndarray, models: int) -> np.ndarray:
    """The split of the tasks into at most ``models`` blocks of ``columns`` that is worth most."""
    least, most = np.ones(blocks.tasks + 1), np.append(np.ones(blocks.tasks), models)
    solved = milp(
        -blocks.worth[columns],
        integrality=np.ones(len(columns)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(blocks.build_rows(columns), least, most),
        options={"mip_rel_gap": 0.0},  # HiGHS's default of 1e-4 is not exact
    )
    if solved.x is None:
        raise RuntimeError(f"{blocks.tasks} tasks must be split over {models} models, found none: {solved.message}")
    chosen: np.ndarray = columns[solved.x > 0.5]
    return chosen


def _solve_by_column_generation(blocks: _Blocks, models: int) -> tuple[np.ndarray, bool]:
    """The best split, and whether it is proven, without an integer problem over all blocks.

    Blocks join ``columns`` while the relaxation could improve by them. An integer optimum can then differ from the best
    split over ``columns`` only by blocks whose reduced cost is within the gap to the relaxation's bound.
    """
    columns = np.unique(np.append(2 ** np.arange(blocks.tasks), 2**blocks.tasks - 1))
    while True:
        costs, bound = _compute_reduced_costs(blocks, columns, models)
        costs[columns] = -np.inf
        best = np.argsort(-costs, kind="stable")[:_PRICED]
        better = best[costs[best] > _MEMBER / 10]  # below that it is noise of the solver
        if not better.size:
            break
        columns = np.union1d(columns, better)
    chosen = _partition(blocks, columns, models)
    gap = bound - blocks.worth[chosen].sum() + _MEMBER
    matter = np.flatnonzero(costs >= -gap)
    if len(matter) > MOST_COLUMNS:
        kept = matter[np.argsort(-costs[matter], kind="stable")[:MOST_COLUMNS]]
        return _partition(blocks, np.union1d(columns, kept), models), False
    return _partition(blocks, np.union1d(columns, matter), models), True


def _compute_reduced_costs(blocks: _Blocks, columns: np.ndarray, models: int) -> tuple[np.ndarray, float]:
    """For the linear relaxation: every block's gain, (2^tasks,), over the prices of its tasks, and the optimum."""
    rows = blocks.build_rows(columns)
    solved = linprog(-blocks.worth[columns], A_eq=rows[:-1], b_eq=np.ones(blocks.tasks), A_ub=rows[-1:], b_ub=[models])
    prices = np.zeros(1)  # of every block: the sum over its tasks, built by doubling, one task at a time
    for price in solved.eqlin.marginals:
        prices = np.append(prices, prices + price)
    return blocks.worth + prices + solved.ineqlin.marginals[0], -float(solved.fun)


def _unpack_bits(blocks: np.ndarray, tasks: int) -> np.ndarray:
    """Which tasks are in each block: (blocks, tasks) booleans."""
    bits: np.ndarray = (blocks[:, None] >> np.arange(tasks)) & 1 == 1
    return bits
