"""From scores and tables of pairs to answers: subsets, groups that share a model, and the helpers of a primary.

**Subsets from scores** (``take_best``, ``keep_at_least``): the last step of every method that ranks. Both are
deterministic: of equal scores the first in the mapping, that is in the study's order of tasks, comes first.

**Groups.** A group is trained on its ``tasks`` and serves some of them. Groups may overlap: a task may be trained in
one group only to help the others there, and be served by another. A group's worth to a member is the mean affinity of
the other members onto it; a group of one is worth the member's affinity to itself.

**With a primary no groups are made.** The grouping that is best on average is not the one that is best for one task:
tasks that harm the primary stay in its group where they help others, and its helpers are left out where a smaller
group is worth more on average. So sources are judged by the primary's own row of the table (``rank_sources``), and
the needs of other tasks play no part.

**Disjoint clusters**, from affinities averaged over both directions, in two ways. *Spectral*: the leading eigenvectors
of the normalised similarity, as in A. Ng, M. Jordan, Y. Weiss, "On Spectral Clustering", NeurIPS 2001, but read off by
a pivoted QR factorisation (A. Damle, V. Minden, L. Ying, "Simple, direct and efficient multi-way spectral clustering",
2019, https://arxiv.org/abs/1609.08251) and not by k-means, so that nothing is random and no starting point matters. It
gives balanced clusters and is meant for many tasks under a budget of models. *Complete linkage*: the distance of two
clusters is that of their farthest pair, so that every pair within a cluster reaches the threshold; it is meant for
rules about pairs. Both take milliseconds. Where groups may overlap and tasks are few, prefer ``cover.py``, which finds
better groups and proves it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.linalg import qr, svd
from scipy.spatial.distance import squareform

from auxtune.selectors.kit.affinity import Affinity
from auxtune.selectors.protocol import JSON, Problem, Selection


def rank_tasks(scores: Mapping[str, float]) -> tuple[str, ...]:
    """All tasks, the best first, ties in the mapping's order. Raises ``ValueError`` for a score that is not a number.

    >>> rank_tasks({"a": 1.0, "b": 3.0, "c": 3.0})
    ('b', 'c', 'a')
    """
    unknown = [task for task, score in scores.items() if math.isnan(score)]
    if unknown:
        raise ValueError(f"scores must be numbers, got nan for {', '.join(unknown)}; leave out unknown ones")
    return tuple(sorted(scores, key=lambda task: -scores[task]))


def take_best(scores: Mapping[str, float], k: int) -> tuple[str, ...]:
    """The ``k`` best tasks, or all if there are fewer, the best first. Raises ``ValueError`` for a negative ``k``."""
    if k < 0:
        raise ValueError(f"k must be at least 0, got {k}")
    return rank_tasks(scores)[:k]


def keep_at_least(scores: Mapping[str, float], threshold: float) -> tuple[str, ...]:
    """The tasks with a score of at least ``threshold``, the best first; there may be none."""
    return tuple(task for task in rank_tasks(scores) if scores[task] >= threshold)


_FLOOR = 1e-6  # added to each similarity, of the largest one, so that the graph is connected


def cluster_spectrally(affinity: Affinity, most: int) -> tuple[tuple[str, ...], ...]:
    """At most ``most`` clusters, in the order of their first tasks. Raises ``ValueError`` for unknown affinities."""
    values = _read_symmetric(affinity)
    similarity = values - values.min()
    similarity += _FLOOR * similarity.max() or 1.0
    np.fill_diagonal(similarity, 0.0)  # a task's effect on itself says nothing about its neighbours
    if most >= len(values):
        return tuple((task,) for task in affinity.tasks)
    degrees = np.sqrt(similarity.sum(axis=1))
    _, vectors = np.linalg.eigh(similarity / np.outer(degrees, degrees))
    leading = vectors[:, -most:]  # (tasks, clusters)
    # The pivots are one central task per cluster; the rotation that aligns the eigenvectors with these tasks (its polar
    # factor) turns each row into weights of the clusters.
    _, _, pivots = qr(leading.T, pivoting=True)
    left, _, right = svd(leading[pivots[:most]].T)
    near = np.abs(leading @ (left @ right))
    return _collect_clusters(affinity.tasks, near.argmax(axis=1))


def cluster_by_linkage(affinity: Affinity, threshold: float, most: int | None = None) -> tuple[tuple[str, ...], ...]:
    """Clusters in which every pair's affinity is at least ``threshold``, in the order of their first tasks.

    If these are more than ``most``, the nearest are joined, whatever the threshold, until they are not. Raises
    ``ValueError`` for unknown affinities.
    """
    values = _read_symmetric(affinity)
    if len(values) == 1:
        return (affinity.tasks,)
    tree = linkage(squareform(values.max() - values, checks=False), "complete")
    labels = fcluster(tree, values.max() - threshold, "distance")
    if most is not None and len(set(labels.tolist())) > most:
        labels = fcluster(tree, most, "maxclust")
    return _collect_clusters(affinity.tasks, labels)


def _read_symmetric(affinity: Affinity) -> np.ndarray:
    """Affinities averaged over both directions, with their maximum on the diagonal.

    Raises ``ValueError`` if one is unknown.
    """
    if not affinity.known:
        raise ValueError("clusters need every affinity, got nan for some; leave out the tasks without one")
    values = np.array(affinity.average_directions().values)
    off = values[~np.eye(len(values), dtype=bool)]
    np.fill_diagonal(values, off.max() if off.size else 0.0)
    return values


def _collect_clusters(tasks: tuple[str, ...], labels: np.ndarray) -> tuple[tuple[str, ...], ...]:
    return tuple(
        tuple(task for task, own in zip(tasks, labels, strict=True) if own == label)
        for label in dict.fromkeys(labels.tolist())
    )


MODELS = 3  # at most so many groups if the problem names no number
# Why the option `models`, which older study files have, is no longer read.
MODELS_UNREAD = "with a primary its own row of the table answers, without one the study's `models` counts"


@dataclass(frozen=True)
class Group:
    """One model: the tasks it is trained on, and those of them that it serves."""

    tasks: tuple[str, ...]
    serves: tuple[str, ...]


@dataclass(frozen=True)
class Grouping:
    """Groups that together serve every task once, in the order of the first task that each serves.

    ``score`` is the mean over the tasks of the worth of their group to them, ``None`` if unknown. ``proven`` says
    whether no other grouping under the same budget scores higher.
    """

    groups: tuple[Group, ...]
    score: float | None
    proven: bool

    def find_group_serving(self, task: str) -> Group:
        """The group that serves ``task``."""
        return next(group for group in self.groups if task in group.serves)


def compute_worth(values: np.ndarray, members: Iterable[int]) -> np.ndarray:
    """The worth of a group to each of its ``members``, (members,), from affinities (tasks, tasks).

    >>> compute_worth(np.array([[0, 2, 4], [1, 0, 1], [6, 8, 0]]), (0, 1, 2))
    array([3., 1., 7.])
    """
    places = list(members)
    among: np.ndarray = values[np.ix_(places, places)].astype(float)
    if len(places) == 1:
        return among.ravel()
    np.fill_diagonal(among, 0.0)
    onto: np.ndarray = among.sum(axis=1) / (len(places) - 1)
    return onto


def assign_to_best(affinity: Affinity, trained: Iterable[tuple[int, ...]], proven: bool) -> Grouping:
    """The ``trained`` groups, as positions in ``affinity``, each task served by the one that is worth most to it.

    If groups are worth the same, the smaller one serves, then the one whose members come first. A group that would
    serve no task is left out.
    """
    ordered = sorted({tuple(sorted(group)) for group in trained}, key=lambda group: (len(group), group))
    onto = np.full((len(ordered), len(affinity.tasks)), -np.inf)  # (groups, tasks)
    for row, group in enumerate(ordered):
        onto[row, list(group)] = np.nan_to_num(compute_worth(affinity.values, group), nan=np.finfo(float).min)
    best = onto.argmax(axis=0)  # (tasks,); the first of equals
    groups = [
        _build_group(affinity.tasks, ordered[row], np.flatnonzero(best == row)) for row in dict.fromkeys(best.tolist())
    ]
    values = onto.max(axis=0)
    score = float(values.mean()) if (values > np.finfo(float).min).all() else None
    return Grouping(tuple(groups), score, proven)


def group_without_evidence(problem: Problem) -> Grouping:
    """The answer before there is any evidence: the primary alone; without a primary a single model for all tasks."""
    if problem.primary is None:
        return group_all(problem)
    return Grouping((Group((problem.primary,), (problem.primary,)),), score=None, proven=False)


def group_all(problem: Problem) -> Grouping:
    """A single model for all tasks: the answer where nothing can be told from chance."""
    return Grouping((Group(problem.names, problem.names),), score=None, proven=False)


def build_selection(problem: Problem, grouping: Grouping, belief: Mapping[str, JSON]) -> Selection:
    """The groups as an answer; with a primary, the mixture of the group that serves it."""
    if problem.primary is not None:
        return Selection("mixture", grouping.find_group_serving(problem.primary).tasks, belief=belief)
    groups = tuple({"tasks": list(group.tasks), "serves": list(group.serves)} for group in grouping.groups)
    return Selection("groups", groups=groups, belief=belief)


def rank_sources(affinity: Affinity, primary: str) -> dict[str, float]:
    """The affinity of each source onto ``primary``, the best first; sources without one are left out."""
    known = {source: value for source, value in affinity.read_row(primary).items() if not math.isnan(value)}
    return {source: known[source] for source in rank_tasks(known)}


def select_for_primary(
    problem: Problem, sources: Collection[str], row: Mapping[str, float], belief: Mapping[str, JSON]
) -> Selection:
    """The primary with ``sources``, in the study's order; ``belief`` also holds the ``row`` they were chosen by."""
    tasks = tuple(name for name in problem.names if name == problem.primary or name in sources)
    return Selection("mixture", tasks, belief={"onto_primary": dict(row), **belief})


def _build_group(tasks: tuple[str, ...], trained: tuple[int, ...], serves: np.ndarray) -> Group:
    return Group(tuple(tasks[i] for i in trained), tuple(tasks[i] for i in serves))
