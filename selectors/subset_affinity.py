"""What a task does for another on average beside all others: affinity from the losses of random subsets of tasks.

Source: Li, Ju, Sharma and Zhang, "Boosting Multitask Learning on Graphs through Higher-Order Task Affinities", KDD 2023
(https://arxiv.org/abs/2306.14009): for recipient i and source j the mean of what i came to in the drawn subsets that
hold both. A pair is thus judged beside others, where TAG and pairs trained alone judge it by itself.

Where we differ: a row is the *share of i's mean loss* that j takes away, 1 - mean loss with j / mean loss of i, and not
the mean itself. Which sources a task prefers is the same; but rows of different tasks can be averaged and compared,
where otherwise a task of high loss would seem near to nobody. Every pair is drawn: where subsets happen to miss one, a
subset is added for it.

Of n tasks and subsets of s a pair is in a share of s (s - 1) / (n (n - 1)) of them: 200 subsets of a quarter of the
tasks hold each pair about twelve times. Where not every subset of a size is drawn, sources that happen to meet often
have part of each other's mean, so that the table is worth fewer independent numbers (``independent``). Nothing here is
trained or costly. What holds only for one subset is lost.
"""

from __future__ import annotations

import itertools
import math

import numpy as np


def drawn_subsets(tasks: int, size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Different subsets of ``size``, (subsets, tasks) bool, in which every pair is together at least once.

    All there are, if these are no more than ``count``. Raises ``ValueError`` unless 2 ≤ ``size`` ≤ ``tasks``.
    """
    if not 2 <= size <= tasks:
        raise ValueError(f"subsets must have 2 to {tasks} tasks, got {size}")
    if math.comb(tasks, size) <= count:
        return _masks(list(itertools.combinations(range(tasks), size)), tasks)
    drawn: dict[tuple[int, ...], None] = {}
    while len(drawn) < count:
        drawn[tuple(sorted(rng.permutation(tasks)[:size].tolist()))] = None
    masks = _masks(list(drawn), tasks)
    together = masks.T.astype(int) @ masks
    for one, other in itertools.combinations(range(tasks), 2):
        if not together[one, other]:
            rest = rng.permutation([task for task in range(tasks) if task not in (one, other)])
            added = _masks([(one, other, *rest[: size - 2].tolist())], tasks)
            masks, together = np.vstack([masks, added]), together + added.T.astype(int) @ added
    return masks


def mean_gains(masks: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """The share of its mean loss that each task is spared beside each other, (tasks, tasks), [recipient, source].

    ``losses``, (subsets, tasks), are read where ``masks`` is true. 0 on the diagonal; nan for a pair that is in no
    subset. A loss that is 0 throughout leaves nothing to gain: 0.

    >>> mean_gains(np.array([[1, 1, 0], [1, 0, 1]], bool), np.array([[1.0, 4, 0], [3, 0, 5]])).round(2)
    array([[ 0. ,  0.5, -0.5],
           [ 0. ,  0. ,  nan],
           [ 0. ,  nan,  0. ]])
    """
    held = np.where(masks, losses, 0.0)
    together = masks.T.astype(float) @ masks  # (recipient, source): in how many subsets
    with np.errstate(invalid="ignore", divide="ignore"):
        beside = (held.T @ masks) / together
        own = np.diag(beside)[:, None]
        gains: np.ndarray = np.where(own == 0, beside, 1 - beside / np.where(own == 0, 1.0, own))
    return gains


def independent(masks: np.ndarray) -> float:
    """As many independent numbers as the table of ``masks``, (subsets, tasks), is worth, rows less their means.

    If in recipient i's row each source k has an effect of its own on i, the mean over the subsets that hold i and j
    has source k's effect in the share of them that hold k as well. Of effects that are pure noise the row therefore has
    the covariance C Cᵀ, C these shares less their column means over j, and a correlation of two such tables varies like
    one of (Σ tr C Cᵀ)² / Σ tr (C Cᵀ)² numbers (F. Satterthwaite, "An Approximate Distribution of Estimates of Variance
    Components", Biometrics Bulletin, 1946). Where every subset of a size is drawn these are tasks * (tasks - 2).
    """
    total = squares = 0.0
    for recipient in range(masks.shape[1]):
        beside = np.delete(masks[masks[:, recipient]], recipient, axis=1).astype(float)
        shares = (beside.T @ beside) / beside.sum(axis=0)[:, None]
        centred = shares - shares.mean(axis=0)
        covariance = centred @ centred.T
        total += float(np.trace(covariance))
        squares += float((covariance**2).sum())
    return total**2 / squares if squares > 0 else 0.0


def _masks(subsets: list[tuple[int, ...]], tasks: int) -> np.ndarray:
    masks = np.zeros((len(subsets), tasks), dtype=bool)
    for row, subset in enumerate(subsets):
        masks[row, list(subset)] = True
    return masks
