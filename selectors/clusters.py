"""Disjoint groups of tasks that are near each other, from affinities that count in both directions alike.

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

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.linalg import qr, svd
from scipy.spatial.distance import squareform

from auxtune.selectors.affinity import Affinity

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
