"""Metrics of predicted classes, sets of labels and spans: each by scikit-learn, and on many resamples at once.

A resample says how often each row was drawn. These metrics need only weighted sums over the rows: how often each class
(or label, or any span) was right, was true and was predicted. Tests hold both ways of computing to each other.

The classes are those of the task, whether or not they occur among the given rows, so that two models, or two resamples,
are always measured alike. For answers without the names of the classes, as in old files, they are those that occur.

scikit-learn loads pandas where that is installed, so it is imported inside the functions that compute with it:
declaring a metric loads neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from auxtune.trials.spans import count_spans

if TYPE_CHECKING:
    from auxtune.trials.metrics import Answers

Average: TypeAlias = Literal["main", "macro", "weighted", "micro"]  # main: the second class of two, else macro
Measure: TypeAlias = Literal["f1", "precision", "recall"]


@dataclass(frozen=True)
class _Counts:
    """Sums over the rows of a number of resamples, each (resamples, classes).

    ``total`` (resamples, 1) counts the scored elements. Those whose prediction is no class (``MISSED``) appear in no
    column of ``predicted``.
    """

    hits: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    total: np.ndarray


def mark_hits(answers: Answers) -> np.ndarray:
    """1.0 where an element is right (of a set of labels, the whole set), else 0.0: (elements,)."""
    equal = answers.labels == answers.predictions
    return np.asarray((equal if equal.ndim == 1 else equal.all(axis=1)).astype(float))


def compute_accuracy(answers: Answers) -> float:
    """The share of elements that are right."""
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(answers.labels, answers.predictions))


def compute_balanced_accuracy(answers: Answers) -> float:
    """The mean recall over the classes that occur among the labels."""
    from sklearn.metrics import recall_score

    occurring = np.unique(answers.labels)
    recall = recall_score(answers.labels, answers.predictions, labels=occurring, average="macro", zero_division=0.0)
    return float(recall)


def compute_matthews(answers: Answers) -> float:
    """Matthews' correlation coefficient; 0 if labels or predictions are constant."""
    from sklearn.metrics import matthews_corrcoef

    if np.ptp(answers.labels) == 0 or np.ptp(answers.predictions) == 0:
        return 0.0
    return float(matthews_corrcoef(answers.labels, answers.predictions))


def compute_average(measure: Measure, average: Average, answers: Answers) -> float:
    """F1, precision or recall; 0 where the denominator is 0, as for a class that neither occurs nor is predicted."""
    from sklearn.metrics import f1_score, precision_score, recall_score

    compute = {"f1": f1_score, "precision": precision_score, "recall": recall_score}[measure]
    labels, predictions = answers.labels, answers.predictions
    how = "macro" if average == "main" else average
    if labels.ndim == 1:
        known = _list_classes(answers)
        classes = known if known is not None else _list_seen_classes(answers)
        if average == "main" and _is_binary(answers):
            classes = np.array([1])
        found = compute(labels, predictions, labels=classes, average=how, zero_division=0.0)
    else:
        found = compute(labels, predictions, average=how, zero_division=0.0)
    return float(found)


def resample_balanced_accuracy(answers: Answers, times: np.ndarray) -> np.ndarray:
    """``compute_balanced_accuracy`` of each resample, (resamples,); ``times`` is (resamples, rows)."""
    counts = _count_resamples(answers, times)
    recall = _divide(counts.hits, counts.true)
    return np.asarray(recall.sum(axis=1) / (counts.true > 0).sum(axis=1))


def resample_matthews(answers: Answers, times: np.ndarray) -> np.ndarray:
    """Matthews' coefficient of each resample, for any number of classes; ``MISSED`` counts as a prediction of its own.

    Gorodkin, "Comparing two K-category assignments by a K-category correlation coefficient", 2004, eq. 8.
    """
    counts = _count_resamples(answers, times)
    total = counts.total[:, 0]
    missed = total - counts.predicted.sum(axis=1)
    covariance = counts.hits.sum(axis=1) * total - (counts.true * counts.predicted).sum(axis=1)
    spread = total**2 - (counts.true**2).sum(axis=1), total**2 - (counts.predicted**2).sum(axis=1) - missed**2
    return _divide(covariance, np.sqrt(spread[0] * spread[1]))


def resample_average(measure: Measure, average: Average, answers: Answers, times: np.ndarray) -> np.ndarray:
    """``compute_average`` of each resample."""
    counts = _count_resamples(answers, times)
    above, below = _choose_fraction(measure, counts)
    if average == "micro":
        return _divide(above.sum(axis=1), below.sum(axis=1))
    each = _divide(above, below)
    if average == "weighted":
        return _divide((each * counts.true).sum(axis=1), counts.true.sum(axis=1))
    if average == "main" and _is_binary(answers):
        return np.asarray(each[:, 1])
    if answers.labels.ndim == 1 and _list_classes(answers) is None:
        return _divide(each.sum(axis=1), ((counts.true + counts.predicted) > 0).sum(axis=1).astype(float))
    return np.asarray(each.mean(axis=1))


def compute_span_f1(strict: bool, answers: Answers) -> float:
    """F1 of whole spans, over all names together; 0 if there are none. ``strict``: only a B- tag begins a span."""
    if not answers.names:
        raise ValueError("span_f1: expected the row of each token and the names of the tags, found none")
    hits, true, predicted = count_spans(answers.labels, answers.predictions, answers.rows, answers.names, strict).sum(
        axis=0
    )
    return 2 * float(hits) / float(true + predicted) if true + predicted else 0.0


def resample_span_f1(strict: bool, answers: Answers, times: np.ndarray) -> np.ndarray:
    """``compute_span_f1`` of each resample."""
    counts = count_spans(answers.labels, answers.predictions, answers.rows, answers.names, strict)
    hits, true, predicted = (times[:, : len(counts)] @ counts.astype(float)).T  # the last rows may have no words
    return _divide(2 * hits, true + predicted)


def _count_resamples(answers: Answers, times: np.ndarray) -> _Counts:
    rows = times.shape[1]
    per_element = np.bincount(answers.rows, minlength=rows).astype(float)
    hits, true, predicted = (times @ each for each in _count_per_row(answers, rows))
    return _Counts(hits, true, predicted, (times @ per_element)[:, None])


def _count_per_row(answers: Answers, rows: int) -> Iterator[np.ndarray]:
    """How often each class was right, was the label, and was predicted in each row; each (rows, classes)."""
    labels, predictions, places = answers.labels, answers.predictions, answers.rows
    if labels.ndim == 2:  # one element per row, in the order of the rows
        for flags in (labels & predictions, labels, predictions):
            yield flags.astype(float)
        return
    known = _list_classes(answers)
    classes = len(known) if known is not None else int(max(labels.max(), predictions.max(), 1)) + 1
    for chosen, values in ((labels == predictions, labels), (labels >= 0, labels), (predictions >= 0, predictions)):
        per_row = np.zeros((rows, classes))
        np.add.at(per_row, (places[chosen], values[chosen]), 1.0)
        yield per_row


def _list_classes(answers: Answers) -> np.ndarray | None:
    """The ids of the task's classes; ``None`` if their number is unknown."""
    return np.arange(len(answers.names)) if answers.names else None


def _list_seen_classes(answers: Answers) -> np.ndarray:
    seen = np.union1d(answers.labels, answers.predictions)
    return seen[seen >= 0]


def _is_binary(answers: Answers) -> bool:
    """Whether the task has two classes."""
    if answers.labels.ndim == 2:
        return False
    if answers.names:
        return len(answers.names) == 2
    return int(max(answers.labels.max(), answers.predictions.max())) <= 1


def _choose_fraction(measure: Measure, counts: _Counts) -> tuple[np.ndarray, np.ndarray]:
    """Numerator and denominator of F1, precision or recall."""
    if measure == "f1":
        return 2 * counts.hits, counts.true + counts.predicted
    return counts.hits, counts.predicted if measure == "precision" else counts.true


def _divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """``above / below``, 0 where ``below`` is 0."""
    ratios: np.ndarray = np.divide(above, below, out=np.zeros_like(above, dtype=float), where=below > 0)
    return ratios
