"""Metrics of probabilities: scikit-learn's, and on many resamples at once.

A resample says how often each row was drawn. A metric of ranks sorts the elements once and computes the value of every
resample from sums along that order, with ties at half. Tests hold both ways of computing to each other.

Every metric is finite whatever the labels and probabilities. If all or none of the elements have a class, its curves
are undefined: it is left out of a mean over classes, and if no class is left, the area under the ROC curve is 0.5 and
average precision 0. That depends on the labels alone, so two models are always measured alike.

scikit-learn is imported inside the functions that compute with it, since it loads pandas where that is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from auxtune.trials.resamples import split_resamples

if TYPE_CHECKING:
    from auxtune.trials.metrics import Answers


def compute_log_losses(answers: Answers) -> np.ndarray:
    """Minus the log of the right label's probability, the mean if there are several labels: (elements,).

    Probabilities are clipped at float32's epsilon, as scikit-learn does.
    """
    labels, shares = answers.labels, _read_probabilities(answers)
    least = float(np.finfo(np.float32).eps)
    if labels.ndim == 2:
        of_right = np.where(labels == 1, shares, 1 - shares).clip(least, 1 - least)
        return np.asarray(-np.log(of_right).mean(axis=1))
    of_right = np.take_along_axis(shares, labels[:, None], axis=1)[:, 0].clip(least, 1 - least)
    return np.asarray(-np.log(of_right))


def compute_mean_log_loss(answers: Answers) -> float:
    """The mean of ``compute_log_losses``."""
    from sklearn.metrics import log_loss

    labels, shares = answers.labels, _read_probabilities(answers, np.float32)
    if labels.ndim == 2:
        return float(
            np.mean(
                [
                    log_loss(labels[:, n], np.stack([1 - shares[:, n], shares[:, n]], axis=1), labels=[0, 1])
                    for n in range(labels.shape[1])
                ]
            )
        )
    return float(log_loss(labels, shares, labels=np.arange(shares.shape[1])))


def compute_brier_scores(answers: Answers) -> np.ndarray:
    """The squared error of probabilities, (elements,): for two classes that of the second, else summed over classes.

    For several labels, the mean. Source: G. Brier, "Verification of forecasts expressed in terms of probability", 1950.
    """
    labels, shares = answers.labels, _read_probabilities(answers)
    if labels.ndim == 2:
        return np.asarray(((shares - labels) ** 2).mean(axis=1))
    if shares.shape[1] == 2:
        return np.asarray((shares[:, 1] - labels) ** 2)
    return np.asarray(((shares - np.eye(shares.shape[1])[labels]) ** 2).sum(axis=1))


def compute_mean_brier_score(answers: Answers) -> float:
    """The mean of ``compute_brier_scores``; scikit-learn's for two classes, all that its older versions support."""
    from sklearn.metrics import brier_score_loss

    shares = _read_probabilities(answers)
    if answers.labels.ndim == 1 and shares.shape[1] == 2:
        return float(brier_score_loss(answers.labels == 1, shares[:, 1], pos_label=True))
    return float(compute_brier_scores(answers).mean())


def compute_roc_auc(answers: Answers) -> float:
    """The area under the ROC curve: with two classes for the second, else the mean over classes or labels."""
    from sklearn.metrics import roc_auc_score

    return _compute_mean([roc_auc_score(is_true, share) for is_true, share in _list_curves(answers)], otherwise=0.5)


def compute_weighted_roc_auc(answers: Answers) -> float:
    """The area under the ROC curve, averaged over classes or labels by how often each occurs."""
    from sklearn.metrics import roc_auc_score

    curves = list(_list_curves(answers))
    areas = [float(roc_auc_score(is_true, share)) for is_true, share in curves]
    return float(np.average(areas, weights=[is_true.sum() for is_true, _ in curves])) if curves else 0.5


def compute_average_precision(answers: Answers) -> float:
    """Average precision: with two classes for the second, else the mean over classes or labels that occur."""
    from sklearn.metrics import average_precision_score

    found = [average_precision_score(is_true, share) for is_true, share in _list_columns(answers) if is_true.any()]
    return _compute_mean(found, otherwise=0.0)


def resample_roc_auc(weighted: bool, answers: Answers, times: np.ndarray) -> np.ndarray:
    """``compute_roc_auc`` or ``compute_weighted_roc_auc`` of each resample: (resamples,)."""

    def areas(drawn: np.ndarray, column: _Column) -> tuple[np.ndarray, np.ndarray]:
        false = _accumulate(drawn * ~column.is_true)
        # The area is the share of (true, false) pairs in order: the false one comes later, and a tie counts half.
        later = false[:, -1:] - (false[:, column.first] + false[:, column.last]) / 2
        true = drawn[:, column.is_true]
        count = true.sum(axis=1)
        pairs = count * false[:, -1]
        area = np.divide((true * later).sum(axis=1), pairs, out=np.zeros(len(drawn)), where=pairs > 0)
        return area, (pairs > 0) * (count if weighted else 1.0)

    return _compute_mean_of_columns(answers, times, areas, otherwise=0.5)


def resample_average_precision(answers: Answers, times: np.ndarray) -> np.ndarray:
    """``compute_average_precision`` of each resample: (resamples,)."""

    def precisions(drawn: np.ndarray, column: _Column) -> tuple[np.ndarray, np.ndarray]:
        found, right = _accumulate(drawn)[:, column.last], _accumulate(drawn * column.is_true)[:, column.last]
        true = drawn[:, column.is_true]
        precision = np.divide(right, found, out=np.zeros_like(found), where=found > 0)
        count = true.sum(axis=1)
        area = np.divide((true * precision).sum(axis=1), count, out=np.zeros(len(drawn)), where=count > 0)
        return area, (count > 0) * 1.0

    return _compute_mean_of_columns(answers, times, precisions, otherwise=0.0)


@dataclass(frozen=True)
class _Column:
    """A class whose elements are sorted from the highest probability.

    For each element of the class, ``first`` counts the elements of higher probability, and ``last`` those of higher or
    equal probability.
    """

    is_true: np.ndarray  # (elements,) bool
    first: np.ndarray  # (true elements,)
    last: np.ndarray  # (true elements,)


def _read_probabilities(answers: Answers, kind: type[np.floating] = np.float64) -> np.ndarray:
    if answers.probabilities is None:
        raise ValueError(
            "expected the probabilities of the classes, found none: they are written if a metric of the task needs them"
        )
    return answers.probabilities.astype(kind)


def _list_columns(answers: Answers) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Whether each element has a class, and that class's probability: only the second of two classes, else each."""
    labels, shares = answers.labels, _read_probabilities(answers)
    if labels.ndim == 2:
        yield from ((labels[:, n] == 1, shares[:, n]) for n in range(labels.shape[1]))
    elif shares.shape[1] == 2:
        yield labels == 1, shares[:, 1]
    else:
        yield from ((labels == n, shares[:, n]) for n in range(shares.shape[1]))


def _list_curves(answers: Answers) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The columns in which some elements, but not all, have the class."""
    return ((is_true, share) for is_true, share in _list_columns(answers) if 0 < is_true.sum() < len(is_true))


def _compute_mean(values: list[float], otherwise: float) -> float:
    return float(np.mean(values)) if values else otherwise


def _compute_mean_of_columns(
    answers: Answers,
    times: np.ndarray,
    measure: Callable[[np.ndarray, _Column], tuple[np.ndarray, np.ndarray]],
    otherwise: float,
) -> np.ndarray:
    """The weighted mean over the columns of ``measure(drawn, column) -> (values, weights)``; ``drawn`` is sorted."""
    sums, weights = np.zeros(len(times)), np.zeros(len(times))
    for is_true, share in _list_columns(answers):
        order = np.argsort(-share, kind="stable")
        rows, column = answers.rows[order], _build_column(is_true[order], share[order])
        parts = [measure(times[some][:, rows].astype(float), column) for some in split_resamples(len(times), len(rows))]
        values, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
        sums += values * weight
        weights += weight
    means: np.ndarray = np.divide(sums, weights, out=np.full(len(times), otherwise), where=weights > 0)
    return means


def _build_column(is_true: np.ndarray, share: np.ndarray) -> _Column:
    begins = np.flatnonzero(np.diff(share, prepend=np.inf))
    tie = np.searchsorted(begins, np.flatnonzero(is_true), side="right") - 1
    return _Column(is_true, begins[tie], np.append(begins[1:], len(share))[tie])


def _accumulate(values: np.ndarray) -> np.ndarray:
    """The sum of the first n values of each row, n from 0: (resamples, elements + 1)."""
    sums = np.zeros((len(values), values.shape[1] + 1))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums
