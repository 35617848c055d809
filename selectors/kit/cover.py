"""At most b groups that serve every task, each task by the one that is worth most to it: the selection of TAG.

Source: the selection step of C. Fifty, E. Amid, Z. Zhao, T. Yu, R. Anil, C. Finn, "Efficiently Identifying Task
Groupings for Multi-Task Learning", NeurIPS 2021, https://arxiv.org/abs/2109.04617, with what a group is worth as in the
released notebook (``grouping.worth``). Groups may overlap. The objective is the mean over tasks of what the group that
serves it is worth to it. A group of one is banned, as in the release (it scores -1e6 there), or is worth the diagonal,
which must then come from held-out rows: on training rows every task does most for itself.

How it is solved. Searching all sets of b groups, as the release does, ends at about ten tasks. But the tasks split into
*blocks*, each served by one group, and the best group for a block S is found at once: of the groups with m members it
is S with the m - |S| others that do most for S, so sorting the others by what they do for S leaves n sizes to compare.
What remains is to split the tasks into at most b blocks, a set partitioning problem with 2^n - 1 columns and n + 1 rows
for SciPy's ``milp`` (HiGHS).

- To ``ALL_BLOCKS`` (12) tasks every block is a column: exact.
- To ``LARGEST`` (20) tasks columns are generated: the linear relaxation is solved with all blocks priced, then in
  whole numbers over the columns that can still matter, those whose reduced cost is within the gap. That is exact as
  well, unless more than ``MOST_COLUMNS`` are; then the best of them are taken and ``proven`` is ``False``.
- Beyond, ``clustered`` finds blocks by clustering and gives each its best group: nothing is promised.

Ties: groupings that differ by less than 1e-7 of the affinities' range count as equal, and fewer, then smaller groups
win. The same table gives the same groups; where several are equally good, another order of tasks may give another.

Under a second to 12 tasks, some seconds to 16, half a minute at 20. Do not use it where groups must be disjoint
(``grouping.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from auxtune.selectors.kit.affinity import Affinity
from auxtune.selectors.kit.grouping import Grouping, assign_to_best, spectral

ALL_BLOCKS, LARGEST, MOST_COLUMNS = 12, 20, 30_000
_RANGE = 1e4  # HiGHS stops within 1e-6: affinities span 1e4 for it
_MODEL, _MEMBER = 1e-3, 1e-5  # what a further model and a further member must bring, of _RANGE
_SLICE = 2**14  # blocks at a time, which bounds memory
_PRICED = 500  # columns added at a time


def cover(affinity: Affinity, models: int, singletons: bool = False) -> Grouping:
    """The best groups for at most ``models`` models, of at most ``LARGEST`` tasks; one task is a group by itself.

    Raises ``ValueError`` for more tasks, no model, and affinities that are not known, with ``singletons`` also those of
    the diagonal.
    """
    tasks = len(affinity.tasks)
    if tasks > LARGEST:
        raise ValueError(f"a cover is for at most {LARGEST} tasks, got {tasks}; cluster them")
    scaled = _scaled(affinity, models, singletons)
    if tasks == 1:
        return assign_to_best(affinity, [(0,)], proven=True)
    blocks = _blocks(scaled, singletons)
    if tasks <= ALL_BLOCKS:
        chosen, proven = _partition(blocks, np.arange(1, 2**tasks), models), True
    else:
        chosen, proven = _generated(blocks, models)
    trained = [_best_group(scaled, blocks, block) for block in chosen.tolist()]
    return assign_to_best(affinity, trained, proven)


def clustered(affinity: Affinity, models: int, singletons: bool = False) -> Grouping:
    """Groups for any number of tasks: blocks by spectral clustering, each served by its best group; not proven.

    Raises ``ValueError`` as ``cover`` does, but for the number of tasks.
    """
    scaled = _scaled(affinity, models, singletons)
    masks = np.zeros((models, len(affinity.tasks)), dtype=bool)
    for row, cluster in enumerate(spectral(affinity, models)):
        masks[row, [affinity.tasks.index(task) for task in cluster]] = True
    masks = masks[masks.any(axis=1)]
    _, sizes = _worth(scaled, masks, singletons)
    trained = [_members(scaled, mask, size) for mask, size in zip(masks, sizes.tolist(), strict=True)]
    return assign_to_best(affinity, trained, proven=False)


@dataclass(frozen=True)
class _Blocks:
    """What the best group for every block is worth to all of it together, and its size; bit i of a block is task i."""

    tasks: int
    worth: np.ndarray  # (2^tasks,), the first, of no task, -inf
    sizes: np.ndarray  # (2^tasks,) members of the group

    def rows(self, columns: np.ndarray) -> np.ndarray:
        """Which tasks are in each block, and a row that counts blocks: (tasks + 1, columns)."""
        return np.vstack([_bits(columns, self.tasks).T, np.ones(len(columns))])


def _scaled(affinity: Affinity, models: int, singletons: bool) -> np.ndarray:
    """The affinities from 0 to ``_RANGE``, (tasks, tasks): a constant added to all of them changes no choice."""
    if models < 1:
        raise ValueError(f"models must be at least 1, got {models}")
    counted = singletons | ~np.eye(len(affinity.tasks), dtype=bool)
    values = affinity.values[counted]
    if not np.isfinite(values).all():
        raise ValueError("groups need every affinity, got nan for some; leave out the tasks that are not known")
    low, high = (values.min(), values.max()) if values.size else (0.0, 0.0)
    spread = high - low or 1.0
    return np.where(counted, (affinity.values - low) * (_RANGE / spread), 0.0)


def _blocks(values: np.ndarray, singletons: bool) -> _Blocks:
    tasks = len(values)
    worth, sizes = np.full(2**tasks, -np.inf), np.zeros(2**tasks, dtype=int)
    for first in range(1, 2**tasks, _SLICE):
        columns = np.arange(first, min(first + _SLICE, 2**tasks))
        worth[columns], sizes[columns] = _worth(values, _bits(columns, tasks), singletons)
    return _Blocks(tasks, worth, sizes)


def _worth(values: np.ndarray, masks: np.ndarray, singletons: bool) -> tuple[np.ndarray, np.ndarray]:
    """For each block, rows of ``masks``, the worth and the size of its best group: (blocks,) each.

    A group's worth to all of a block is what its members do for the block, summed, over the members less one.
    """
    tasks = len(values)
    done = masks @ (values * ~np.eye(tasks, dtype=bool))  # (blocks, tasks): what each does for the block
    inside = (done * masks).sum(axis=1)
    others = -np.sort(np.where(masks, np.inf, -done), axis=1)  # the most first, members last
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


def _members(values: np.ndarray, mask: np.ndarray, size: int) -> tuple[int, ...]:
    """A block and the others that do most for it, of equals those that come first, to a group of ``size``."""
    done = np.where(mask, np.inf, values[mask].sum(axis=0))
    return tuple(np.argsort(-done, kind="stable")[:size].tolist())


def _best_group(values: np.ndarray, blocks: _Blocks, block: int) -> tuple[int, ...]:
    return _members(values, _bits(np.array([block]), blocks.tasks)[0], int(blocks.sizes[block]))


def _partition(blocks: _Blocks, columns: np.ndarray, models: int) -> np.ndarray:
    """The blocks among ``columns`` that split the tasks, at most ``models``, and are worth most."""
    least, most = np.ones(blocks.tasks + 1), np.append(np.ones(blocks.tasks), models)
    solved = milp(
        -blocks.worth[columns],
        integrality=np.ones(len(columns)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(blocks.rows(columns), least, most),
        options={"mip_rel_gap": 0.0},  # HiGHS's default of 1e-4 is not exact
    )
    if solved.x is None:
        raise RuntimeError(f"{blocks.tasks} tasks must be split over {models} models, found none: {solved.message}")
    chosen: np.ndarray = columns[solved.x > 0.5]
    return chosen


def _generated(blocks: _Blocks, models: int) -> tuple[np.ndarray, bool]:
    """The blocks of the best split, and whether it is proven, without solving for all of them at once."""
    columns = np.unique(np.append(2 ** np.arange(blocks.tasks), 2**blocks.tasks - 1))
    while True:
        costs, bound = _reduced_costs(blocks, columns, models)
        costs[columns] = -np.inf
        best = np.argsort(-costs, kind="stable")[:_PRICED]
        better = best[costs[best] > _MEMBER / 10]  # less is noise of the solver
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


def _reduced_costs(blocks: _Blocks, columns: np.ndarray, models: int) -> tuple[np.ndarray, float]:
    """What every block, (2^tasks,), brings beyond what its tasks bring already, and the bound, of the relaxation."""
    rows = blocks.rows(columns)
    solved = linprog(-blocks.worth[columns], A_eq=rows[:-1], b_eq=np.ones(blocks.tasks), A_ub=rows[-1:], b_ub=[models])
    prices = np.zeros(1)  # of every block: sums over its tasks, one task at a time
    for price in solved.eqlin.marginals:
        prices = np.append(prices, prices + price)
    return blocks.worth + prices + solved.ineqlin.marginals[0], -float(solved.fun)


def _bits(blocks: np.ndarray, tasks: int) -> np.ndarray:
    """Which tasks are in each block: (blocks, tasks) booleans."""
    bits: np.ndarray = (blocks[:, None] >> np.arange(tasks)) & 1 == 1
    return bits
