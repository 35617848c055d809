"""Metrics of probabilities: scikit-learn's, and on many resamples at once.

A resample is how often each row was drawn. A metric of ranks sorts the elements once and gets that of every resample
from sums along the order, with ties at half. Tests hold both ways to each other.

Every metric is finite whatever the labels and probabilities. Where all or none of the elements have a class, its curves
are undefined: it is left out of a mean over classes, and where no class is left, the area under the ROC curve is 0.5
and average precision 0. That depends on the labels alone, so two models are always measured alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from auxtune.trials.metric import Answers
from auxtune.trials.resamples import chunks, sums_of_ties


def log_losses(answers: Answers) -> np.ndarray:
    """Minus the log of the probability of what is right, of several labels their mean: (elements,).

    Probabilities are kept away from 0 by float32's epsilon, as scikit-learn does.
    """
    labels, shares = answers.labels, _probabilities(answers)
    least = float(np.finfo(np.float32).eps)
    if labels.ndim == 2:
        of_right = np.where(labels == 1, shares, 1 - shares).clip(least, 1 - least)
        return np.asarray(-np.log(of_right).mean(axis=1))
    of_right = np.take_along_axis(shares, labels[:, None], axis=1)[:, 0].clip(least, 1 - least)
    return np.asarray(-np.log(of_right))


def mean_log_loss(answers: Answers) -> float:
    """The mean of ``log_losses``."""
    labels, shares = answers.labels, _probabilities(answers, np.float32)
    if labels.ndim == 2:
        return float(np.mean([
            log_loss(labels[:, n], np.stack([1 - shares[:, n], shares[:, n]], axis=1), labels=[0, 1])
            for n in range(labels.shape[1])
        ]))
    return float(log_loss(labels, shares, labels=np.arange(shares.shape[1])))


def brier_scores(answers: Answers) -> np.ndarray:
    """The squared error of probabilities: of two classes that of the second, else summed over the classes.

    Brier, "Verification of forecasts expressed in terms of probability", 1950; of several labels their mean.
    (elements,).
    """
    labels, shares = answers.labels, _probabilities(answers)
    if labels.ndim == 2:
        return np.asarray(((shares - labels) ** 2).mean(axis=1))
    if shares.shape[1] == 2:
        return np.asarray((shares[:, 1] - labels) ** 2)
    return np.asarray(((shares - np.eye(shares.shape[1])[labels]) ** 2).sum(axis=1))


def mean_brier_score(answers: Answers) -> float:
    """The mean of ``brier_scores``; scikit-learn's of two classes, whose older versions know no more."""
    shares = _probabilities(answers)
    if answers.labels.ndim == 1 and shares.shape[1] == 2:
        return float(brier_score_loss(answers.labels == 1, shares[:, 1], pos_label=True))
    return float(brier_scores(answers).mean())


def roc_auc(answers: Answers) -> float:
    """The area under the ROC curve: of two classes that of the second, else the mean over classes or labels."""
    return _mean([roc_auc_score(is_true, share) for is_true, share in _curves(answers)], otherwise=0.5)


def roc_auc_weighted(answers: Answers) -> float:
    """The mean over classes or labels by how often each occurs."""
    curves = list(_curves(answers))
    areas = [float(roc_auc_score(is_true, share)) for is_true, share in curves]
    return float(np.average(areas, weights=[is_true.sum() for is_true, _ in curves])) if curves else 0.5


def average_precision(answers: Answers) -> float:
    """Average precision: of two classes that of the second, else the mean over classes or labels that occur."""
    found = [
        average_precision_score(is_true, share) for is_true, share in _columns(answers) if is_true.any()
    ]
    return _mean(found, otherwise=0.0)


def roc_auc_of(weighted: bool) -> Callable[[Answers, np.ndarray], np.ndarray]:
    """``roc_auc`` or ``roc_auc_weighted`` of each resample: (resamples,)."""
    def resampled(answers: Answers, times: np.ndarray) -> np.ndarray:
        def areas(drawn: np.ndarray, is_true: np.ndarray, ties: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            true, false = sums_of_ties(drawn * is_true, ties), sums_of_ties(drawn * ~is_true, ties)
            above = false.sum(axis=1, keepdims=True) - np.cumsum(false, axis=1) + false / 2
            # Sorted from the highest: what is still to come is below, and ties count half.
            pairs = true.sum(axis=1) * false.sum(axis=1)
            area = np.divide((true * above).sum(axis=1), pairs, out=np.zeros(len(drawn)), where=pairs > 0)
            return area, (pairs > 0) * (true.sum(axis=1) if weighted else 1.0)

        return _mean_of_columns(answers, times, areas, otherwise=0.5)

    return resampled


def average_precision_of(answers: Answers, times: np.ndarray) -> np.ndarray:
    """``average_precision`` of each resample: (resamples,)."""
    def precisions(drawn: np.ndarray, is_true: np.ndarray, ties: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        true, every = sums_of_ties(drawn * is_true, ties), sums_of_ties(drawn, ties)
        found = np.cumsum(every, axis=1)
        precision = np.divide(np.cumsum(true, axis=1), found, out=np.zeros_like(found), where=found > 0)
        count = true.sum(axis=1)
        area = np.divide((true * precision).sum(axis=1), count, out=np.zeros(len(drawn)), where=count > 0)
        return area, (count > 0) * 1.0

    return _mean_of_columns(answers, times, precisions, otherwise=0.0)


def _probabilities(answers: Answers, kind: type[np.floating] = np.float64) -> np.ndarray:
    if answers.probabilities is None:
        raise ValueError("expected the probabilities of the classes, found none: they are written where a metric of "
                         "the task needs them")
    return answers.probabilities.astype(kind)


def _columns(answers: Answers) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Whether each element is of a class, and its probability: of two classes of the second alone, else of each."""
    labels, shares = answers.labels, _probabilities(answers)
    if labels.ndim == 2:
        yield from ((labels[:, n] == 1, shares[:, n]) for n in range(labels.shape[1]))
    elif shares.shape[1] == 2:
        yield labels == 1, shares[:, 1]
    else:
        yield from ((labels == n, shares[:, n]) for n in range(shares.shape[1]))


def _curves(answers: Answers) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The columns that have elements of both sides."""
    return ((is_true, share) for is_true, share in _columns(answers) if 0 < is_true.sum() < len(is_true))


def _mean(values: list[float], otherwise: float) -> float:
    return float(np.mean(values)) if values else otherwise


def _mean_of_columns(
    answers: Answers, times: np.ndarray,
    measure: Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]], otherwise: float,
) -> np.ndarray:
    """The mean over the columns of ``measure(drawn, is_true, ties) -> (values, weights)``, elements from the highest.

    ``ties`` are the places at which another probability begins.
    """
    sums, weights = np.zeros(len(times)), np.zeros(len(times))
    for is_true, share in _columns(answers):
        order = np.argsort(-share, kind="stable")
        ties = np.flatnonzero(np.diff(share[order], prepend=np.inf))
        rows, is_true = answers.rows[order], is_true[order]
        parts = [measure(times[some][:, rows].astype(float), is_true, ties) for some in chunks(len(times), len(rows))]
        values, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
        sums += values * weight
        weights += weight
    return np.divide(sums, weights, out=np.full(len(times), otherwise), where=weights > 0)
