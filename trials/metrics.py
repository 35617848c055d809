"""The metrics of tasks, higher is better throughout. Loads no torch, so that reports may recompute them.

Every metric is finite whatever the predictions: a model that says the same of every row shows no relation to
the labels, so its correlation counts as 0.0 where the textbook formula divides zero by zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from auxtune.trials.encoded import Kind
from auxtune.trials.spans import span_counts

# What may be asked of each kind; the first is the default. A token task scores its labelled tokens.
METRICS: Mapping[Kind, tuple[str, ...]] = MappingProxyType({
    "classification": ("accuracy", "f1", "matthews"),
    "regression": ("spearman", "pearson"),
    "token": ("accuracy", "f1", "span_f1"),
    "multi_label": ("f1_micro", "f1_macro", "accuracy"),
})


def score(
    metric: str,
    labels: np.ndarray,
    predictions: np.ndarray,
    rows: np.ndarray | None = None,
    names: Sequence[str] = (),
) -> float:
    """``metric`` of ``predictions`` against ``labels``, both (n,): class ids, or values for a correlation.

    Those of a multi-label task are (n, labels) of 0 and 1: ``accuracy`` is then the share of rows with exactly the
    right set, ``f1_micro`` counts all labels together, ``f1_macro`` is the mean over the labels, 0 for one that
    neither occurs nor is predicted. ``f1`` is that of id 1 where no id is above it, else the unweighted mean over the
    classes. ``span_f1``, and no other, needs the row of each token, ``rows`` (n,), and the ``names`` of the tags.
    Raises ``ValueError`` for an unknown metric, for unequal lengths and for no labels at all.
    """
    if len(labels) == 0 or len(labels) != len(predictions):
        raise ValueError(
            f"{metric}: expected one prediction per label and some labels, "
            f"found {len(predictions)} for {len(labels)}"
        )
    match metric:
        case "accuracy":
            return float(accuracy_score(labels, predictions))
        case "f1":
            average = "binary" if max(labels.max(), predictions.max()) <= 1 else "macro"
            return float(f1_score(labels, predictions, average=average, zero_division=0.0))
        case "f1_micro" | "f1_macro":
            average = metric.removeprefix("f1_")
            return float(f1_score(labels, predictions, average=average, zero_division=0.0))
        case "span_f1":
            if rows is None or not names:
                raise ValueError("span_f1: expected the row of each token and the names of the tags, found none")
            right, true, predicted = span_counts(labels, predictions, rows, names).sum(axis=0)
            return 2 * float(right) / float(true + predicted) if true + predicted else 0.0
        case "matthews":
            return float(matthews_corrcoef(labels, predictions))
        case "pearson" | "spearman":
            return _correlation(metric, labels, predictions)
    known = sorted({name for names in METRICS.values() for name in names})
    raise ValueError(f"unknown metric {metric!r}; expected one of {', '.join(known)}")


def _correlation(metric: str, labels: np.ndarray, predictions: np.ndarray) -> float:
    if np.ptp(labels) == 0 or np.ptp(predictions) == 0:
        return 0.0
    statistic = stats.pearsonr if metric == "pearson" else stats.spearmanr
    return float(statistic(labels.astype(float), predictions.astype(float)).statistic)
