"""How a table of pairs becomes an answer: groups of tasks, each trained as one model, or what serves the primary.

A group is trained on its ``tasks`` and serves some of them; groups may overlap, since a task may be trained in a group
only to help the others there, and be served by another. What a group is worth to a member is the mean affinity of the
other members onto it, and alone the member's affinity to itself.

With a primary no groups are made. A grouping that is best for all tasks on average is not the one that is best for one
of them: tasks that harm the primary are in its group where they are useful to others, and what helps it is left out
where a smaller group is worth more on average. So the sources are looked at by the primary's own row of the table
(``row_of``), and what other tasks need plays no part.

From a score for each task to a subset: the best few, or all above a threshold.

No source: they are what every ranking method ends with. Groups are made from pairs of tasks, which is another matter
(``cover.py`` under a budget of models, clusters where there are too many tasks for that). Both functions are
deterministic: of equal scores the one that comes first in the mapping, the study's order of tasks, is taken first.

Disjoint groups of tasks that are near each other, from affinities that count in both directions alike.

Two ways. *Spectral*: the leading eigenvectors of the normalised similarity, as in A. Ng, M. Jordan, Y. Weiss, "On
Spectral Clustering", NeurIPS 2001, read off by a QR factorisation with pivots (A. Damle, V. Minden, L. Ying, "Simple,
direct and efficient multi-way spectral clustering", 2019, https://arxiv.org/abs/1609.08251) and not by k-means, so that
nothing is drawn and nothing depends on a start. It balances, and is for many tasks under a budget of models. *Complete
linkage*: two clusters are as near as their farthest pair, so that in a cluster cut at a threshold every pair reaches
it; it is for a rule about pairs.

Both take milliseconds. Do not use them where groups may overlap and there are few tasks: ``cover.py`` then finds better
ones, and proves it.
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


def ranked(scores: Mapping[str, float]) -> tuple[str, ...]:
    """All tasks, the best first, ties in the mapping's order. Raises ``ValueError`` for a score that is not a number.

    >>> ranked({"a": 1.0, "b": 3.0, "c": 3.0})
    ('b', 'c', 'a')
    """
    unknown = [task for task, score in scores.items() if math.isnan(score)]
    if unknown:
        raise ValueError(f"scores must be numbers, got nan for {', '.join(unknown)}; leave out what is not known")
    return tuple(sorted(scores, key=lambda task: -scores[task]))


def top_k(scores: Mapping[str, float], k: int) -> tuple[str, ...]:
    """The ``k`` best tasks, all if there are fewer, the best first. Raises ``ValueError`` for a negative ``k``."""
    if k < 0:
        raise ValueError(f"k must be at least 0, got {k}")
    return ranked(scores)[:k]


def at_least(scores: Mapping[str, float], threshold: float) -> tuple[str, ...]:
    """The tasks with a score of at least ``threshold``, the best first; perhaps none."""
    return tuple(task for task in ranked(scores) if scores[task] >= threshold)


_FLOOR = 1e-6  # of the largest similarity: no pair is wholly apart


def spectral(affinity: Affinity, most: int) -> tuple[tuple[str, ...], ...]:
    """At most ``most`` clusters, in the order of their first tasks. Raises ``ValueError`` for what is not known."""
    values = _known(affinity)
    similarity = values - values.min()
    similarity += _FLOOR * similarity.max() or 1.0
    np.fill_diagonal(similarity, 0.0)  # what a task does for itself says nothing of its neighbours
    if most >= len(values):
        return tuple((task,) for task in affinity.tasks)
    degrees = np.sqrt(similarity.sum(axis=1))
    _, vectors = np.linalg.eigh(similarity / np.outer(degrees, degrees))
    leading = vectors[:, -most:]  # (tasks, clusters)
    _, _, pivots = qr(leading.T, pivoting=True)  # a task in the middle of each cluster
    left, _, right = svd(leading[pivots[:most]].T)
    near = np.abs(leading @ (left @ right))
    return _clusters(affinity.tasks, near.argmax(axis=1))


def complete_linkage(affinity: Affinity, threshold: float, most: int | None = None) -> tuple[tuple[str, ...], ...]:
    """Clusters in which every pair's affinity is at least ``threshold``, in the order of their first tasks.

    Where these are more than ``most``, the nearest are joined until they are not, whatever the threshold. Raises
    ``ValueError`` for what is not known.
    """
    values = _known(affinity)
    if len(values) == 1:
        return (affinity.tasks,)
    tree = linkage(squareform(values.max() - values, checks=False), "complete")
    labels = fcluster(tree, values.max() - threshold, "distance")
    if most is not None and len(set(labels.tolist())) > most:
        labels = fcluster(tree, most, "maxclust")
    return _clusters(affinity.tasks, labels)


def _known(affinity: Affinity) -> np.ndarray:
    """Symmetrised affinities with the diagonal at their maximum. Raises ``ValueError`` where one is not known."""
    if not affinity.known:
        raise ValueError("clusters need every affinity, got nan for some; leave out the tasks that are not known")
    values = np.array(affinity.symmetrised().values)
    off = values[~np.eye(len(values), dtype=bool)]
    np.fill_diagonal(values, off.max() if off.size else 0.0)
    return values


def _clusters(tasks: tuple[str, ...], labels: np.ndarray) -> tuple[tuple[str, ...], ...]:
    return tuple(
        tuple(task for task, own in zip(tasks, labels, strict=True) if own == label)
        for label in dict.fromkeys(labels.tolist())
    )


MODELS = 3  # groups at the most where the problem names no number
# Of an option that older study files have.
MODELS_UNREAD = "with a primary its own row of the table answers, without one the study's `models` counts"


@dataclass(frozen=True)
class Group:
    """One model: the tasks it is trained on, and those of them that it serves."""

    tasks: tuple[str, ...]
    serves: tuple[str, ...]


@dataclass(frozen=True)
class Grouping:
    """Groups that together serve every task once, in the order of the first task that each serves.

    ``score`` is the mean over the tasks of what their group is worth to them, ``None`` where that is not known.
    ``proven`` says whether no other grouping under the same budget scores higher.
    """

    groups: tuple[Group, ...]
    score: float | None
    proven: bool

    def serving(self, task: str) -> Group:
        """The group that serves ``task``."""
        return next(group for group in self.groups if task in group.serves)


def worth(values: np.ndarray, members: Iterable[int]) -> np.ndarray:
    """What a group is worth to each of its ``members``, (members,), from affinities (tasks, tasks).

    >>> worth(np.array([[0, 2, 4], [1, 0, 1], [6, 8, 0]]), (0, 1, 2))
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
    """The ``trained`` groups, places in ``affinity``, each task served by the one that is worth most to it.

    Of groups worth the same the smaller serves, then the one whose members come first. A group that would serve nobody
    is left out.
    """
    ordered = sorted({tuple(sorted(group)) for group in trained}, key=lambda group: (len(group), group))
    onto = np.full((len(ordered), len(affinity.tasks)), -np.inf)  # (groups, tasks)
    for row, group in enumerate(ordered):
        onto[row, list(group)] = np.nan_to_num(worth(affinity.values, group), nan=np.finfo(float).min)
    best = onto.argmax(axis=0)  # (tasks,); the first of equals
    groups = [_group(affinity.tasks, ordered[row], np.flatnonzero(best == row)) for row in dict.fromkeys(best.tolist())]
    values = onto.max(axis=0)
    score = float(values.mean()) if (values > np.finfo(float).min).all() else None
    return Grouping(tuple(groups), score, proven)


def alone_or_together(problem: Problem) -> Grouping:
    """What to say before anything is known: the primary alone; without one a single model for all tasks."""
    if problem.primary is None:
        return group_all(problem)
    return Grouping((Group((problem.primary,), (problem.primary,)),), score=None, proven=False)


def group_all(problem: Problem) -> Grouping:
    """A single model for all tasks: what is left where nothing can be told from chance."""
    return Grouping((Group(problem.names, problem.names),), score=None, proven=False)


def answer(problem: Problem, grouping: Grouping, belief: Mapping[str, JSON]) -> Selection:
    """The groups; of those that hold one task or all, where there is a primary, the mixture that serves it."""
    if problem.primary is not None:
        return Selection("mixture", grouping.serving(problem.primary).tasks, belief=belief)
    groups = tuple({"tasks": list(group.tasks), "serves": list(group.serves)} for group in grouping.groups)
    return Selection("groups", groups=groups, belief=belief)


def row_of(affinity: Affinity, primary: str) -> dict[str, float]:
    """What each source does for ``primary``, the best first; those of which nothing is known are left out."""
    known = {source: value for source, value in affinity.onto(primary).items() if value == value}
    return {source: known[source] for source in ranked(known)}


def answer_for_primary(
    problem: Problem, sources: Collection[str], row: Mapping[str, float], belief: Mapping[str, JSON]
) -> Selection:
    """The primary with ``sources``, in the study's order; ``belief`` also holds the ``row`` they were chosen by."""
    tasks = tuple(name for name in problem.names if name == problem.primary or name in sources)
    return Selection("mixture", tasks, belief={"onto_primary": dict(row), **belief})


def _group(tasks: tuple[str, ...], trained: tuple[int, ...], serves: np.ndarray) -> Group:
    return Group(tuple(tasks[i] for i in trained), tuple(tasks[i] for i in serves))
