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

How alike runs are, measured before: in the place of the arrays from which it would be computed.

A recorded table keeps numbers about pairs, not the arrays of every run. Evidence in this form is a run's likeness to
each task by the method that compared them; a selector that meets it takes the number instead of computing it.

Statistics on the covariances of tasks: how like two of them are, and what labels make of the same inputs.

Notation. X (rows, width) are a task's vectors and C (width, width) is XᵀX up to a positive factor, which nothing here
depends on. θ (width,) is Xᵀy for a column y of labels. U_r are the first r left singular vectors of [θ_1 … θ_k].

Source: S. Wu, H. R. Zhang, C. Ré, *Understanding and Improving Information Transfer in Multi-Task Learning*, ICLR 2020,
https://arxiv.org/abs/2005.00944, the covariance similarity score and the SVD-based reweighting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def likenesses(tasks: Sequence[str], rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One run's evidence: by method its likeness to every task, (tasks,), ``nan`` where unknown."""
    return {"recorded_tasks": np.array(tasks), **{f"recorded/{method}": row for method, row in rows.items()}}


def recorded(arrays: Mapping[str, np.ndarray], method: str, source: str) -> float | None:
    """What ``source`` is to the run whose evidence ``arrays`` is; ``None`` where that must be computed.

    Raises ``ValueError`` for recorded evidence that does not hold ``method``.
    """
    if "recorded_tasks" not in arrays:
        return None
    if f"recorded/{method}" not in arrays:
        has = ", ".join(sorted(name.partition("/")[2] for name in arrays if "/" in name))
        raise ValueError(f"recorded evidence must hold the method {method}, got {has}")
    places = arrays["recorded_tasks"].tolist()
    return float(arrays[f"recorded/{method}"][places.index(source)])


def read_recorded_table(names: Sequence[str], runs: Mapping[str, Mapping[str, np.ndarray]], method: str) -> np.ndarray:
    """All pairs of the runs' evidence, (names, names), ``nan`` where a run has none that was recorded."""
    table = np.full((len(names),) * 2, np.nan)
    for row, name in enumerate(names):
        for column, source in enumerate(names):
            value = recorded(runs[name], method, source) if name in runs and source in runs else None
            table[row, column] = np.nan if value is None else value
    return table


FEWEST_TEXTS = 200  # unrelated width-4 features: 0.02 over 200 texts, 0.07 over 50
_NOISE = 1e-6  # of the numbers themselves: float32 keeps seven digits


def linear_cka(features: Sequence[np.ndarray], *, unbiased: bool = True, fewest: int = FEWEST_TEXTS) -> np.ndarray:
    """Centred kernel alignment of every pair of representations of the same texts, (models, models).

    Each is (texts, width), of any width. ``nan`` with one that is the same for all texts.

    >>> one, other = np.array([[1.0], [2.0], [3.0], [4.0]]), np.array([[1.0], [3.0], [2.0], [4.0]])
    >>> linear_cka([one, other], unbiased=False, fewest=4).round(2).tolist()
    [[1.0, 0.64], [0.64, 1.0]]

    Raises ``ValueError`` for different texts and for fewer than ``fewest`` of them; the unbiased form needs 4 at least.
    """
    shapes = [each.shape for each in features]
    if any(len(shape) != 2 or shape[0] != shapes[0][0] for shape in shapes):
        raise ValueError(f"representations must be of the same texts, (texts, width) each; got {shapes}")
    texts, least = shapes[0][0], max(fewest, 4 if unbiased else 2)
    if texts < least:
        raise ValueError(f"CKA needs at least {least} texts, got {texts}: over few, all representations look alike")
    centred = [_centred(each) for each in features]
    together, starts = np.hstack(centred), np.cumsum([0, *(width for _, width in shapes[:-1])])
    dependence = np.array([np.add.reduceat(((each.T @ together) ** 2).sum(axis=0), starts) for each in centred])
    if unbiased:
        dependence += _correction(np.array([(each**2).sum(axis=1) for each in centred]))
    own = np.diag(dependence)  # unbiased it can be 0 or below, where texts hardly stand out
    length = np.sqrt(np.where(own > 0, own, np.nan))
    alignment: np.ndarray = dependence / np.outer(length, length)
    return alignment


def layer_cka(hidden: Sequence[np.ndarray], *, unbiased: bool = True) -> np.ndarray | None:
    """``linear_cka`` of each layer, (layers, models, models), of hidden states (layers, texts, width) each.

    ``None`` where there are fewer than ``FEWEST_TEXTS`` texts. Raises ``ValueError`` for different texts or layers.
    """
    if hidden[0].shape[1] < FEWEST_TEXTS:
        return None
    return np.array([linear_cka(layer, unbiased=unbiased) for layer in zip(*hidden, strict=True)])


def gradient_cosines(projections: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of every pair of tasks' gradients, from projections (batches, blocks, kept) each.

    Over all blocks, (batches, tasks, tasks), and within each, (batches, blocks, tasks, tasks). 0 where one of them is
    zero: it points nowhere. Raises ``ValueError`` for different shapes.
    """
    inner = np.array([_inner(batch) for batch in zip(*_alike(projections), strict=True)])
    return _cosines(inner.sum(axis=1)), _cosines(inner)


def magnitude_similarities(norms: Sequence[np.ndarray]) -> np.ndarray:
    """How alike in length every pair of tasks' gradients is, (batches, tasks, tasks), from norms (batches, blocks).

    1 for equal lengths, towards 0 the more they differ; 0 where both are zero. Raises ``ValueError`` as above.
    """
    squares = np.array([(each.astype(float) ** 2).sum(axis=1) for each in _alike(norms)]).T  # (batches, tasks)
    total = squares[:, :, None] + squares[:, None, :]
    product = 2 * np.sqrt(squares[:, :, None] * squares[:, None, :])
    alike: np.ndarray = np.divide(product, total, out=np.zeros_like(total), where=total > 0)
    return alike


def _centred(features: np.ndarray) -> np.ndarray:
    """Columns less their means, float64, on a scale of 1; all zero where nothing but float noise is left."""
    exact = features.astype(float)
    centred: np.ndarray = exact - exact.mean(axis=0)
    scale = np.abs(centred).max()
    centred /= np.inf if scale <= _NOISE * np.abs(exact).max() else scale
    return centred


def _correction(own: np.ndarray) -> np.ndarray:
    """What makes every ||Yᵀ X||² unbiased, (models, models), from the squared lengths ``own``, (models, texts).

    Song's estimator is tr(K L) + (1ᵀK1)(1ᵀL1) / ((n - 1)(n - 2)) - 2 / (n - 2) 1ᵀK L1, up to a factor that CKA cancels,
    for n texts and K = X Xᵀ, L = Y Yᵀ without their diagonals. Centred columns sum to 0, so what is left of a row of K
    sums to minus its diagonal, and neither K nor L is ever built.
    """
    texts, total, both = own.shape[1], own.sum(axis=1), own @ own.T
    corrected: np.ndarray = np.outer(total, total) / ((texts - 1) * (texts - 2)) - both - 2 / (texts - 2) * both
    return corrected


def _inner(gradients: Sequence[np.ndarray]) -> np.ndarray:
    """Inner products within each block, (blocks, tasks, tasks), of gradients (blocks, kept) each."""
    stacked = np.array(gradients, dtype=float).swapaxes(0, 1)
    products: np.ndarray = stacked @ stacked.swapaxes(1, 2)
    return products


def _cosines(inner: np.ndarray) -> np.ndarray:
    """Cosines from inner products (…, tasks, tasks)."""
    length = np.sqrt(np.diagonal(inner, axis1=-2, axis2=-1))
    lengths = length[..., :, None] * length[..., None, :]
    cosines = np.divide(inner, lengths, out=np.zeros_like(inner), where=lengths > 0)
    within: np.ndarray = np.clip(cosines, -1.0, 1.0)  # rounding may pass 1 by a hair
    return within


def _alike(arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    shapes = {each.shape for each in arrays}
    if len(shapes) > 1:
        raise ValueError(f"gradients must be of as many batches and blocks for each task, got {sorted(shapes)}")
    return arrays


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
