"""The metrics of tasks, by name. Loads no torch, so that reports may recompute them.

Names are scikit-learn's, and it computes them; other common names are understood too (``ALIASES``). A metric of a
third party arrives through the entry-point group ``auxtune.metrics`` of its own package, as a ``Metric`` of that name:

    [project.entry-points."auxtune.metrics"]
    cost_of_errors = "my_package.costs:METRIC"
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

import numpy as np

from auxtune.trials import class_metrics, probability_metrics, value_metrics
from auxtune.trials.class_metrics import Average, Measure
from auxtune.trials.encoded import Kind
from auxtune.trials.errors import suggest_name
from auxtune.trials.metric import MISSED, Answers, Metric

__all__ = ["ALIASES", "BUILT_IN", "METRICS", "MISSED", "Answers", "Metric", "Predictions", "find_metric", "score"]

GROUP = "auxtune.metrics"
CLASSES: tuple[Kind, ...] = ("classification", "token")
LABELS: tuple[Kind, ...] = (*CLASSES, "multi_label")
VALUES: tuple[Kind, ...] = ("regression",)

DEFAULTS: Mapping[Kind, str] = MappingProxyType(
    {
        "classification": "accuracy",
        "regression": "spearman",
        "token": "accuracy",
        "multi_label": "f1_micro",
    }
)

# Names of metrics in other libraries, papers and task folders, in lower case and with _ for -.
ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "acc": "accuracy",
        "exact_match": "accuracy",
        "subset_accuracy": "accuracy",
        "balanced_acc": "balanced_accuracy",
        "unweighted_average_recall": "balanced_accuracy",
        "f1_score": "f1",
        "macro_f1": "f1_macro",
        "micro_f1": "f1_micro",
        "weighted_f1": "f1_weighted",
        "macro_precision": "precision_macro",
        "micro_precision": "precision_micro",
        "weighted_precision": "precision_weighted",
        "macro_recall": "recall_macro",
        "micro_recall": "recall_micro",
        "weighted_recall": "recall_weighted",
        "precision_score": "precision",
        "recall_score": "recall",
        "mcc": "matthews",
        "matthews_corrcoef": "matthews",
        "matthews_corr": "matthews",
        "matthews_correlation": "matthews",
        "matthews_correlation_coefficient": "matthews",
        "auc": "roc_auc",
        "auroc": "roc_auc",
        "rocauc": "roc_auc",
        "auc_roc": "roc_auc",
        "roc_auc_score": "roc_auc",
        "roc_auc_ovr": "roc_auc",
        "ap": "average_precision",
        "auprc": "average_precision",
        "pr_auc": "average_precision",
        "average_precision_score": "average_precision",
        "neg_log_loss": "log_loss",
        "logloss": "log_loss",
        "cross_entropy": "log_loss",
        "nll": "log_loss",
        "brier": "brier_score",
        "brier_score_loss": "brier_score",
        "neg_brier_score": "brier_score",
        "mae": "mean_absolute_error",
        "neg_mean_absolute_error": "mean_absolute_error",
        "mse": "mean_squared_error",
        "neg_mean_squared_error": "mean_squared_error",
        "rmse": "root_mean_squared_error",
        "neg_root_mean_squared_error": "root_mean_squared_error",
        "r2_score": "r2",
        "r_squared": "r2",
        "pearsonr": "pearson",
        "pearson_correlation": "pearson",
        "spearmanr": "spearman",
        "spearman_correlation": "spearman",
        "entity_f1": "span_f1",
        "slot_f1": "span_f1",
        "ner_f1": "span_f1",
        "chunk_f1": "span_f1",
        "conll_f1": "span_f1",
        "seqeval": "span_f1",
        "seqeval_f1": "span_f1",
    }
)


@dataclass(frozen=True, eq=False)
class Predictions(Answers):
    """Answers with their metrics by name."""

    def arrays(self) -> dict[str, np.ndarray]:
        """All fields as arrays, by name; probabilities if there are any."""
        arrays = {**vars(self), "names": np.array(self.names, np.str_)}
        return {name: array for name, array in arrays.items() if array is not None}

    def metric(self, name: str) -> float:
        """The natural value of a metric over all elements."""
        return find_metric(name).value(self)

    def scores(self, metrics: Iterable[str]) -> dict[str, float]:
        """``{metric: natural value}``."""
        return {name: self.metric(name) for name in metrics}


def score(
    metric: str,
    labels: np.ndarray,
    predictions: np.ndarray,
    rows: np.ndarray | None = None,
    names: Sequence[str] = (),
    probabilities: np.ndarray | None = None,
) -> float:
    """The natural value of ``metric``: ``labels`` and ``predictions`` (n,) are class ids, or values.

    For a multi-label task they are (n, labels) of 0 and 1. ``names`` are the task's classes in the order of their ids;
    they say how many there are, whether seen here or not. Spans also need the row of each token, ``rows`` (n,). Raises
    ``ValueError`` for an unknown metric, for unequal lengths and for no labels at all.
    """
    found = find_metric(metric)
    if found.needs_spans and (rows is None or not names):
        raise ValueError(f"{metric}: expected the row of each token and the names of the tags, found none")
    places = np.arange(len(labels)) if rows is None else rows
    return found.value(Answers(labels, predictions, places, tuple(names), probabilities))


def find_metric(name: str) -> Metric:
    """The metric with this name or alias.

    Raises ``ValueError`` for an unknown name and for an invalid metric of a third party, ``ImportError`` if that cannot
    be loaded.
    """
    name = resolve_alias(name)
    if name in BUILT_IN:
        return BUILT_IN[name]
    entries = _find_entries()
    if name not in entries:
        known = (*BUILT_IN, *entries)
        raise ValueError(f"unknown metric {name!r}; expected one of {', '.join(known)}{suggest_name(name, known)}")
    return _load_metric(entries[name])


def resolve_alias(name: str) -> str:
    """The name under which a metric is stored: ``macro-F1`` is ``f1_macro``. An unknown one stays as it is."""
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    found = ALIASES.get(plain, plain)
    return found if found in BUILT_IN else name


def list_third_party_names() -> tuple[str, ...]:
    """The names of metrics that installed packages provide. Raises ``ValueError`` for one that is given twice."""
    return tuple(_find_entries())


def find_direction(name: str) -> int:
    """1 if higher is better, else −1; 1 too for a metric that is not known here, such as one of a recorded table."""
    if resolve_alias(name) not in BUILT_IN and name not in _find_entries():
        return 1
    return find_metric(name).direction


@lru_cache(maxsize=1)
def _find_entries() -> Mapping[str, EntryPoint]:
    """The entry points by name; looked for once, since workers ask for every evaluation."""
    entries: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        if resolve_alias(entry.name) in BUILT_IN:
            raise ValueError(
                f"metric {entry.name!r}, {_describe_origin(entry)}: the name means the metric "
                f"{resolve_alias(entry.name)!r} of auxtune; rename it"
            )
        if entry.name in entries and _describe_origin(entry) != _describe_origin(entries[entry.name]):
            raise ValueError(
                f"metric {entry.name!r} must be given once, got {_describe_origin(entries[entry.name])} and "
                f"{_describe_origin(entry)}; rename one"
            )
        entries[entry.name] = entry
    return entries


@lru_cache(maxsize=64)
def _load_metric(entry: EntryPoint) -> Metric:
    try:
        found = entry.load()
    except Exception as error:  # a third party's module: anything may be raised
        raise ImportError(
            f"metric {entry.name!r}, {_describe_origin(entry)}, cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(found, Metric) or found.name != entry.name:
        shown = f"the metric {found.name!r}" if isinstance(found, Metric) else type(found).__name__
        raise ValueError(
            f"metric {entry.name!r}, {_describe_origin(entry)}: expected a `Metric` of that name, found {shown}"
        )
    return found


def _describe_origin(entry: EntryPoint) -> str:
    return f"{entry.value} of {entry.dist.name if entry.dist else 'an unknown package'}"


def _list_class_metrics() -> Iterable[Metric]:
    of = class_metrics
    yield Metric("accuracy", LABELS, of.compute_accuracy, values=of.mark_hits)
    balanced = of.resample_counts(of.count_balanced_accuracy)
    yield Metric("balanced_accuracy", CLASSES, of.compute_balanced_accuracy, resampled=balanced)
    averages: Mapping[Average, tuple[Kind, ...]] = {
        "main": CLASSES,
        "micro": LABELS,
        "macro": LABELS,
        "weighted": LABELS,
    }
    measures: Sequence[Measure] = ("f1", "precision", "recall")
    for measure in measures:
        for average, kinds in averages.items():
            name = measure if average == "main" else f"{measure}_{average}"
            resampled = of.resample_counts(of.count_average(measure, average))
            yield Metric(name, kinds, partial(of.compute_average, measure, average), resampled=resampled)
    yield Metric("matthews", CLASSES, of.compute_matthews, resampled=of.resample_counts(of.count_matthews))
    for name, strict in (("span_f1", False), ("span_f1_strict", True)):
        resampled = of.resample_span_f1(strict)
        yield Metric(name, ("token",), partial(of.compute_span_f1, strict), resampled=resampled, needs_spans=True)


def _list_probability_metrics() -> Iterable[Metric]:
    of = probability_metrics
    for name, function, values in (
        ("log_loss", of.compute_mean_log_loss, of.compute_log_losses),
        ("brier_score", of.compute_mean_brier_score, of.compute_brier_scores),
    ):
        yield Metric(name, LABELS, function, values, higher_is_better=False, needs_probabilities=True)
    for name, curve, resampled in (
        ("roc_auc", of.compute_roc_auc, of.resample_roc_auc(weighted=False)),
        ("roc_auc_ovr_weighted", of.compute_weighted_roc_auc, of.resample_roc_auc(weighted=True)),
        ("average_precision", of.compute_average_precision, of.resample_average_precision),
    ):
        yield Metric(name, LABELS, curve, resampled=resampled, needs_probabilities=True)


def _list_value_metrics() -> Iterable[Metric]:
    of = value_metrics
    yield Metric("spearman", VALUES, of.compute_spearman, resampled=of.resample_spearman)
    yield Metric("pearson", VALUES, of.compute_pearson, resampled=of.resample_pearson)
    yield Metric("r2", VALUES, of.compute_r2, resampled=of.resample_r2)
    yield Metric(
        "mean_absolute_error", VALUES, of.compute_mean_absolute, of.compute_absolute_errors, higher_is_better=False
    )
    yield Metric(
        "mean_squared_error", VALUES, of.compute_mean_squared, of.compute_squared_errors, higher_is_better=False
    )
    yield Metric(
        "root_mean_squared_error",
        VALUES,
        of.compute_root_mean_squared,
        resampled=of.resample_root_mean_squared,
        higher_is_better=False,
    )


BUILT_IN: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metrics in (_list_class_metrics(), _list_probability_metrics(), _list_value_metrics())
        for metric in metrics
    }
)

# The metrics of each kind; the first is the default. A token task scores its labelled words.
METRICS: Mapping[Kind, tuple[str, ...]] = MappingProxyType(
    {
        kind: (
            default,
            *(metric.name for metric in BUILT_IN.values() if kind in metric.kinds and metric.name != default),
        )
        for kind, default in DEFAULTS.items()
    }
)
