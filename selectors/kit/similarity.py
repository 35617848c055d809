"""How alike two trained models, two gradients or two covariances are.

**Representations and gradients.** Sources. Linear CKA: S. Kornblith, M. Norouzi, H. Lee, G. Hinton, "Similarity of
Neural Network Representations Revisited", ICML 2019, https://arxiv.org/abs/1905.00414. Its unbiased form replaces HSIC
by the estimator of L. Song et al., "Feature Selection via Dependence Maximization", JMLR 2012, as in T. Nguyen,
M. Raghu, S. Kornblith, "Do Wide and Deep Networks Learn the Same Things?", ICLR 2021, https://arxiv.org/abs/2010.15327.
Magnitude similarity: T. Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020,
https://arxiv.org/abs/2001.06782.

Why unbiased: over few texts the plain index of unrelated representations is far above 0, about width / (width + texts),
so that with a few hundred texts every pair of wide models looks alike. The unbiased one is 0 on average, and so it can
be negative. Both are 1 for a representation and its rotation, scaling or shift. Neither is worth much with fewer than
``FEWEST_TEXTS`` texts.

Gradients arrive as random projections, which preserve inner products to about 1 / sqrt(size), 0.016 for 4,096 numbers.
Cosines divide by the lengths of the projections themselves, so that a gradient's cosine with itself is exactly 1 and
never larger with another.

**Recorded similarities** (``record_likenesses``, ``read_recorded``). A recorded table holds numbers about pairs, not
the arrays of every run. Such evidence is a run's likeness to each task by the method that compared them; a selector
that finds it uses the number and computes nothing.

**Covariances.** Notation. X (rows, width) are a task's vectors and C (width, width) is XᵀX up to a positive factor, on
which nothing here depends. θ (width,) is Xᵀy for a column y of labels. U_r are the first r left singular vectors of
[θ_1 … θ_k]. Source: S. Wu, H. R. Zhang, C. Ré, *Understanding and Improving Information Transfer in Multi-Task
Learning*, ICLR 2020, https://arxiv.org/abs/2005.00944, for the covariance similarity score and the SVD-based
reweighting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def record_likenesses(tasks: Sequence[str], rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A run's evidence in recorded form: by each method its likeness to every task, (tasks,), or ``nan``."""
    return {"recorded_tasks": np.array(tasks), **{f"recorded/{method}": row for method, row in rows.items()}}


def read_recorded(arrays: Mapping[str, np.ndarray], method: str, source: str) -> float | None:
    """The recorded likeness of ``source`` to the run of these ``arrays``; ``None`` if it must be computed from them.

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
    """The recorded likeness of every pair of runs, (names, names), ``nan`` where none was recorded."""
    table = np.full((len(names),) * 2, np.nan)
    for row, name in enumerate(names):
        for column, source in enumerate(names):
            value = read_recorded(runs[name], method, source) if name in runs and source in runs else None
            table[row, column] = np.nan if value is None else value
    return table


FEWEST_TEXTS = 200  # unrelated width-4 features: 0.02 over 200 texts, 0.07 over 50
_NOISE = 1e-6  # of the numbers themselves: float32 keeps seven digits


def compute_cka(features: Sequence[np.ndarray], *, unbiased: bool = True, fewest: int = FEWEST_TEXTS) -> np.ndarray:
    """Centred kernel alignment of every pair of representations of the same texts, (models, models).

    Each is (texts, width), of any width. ``nan`` for a representation that is the same for all texts.

    >>> one, other = np.array([[1.0], [2.0], [3.0], [4.0]]), np.array([[1.0], [3.0], [2.0], [4.0]])
    >>> compute_cka([one, other], unbiased=False, fewest=4).round(2).tolist()
    [[1.0, 0.64], [0.64, 1.0]]

    Raises ``ValueError`` for different texts and for fewer than ``fewest`` of them; the unbiased form needs 4 at least.
    """
    shapes = [each.shape for each in features]
    if any(len(shape) != 2 or shape[0] != shapes[0][0] for shape in shapes):
        raise ValueError(f"representations must be of the same texts, (texts, width) each; got {shapes}")
    texts, least = shapes[0][0], max(fewest, 4 if unbiased else 2)
    if texts < least:
        raise ValueError(f"CKA needs at least {least} texts, got {texts}: over few, all representations look alike")
    centred = [_center_columns(each) for each in features]
    together, starts = np.hstack(centred), np.cumsum([0, *(width for _, width in shapes[:-1])])
    dependence = np.array([np.add.reduceat(((each.T @ together) ** 2).sum(axis=0), starts) for each in centred])
    if unbiased:
        dependence += _correct_bias(np.array([(each**2).sum(axis=1) for each in centred]))
    own = np.diag(dependence)  # the unbiased form can be 0 or below if texts hardly differ
    length = np.sqrt(np.where(own > 0, own, np.nan))
    alignment: np.ndarray = dependence / np.outer(length, length)
    return alignment


def compute_layer_cka(hidden: Sequence[np.ndarray], *, unbiased: bool = True) -> np.ndarray | None:
    """``compute_cka`` of each layer, (layers, models, models), of hidden states (layers, texts, width) each.

    ``None`` for fewer than ``FEWEST_TEXTS`` texts. Raises ``ValueError`` for different texts or layers.
    """
    if hidden[0].shape[1] < FEWEST_TEXTS:
        return None
    return np.array([compute_cka(layer, unbiased=unbiased) for layer in zip(*hidden, strict=True)])


def compute_gradient_cosines(projections: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of every pair of tasks' gradients, from projections (batches, blocks, kept) each.

    Over all blocks, (batches, tasks, tasks), and within each, (batches, blocks, tasks, tasks). 0 if one of them is
    zero, since it has no direction. Raises ``ValueError`` for different shapes.
    """
    inner = np.array([_compute_inner_products(batch) for batch in zip(*_check_shapes(projections), strict=True)])
    return _compute_cosines(inner.sum(axis=1)), _compute_cosines(inner)


def compute_magnitude_similarities(norms: Sequence[np.ndarray]) -> np.ndarray:
    """How alike in length every pair of tasks' gradients is, (batches, tasks, tasks), from norms (batches, blocks).

    1 for equal lengths, towards 0 the more they differ; 0 where both are zero. Raises ``ValueError`` as above.
    """
    squares = np.array([(each.astype(float) ** 2).sum(axis=1) for each in _check_shapes(norms)]).T  # (batches, tasks)
    total = squares[:, :, None] + squares[:, None, :]
    product = 2 * np.sqrt(squares[:, :, None] * squares[:, None, :])
    alike: np.ndarray = np.divide(product, total, out=np.zeros_like(total), where=total > 0)
    return alike


def _center_columns(features: np.ndarray) -> np.ndarray:
    """Columns less their means, float64, scaled to at most 1; all zero if only rounding noise is left."""
    exact = features.astype(float)
    centred: np.ndarray = exact - exact.mean(axis=0)
    scale = np.abs(centred).max()
    centred /= np.inf if scale <= _NOISE * np.abs(exact).max() else scale
    return centred


def _correct_bias(own: np.ndarray) -> np.ndarray:
    """The correction that makes every ||Yᵀ X||² unbiased, (models, models), from squared lengths (models, texts).

    Song's estimator is tr(K L) + (1ᵀK1)(1ᵀL1) / ((n - 1)(n - 2)) - 2 / (n - 2) 1ᵀK L1, up to a factor that CKA cancels,
    for n texts and K = X Xᵀ, L = Y Yᵀ without their diagonals. Because centred columns sum to 0, a row of K without its
    diagonal entry sums to minus that entry, so the squared lengths suffice and neither K nor L is ever built.
    """
    texts, total, both = own.shape[1], own.sum(axis=1), own @ own.T
    corrected: np.ndarray = np.outer(total, total) / ((texts - 1) * (texts - 2)) - both - 2 / (texts - 2) * both
    return corrected


def _compute_inner_products(gradients: Sequence[np.ndarray]) -> np.ndarray:
    """Inner products within each block, (blocks, tasks, tasks), of gradients (blocks, kept) each."""
    stacked = np.array(gradients, dtype=float).swapaxes(0, 1)
    products: np.ndarray = stacked @ stacked.swapaxes(1, 2)
    return products


def _compute_cosines(inner: np.ndarray) -> np.ndarray:
    """Cosines from inner products (…, tasks, tasks), in [-1, 1]; 0 for a vector of length 0."""
    length = np.sqrt(np.diagonal(inner, axis1=-2, axis2=-1))
    lengths = length[..., :, None] * length[..., None, :]
    cosines = np.divide(inner, lengths, out=np.zeros_like(inner), where=lengths > 0)
    within: np.ndarray = np.clip(cosines, -1.0, 1.0)  # rounding may exceed 1
    return within


def _check_shapes(arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    shapes = {each.shape for each in arrays}
    if len(shapes) > 1:
        raise ValueError(f"gradients must be of as many batches and blocks for each task, got {sorted(shapes)}")
    return arrays


HELD = 0.99  # share of the trace that the eigenpairs used must hold


def truncate_spectrum(covariance: np.ndarray, held: float = HELD) -> np.ndarray:
    """``covariance`` (width, width) rebuilt from the fewest leading eigenpairs that hold ``held`` of its trace.

    The paper takes a share of the singular values; for XᵀX, which it decomposes, these are the eigenvalues.
    """
    values, vectors = np.linalg.eigh(covariance)
    values = np.clip(values[::-1], 0.0, None)  # rounding leaves the smallest a little below 0
    total = np.cumsum(values)
    kept = 1 + int(np.searchsorted(total, held * total[-1])) if held < 1 else len(values)
    vectors = vectors[:, ::-1][:, :kept]
    truncated: np.ndarray = (vectors * values[:kept]) @ vectors.T
    return truncated


def compute_similarity(first: np.ndarray, second: np.ndarray, held: float = HELD) -> float:
    """The paper's score of two covariances, in [0, 1]: ‖(U₁D₁^½)ᵀ U₂D₂^½‖ / (‖U₁D₁^½‖ ‖U₂D₂^½‖), of leading eigenpairs.

    Equal to √(tr C₁C₂ / (tr C₁ · tr C₂)) of the covariances that ``truncate_spectrum`` returns. A task with
    itself scores not 1, but one over the root of its effective rank. 0 if either is all zero.
    """
    first, second = truncate_spectrum(first, held), truncate_spectrum(second, held)
    return float(np.sqrt(max(0.0, _divide(np.sum(first * second), np.trace(first) * np.trace(second)))))


def compute_cosine(first: np.ndarray, second: np.ndarray) -> float:
    """The cosine of two covariances as vectors, tr C₁C₂ / (‖C₁‖ ‖C₂‖), in [0, 1]: ours, 1 for a task with itself."""
    return _divide(np.sum(first * second), np.linalg.norm(first) * np.linalg.norm(second))


def subtract_mean(moment: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The covariance about the mean, from the second ``moment`` E[x xᵀ] and the ``mean`` (width,)."""
    about: np.ndarray = moment - np.outer(mean, mean)
    return about


def find_leading_directions(columns: np.ndarray, rank: int) -> np.ndarray:
    """The first ``rank`` left singular vectors of ``columns`` (width, k), as columns: (width, at most ``rank``)."""
    directions: np.ndarray = np.linalg.svd(columns, full_matrices=False)[0]
    return directions[:, :rank]


def compute_svd_weights(columns: np.ndarray, rank: int) -> np.ndarray:
    """(k,): the norm of each of ``columns`` θ (width, k) within their first ``rank`` directions, α_i = ‖θ_iᵀ U_r‖."""
    weights: np.ndarray = np.linalg.norm(columns.T @ find_leading_directions(columns, rank), axis=1)
    return weights


def _divide(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else 0.0
