"""How alike two trained models are: their representations of the same texts, and the directions of their gradients.

Sources. Linear CKA: S. Kornblith, M. Norouzi, H. Lee, G. Hinton, "Similarity of Neural Network Representations
Revisited", ICML 2019, https://arxiv.org/abs/1905.00414. Its unbiased form puts the estimator of L. Song et al.,
"Feature Selection via Dependence Maximization", JMLR 2012, in the place of HSIC, as T. Nguyen, M. Raghu,
S. Kornblith, "Do Wide and Deep Networks Learn the Same Things?", ICLR 2021, https://arxiv.org/abs/2010.15327, do.
Magnitude similarity: T. Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020,
https://arxiv.org/abs/2001.06782.

Why unbiased: over few texts the plain index of unrelated representations is far above 0, about width / (width + texts),
so that a probe of a few hundred texts finds every pair of wide models alike. The unbiased one is 0 on average,
which is why it can be below 0. Both are 1 for a representation and its rotation, scaling or shift. Neither is worth
much under ``FEWEST_TEXTS`` texts.

Gradients arrive as random projections, which keep inner products to about 1 / sqrt(numbers kept), 0.016 for 4,096; the
lengths of the projections themselves make the cosine, so that a gradient has exactly 1 with itself and never more with
another.
"""

from __future__ import annotations

import numpy as np

FEWEST_TEXTS = 200                                     # unrelated width-4 features: 0.02 over 200 texts, 0.07 over 50
_NOISE = 1e-6                                          # of the numbers themselves: float32 keeps seven digits


def linear_cka(one: np.ndarray, other: np.ndarray, *, unbiased: bool = True, fewest: int = FEWEST_TEXTS) -> float:
    """Centred kernel alignment of two representations of the same texts, (texts, width) each; widths may differ.

    ``nan`` where one of them is the same for all texts. Raises ``ValueError`` for different texts and for fewer than
    ``fewest`` of them (the unbiased form needs 4 in any case).
    """
    if one.ndim != 2 or other.ndim != 2 or len(one) != len(other):
        raise ValueError(f"representations must be of the same texts, (texts, width); got {one.shape}, {other.shape}")
    least = max(fewest, 4 if unbiased else 2)
    if len(one) < least:
        raise ValueError(f"CKA needs at least {least} texts, got {len(one)}: over few, everything looks alike")
    first, second = _centred(one), _centred(other)
    if not (first.any() and second.any()):
        return float("nan")
    index = _unbiased_hsic if unbiased else _hsic
    # The unbiased index of a representation with itself can be 0 or below, where no two texts stand out together.
    spread = index(first, first) * index(second, second)
    return float(index(first, second) / np.sqrt(spread)) if spread > 0 else float("nan")


def layer_cka(one: np.ndarray, other: np.ndarray, *, unbiased: bool = True) -> np.ndarray | None:
    """``linear_cka`` layer by layer, (layers,), of hidden states (layers, texts, width); ``None`` of too few texts."""
    if one.shape[1] < FEWEST_TEXTS:
        return None
    return np.array([linear_cka(*pair, unbiased=unbiased) for pair in zip(one, other, strict=True)])


def gradient_cosine(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The cosine of two tasks' gradients for each batch, (batches,), over all blocks: (batches, blocks, kept) each.

    0 where one of them is zero: it points nowhere. Raises ``ValueError`` for different shapes.
    """
    return _cosine(*(_same_shape(one, other)[i].reshape(len(one), -1) for i in (0, 1)))


def block_cosine(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The same within each block: (batches, blocks)."""
    return _cosine(*_same_shape(one, other))


def magnitude_similarity(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How alike in length two tasks' gradients are, for each batch, (batches,), from norms (batches, blocks) each.

    1 for equal lengths, towards 0 the more they differ; 0 where both are zero.
    """
    first, second = (np.sqrt((norms.astype(float) ** 2).sum(axis=1)) for norms in _same_shape(one, other))
    total = first**2 + second**2
    alike: np.ndarray = np.divide(2 * first * second, total, out=np.zeros_like(total), where=total > 0)
    return alike


def _centred(features: np.ndarray) -> np.ndarray:
    """Columns less their means, float64, on a scale of 1; all zero where nothing but float noise is left."""
    exact = features.astype(float)
    centred: np.ndarray = exact - exact.mean(axis=0)
    scale = np.abs(centred).max()
    if scale <= _NOISE * np.abs(exact).max():
        return np.zeros_like(centred)
    return centred / scale


def _hsic(one: np.ndarray, other: np.ndarray) -> float:
    """Dependence of centred features, up to a factor that CKA cancels."""
    return float(((other.T @ one) ** 2).sum())


def _unbiased_hsic(one: np.ndarray, other: np.ndarray) -> float:
    """Song's estimator, up to a factor, with K = X Xᵀ and L = Y Yᵀ without their diagonals, which are never built.

    tr(K L) + (1ᵀK1)(1ᵀL1) / ((n - 1)(n - 2)) - 2 / (n - 2) 1ᵀK L1, for n texts.
    """
    texts = len(one)
    own, others = (one**2).sum(axis=1), (other**2).sum(axis=1)         # the diagonals, (texts,)
    # Centred columns sum to 0, so K's rows without the diagonal sum to minus the diagonal.
    trace = ((other.T @ one) ** 2).sum() - own @ others
    return float(trace + own.sum() * others.sum() / ((texts - 1) * (texts - 2)) - 2 / (texts - 2) * (own @ others))


def _cosine(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Cosines along the last axis."""
    first, second = one.astype(float), other.astype(float)
    lengths = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    inner = (first * second).sum(axis=-1)
    cosine: np.ndarray = np.divide(inner, lengths, out=np.zeros_like(inner), where=lengths > 0)
    return np.clip(cosine, -1.0, 1.0)                  # rounding may pass 1 by a hair


def _same_shape(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if one.shape != other.shape:
        raise ValueError(f"gradients must be of as many batches and blocks, got {one.shape} and {other.shape}")
    return one, other
