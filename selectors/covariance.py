"""Statistics on the covariances of tasks: how like two of them are, and what labels make of the same inputs.

Notation. X (rows, width) are a task's vectors and C (width, width) is XᵀX up to a positive factor, which nothing here
depends on. θ (width,) is Xᵀy for a column y of labels. U_r are the first r left singular vectors of [θ_1 … θ_k].

Source: S. Wu, H. R. Zhang, C. Ré, *Understanding and Improving Information Transfer in Multi-Task Learning*, ICLR 2020,
https://arxiv.org/abs/2005.00944, the covariance similarity score and the SVD-based reweighting.
"""

from __future__ import annotations

import numpy as np

HELD = 0.99  # of the spectrum, by the eigenpairs that count


def leading(covariance: np.ndarray, held: float = HELD) -> np.ndarray:
    """``covariance`` (width, width) from no more of its leading eigenpairs than hold ``held`` of its trace.

    The paper takes the share of singular values; those of XᵀX, which it decomposes, are its eigenvalues.
    """
    values, vectors = np.linalg.eigh(covariance)
    values = np.clip(values[::-1], 0.0, None)  # rounding leaves the smallest a little below 0
    total = np.cumsum(values)
    kept = 1 + int(np.searchsorted(total, held * total[-1])) if held < 1 else len(values)
    vectors = vectors[:, ::-1][:, :kept]
    truncated: np.ndarray = (vectors * values[:kept]) @ vectors.T
    return truncated


def similarity(first: np.ndarray, second: np.ndarray, held: float = HELD) -> float:
    """The paper's score of two covariances, in [0, 1]: ‖(U₁D₁^½)ᵀ U₂D₂^½‖ / (‖U₁D₁^½‖ ‖U₂D₂^½‖), of leading eigenpairs.

    Equal to √(tr C₁C₂ / (tr C₁ · tr C₂)) of what ``leading`` leaves. That of a task with itself is not 1, but one over
    the root of its effective rank. 0 where either is all zero.
    """
    first, second = leading(first, held), leading(second, held)
    return float(np.sqrt(max(0.0, _ratio(np.sum(first * second), np.trace(first) * np.trace(second)))))


def normalised(first: np.ndarray, second: np.ndarray) -> float:
    """The cosine of two covariances as vectors, tr C₁C₂ / (‖C₁‖ ‖C₂‖), in [0, 1]: ours, 1 for a task with itself."""
    return _ratio(np.sum(first * second), np.linalg.norm(first) * np.linalg.norm(second))


def centred(moment: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The covariance about the mean, from the second ``moment`` E[x xᵀ] and the ``mean`` (width,)."""
    about: np.ndarray = moment - np.outer(mean, mean)
    return about


def leading_directions(columns: np.ndarray, rank: int) -> np.ndarray:
    """The first ``rank`` left singular vectors of ``columns`` (width, k), as columns: (width, at most ``rank``)."""
    directions: np.ndarray = np.linalg.svd(columns, full_matrices=False)[0]
    return directions[:, :rank]


def svd_weights(columns: np.ndarray, rank: int) -> np.ndarray:
    """(k,): the norm of each of ``columns`` θ (width, k) within their first ``rank`` directions, α_i = ‖θ_iᵀ U_r‖."""
    weights: np.ndarray = np.linalg.norm(columns.T @ leading_directions(columns, rank), axis=1)
    return weights


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else 0.0
