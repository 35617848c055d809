"""What a metric is, the answers that it is computed from, and the metrics of tasks by name.

Loads no torch, so that reports may recompute metrics.

Names are scikit-learn's, and it computes them; other common names are understood too (``ALIASES``). A metric of a
third party arrives through the entry-point group ``auxtune.metrics`` of its own package, as a ``Metric`` of that name:

    [project.entry-points."auxtune.metrics"]
    cost_of_errors = "my_package.costs:METRIC"
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import get_args

import numpy as np

from auxtune.trials import class_metrics, probability_metrics, value_metrics
from auxtune.trials.class_metrics import Average, Measure
from auxtune.trials.data import Kind
from auxtune.trials.errors import suggest_name
from auxtune.trials.resamples import resample_mean

MISSED = -1  # the prediction for a labelled word that the model did not see
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
_OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "accuracy": ("acc", "exact_match", "subset_accuracy"),
    "balanced_accuracy": ("balanced_acc", "unweighted_average_recall"),
    "f1": ("f1_score",),
    "f1_macro": ("macro_f1",),
    "f1_micro": ("micro_f1",),
    "f1_weighted": ("weighted_f1",),
    "precision_macro": ("macro_precision",),
    "precision_micro": ("micro_precision",),
    "precision_weighted": ("weighted_precision",),
    "recall_macro": ("macro_recall",),
    "recall_micro": ("micro_recall",),
    "recall_weighted": ("weighted_recall",),
    "precision": ("precision_score",),
    "recall": ("recall_score",),
    "matthews": (
        "mcc",
        "matthews_corrcoef",
        "matthews_corr",
        "matthews_correlation",
        "matthews_correlation_coefficient",
    ),
    "roc_auc": ("auc", "auroc", "rocauc", "auc_roc", "roc_auc_score", "roc_auc_ovr"),
    "average_precision": ("ap", "auprc", "pr_auc", "average_precision_score"),
    "log_loss": ("neg_log_loss", "logloss", "cross_entropy", "nll"),
    "brier_score": ("brier", "brier_score_loss", "neg_brier_score"),
    "mean_absolute_error": ("mae", "neg_mean_absolute_error"),
    "mean_squared_error": ("mse", "neg_mean_squared_error"),
    "root_mean_squared_error": ("rmse", "neg_root_mean_squared_error"),
    "r2": ("r2_score", "r_squared"),
    "pearson": ("pearsonr", "pearson_correlation"),
    "spearman": ("spearmanr", "spearman_correlation"),
    "span_f1": ("entity_f1", "slot_f1", "ner_f1", "chunk_f1", "conll_f1", "seqeval", "seqeval_f1"),
}
ALIASES: Mapping[str, str] = MappingProxyType(
    {other: name for name, others in _OTHER_NAMES.items() for other in others}
)


@dataclass(frozen=True, eq=False)
class Answers:
    """A model's predictions on a split and the labels, an element per row or, for a token task, per labelled word.

    ``rows``, ascending, is the row of each element. ``names`` are the task's labels in the order of their ids; there
    are none for values and in files of early versions. A word that was cut off, or for which the tokenizer has no
    token, has the prediction ``MISSED`` and the same probability for each label.
    """

    labels: np.ndarray  # (elements,) or, for a multi-label task, (elements, labels)
    predictions: np.ndarray  # likewise
    rows: np.ndarray  # (elements,)
    names: tuple[str, ...] = ()
    probabilities: np.ndarray | None = None  # (elements, labels) float32, if a metric needs them


@dataclass(frozen=True)
class Metric:
    """One metric. A score is its value times its ``direction``, so that a higher score is always better.

    ``kinds`` are the kinds of tasks it is for. ``function`` computes its natural value, finite whatever the
    predictions. If the metric is the mean of a value per element, ``values`` computes these, (elements,), and
    ``function`` may be omitted. ``resampled`` computes it on many resamples at once, ``(answers, times) ->
    (resamples,)``, with ``times`` (resamples, rows) how often each row was drawn; without it and ``values``, each
    resample is built and measured. Raises ``ValueError`` for a metric without a function or with unknown kinds.
    """

    name: str
    kinds: tuple[Kind, ...]
    function: Callable[[Answers], float] | None = None
    values: Callable[[Answers], np.ndarray] | None = None
    resampled: Callable[[Answers, np.ndarray], np.ndarray] | None = None
    higher_is_better: bool = True
    needs_probabilities: bool = False
    needs_spans: bool = False  # only for BIO tags

    def __post_init__(self) -> None:
        if self.function is None and self.values is None:
            raise ValueError(f"metric {self.name!r}: expected `function`, or `values` whose mean it is, found neither")
        wrong = [kind for kind in self.kinds if kind not in get_args(Kind)]
        if wrong or not self.kinds:
            found = repr(wrong[0]) if wrong else "none"
            raise ValueError(f"metric {self.name!r}: expected `kinds` among {', '.join(get_args(Kind))}, found {found}")

    @property
    def direction(self) -> int:
        """1 if higher is better, else −1."""
        return 1 if self.higher_is_better else -1

    @property
    def has_values(self) -> bool:
        """Whether it is the mean of a value per element."""
        return self.values is not None

    def value(self, answers: Answers) -> float:
        """Its natural value. Raises ``ValueError`` for no elements, for unequal lengths, and if it is not finite."""
        if len(answers.labels) == 0 or len(answers.labels) != len(answers.predictions):
            raise ValueError(
                f"{self.name}: expected one prediction per label and some labels, "
                f"found {len(answers.predictions)} for {len(answers.labels)}"
            )
        if self.needs_probabilities and answers.probabilities is None:
            raise ValueError(
                f"{self.name}: expected the probability of each label, found none; they are written "
                "where a metric of the task needs them"
            )
        if self.function is not None:
            value = float(self.function(answers))
        else:
            value = float(np.mean(self.values(answers))) if self.values else math.nan
        if not math.isfinite(value):
            raise ValueError(f"{self.name}: expected a finite value whatever the predictions, found {value}")
        return value

    def on_resamples(self, answers: Answers, times: np.ndarray) -> np.ndarray:
        """Its natural values, (resamples,), when each row is drawn as often as ``times`` (resamples, rows) says."""
        if self.resampled is not None:
            return self.resampled(answers, times)
        if self.values is not None:
            return resample_mean(self.values(answers), answers.rows, times)
        return np.array([self.value(_repeat_rows(answers, each)) for each in times])


def _repeat_rows(answers: Answers, times: np.ndarray) -> Answers:
    """The answers of a resample, ``times`` (rows,): a row that is drawn twice becomes two rows."""
    order = np.argsort(answers.rows, kind="stable")
    members = np.split(order, np.searchsorted(answers.rows[order], np.arange(1, len(times))))
    chosen = [members[row] for row in np.repeat(np.arange(len(times)), times)]
    places = np.concatenate(chosen)
    return Answers(
        answers.labels[places],
        answers.predictions[places],
        np.repeat(np.arange(len(chosen)), [len(each) for each in chosen]),
        answers.names,
        None if answers.probabilities is None else answers.probabilities[places],
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
    yield Metric("balanced_accuracy", CLASSES, of.compute_balanced_accuracy, resampled=of.resample_balanced_accuracy)
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
            resampled = partial(of.resample_average, measure, average)
            yield Metric(name, kinds, partial(of.compute_average, measure, average), resampled=resampled)
    yield Metric("matthews", CLASSES, of.compute_matthews, resampled=of.resample_matthews)
    for name, strict in (("span_f1", False), ("span_f1_strict", True)):
        compute, resampled = partial(of.compute_span_f1, strict), partial(of.resample_span_f1, strict)
        yield Metric(name, ("token",), compute, resampled=resampled, needs_spans=True)


def _list_probability_metrics() -> Iterable[Metric]:
    of = probability_metrics
    for name, function, values in (
        ("log_loss", of.compute_mean_log_loss, of.compute_log_losses),
        ("brier_score", of.compute_mean_brier_score, of.compute_brier_scores),
    ):
        yield Metric(name, LABELS, function, values, higher_is_better=False, needs_probabilities=True)
    for name, curve, resampled in (
        ("roc_auc", of.compute_roc_auc, partial(of.resample_roc_auc, False)),
        ("roc_auc_ovr_weighted", of.compute_weighted_roc_auc, partial(of.resample_roc_auc, True)),
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
