"""Metrics of values: scikit-learn's (correlations are SciPy's), and on many resamples at once.

Every metric is finite whatever the labels and predictions: a correlation with a constant is 0. Tests hold the two ways
of computing each to one another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy import stats
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from auxtune.trials.metric import Answers
from auxtune.trials.resamples import resample_mean, split_resamples, sum_ties


def absolute_errors(answers: Answers) -> np.ndarray:
    """(elements,)."""
    errors: np.ndarray = np.abs(_difference(answers))
    return errors


def squared_errors(answers: Answers) -> np.ndarray:
    """(elements,)."""
    return np.asarray(_difference(answers) ** 2)


def mean_absolute(answers: Answers) -> float:
    """The mean distance from the label, in its unit."""
    return float(mean_absolute_error(*_values(answers)))


def mean_squared(answers: Answers) -> float:
    """The mean squared distance from the label."""
    return float(mean_squared_error(*_values(answers)))


def root_mean_squared(answers: Answers) -> float:
    """The root of the mean squared distance from the label, in its unit."""
    return float(np.sqrt(mean_squared(answers)))


def resample_root_mean_squared(answers: Answers, times: np.ndarray) -> np.ndarray:
    """``root_mean_squared`` of each resample: (resamples,)."""
    return np.asarray(np.sqrt(resample_mean(squared_errors(answers), answers.rows, times)))


def r2(answers: Answers) -> float:
    """The share of the labels' variance that is explained; of constant labels 1 if all are met, else 0."""
    labels, predictions = _values(answers)
    if len(labels) == 1:  # scikit-learn has none of a single element
        return float(labels[0] == predictions[0])
    return float(r2_score(labels, predictions))


def resample_r2(answers: Answers, times: np.ndarray) -> np.ndarray:
    """``r2`` of each resample: (resamples,)."""
    labels, _ = _values(answers)
    found = []
    for drawn in _drawn(answers, times):
        error = drawn @ squared_errors(answers)
        varies = _varies(labels, drawn)
        spread = np.where(varies, (drawn * _centred(labels, drawn) ** 2).sum(axis=1), 1.0)
        found.append(np.where(varies, 1 - error / spread, (error == 0).astype(float)))
    return np.concatenate(found)


def pearson(answers: Answers) -> float:
    """Pearson's correlation; 0 with a constant."""
    return _correlation(answers, stats.pearsonr)


def spearman(answers: Answers) -> float:
    """Spearman's rank correlation; 0 with a constant."""
    return _correlation(answers, stats.spearmanr)


def resample_pearson(answers: Answers, times: np.ndarray) -> np.ndarray:
    """``pearson`` of each resample: (resamples,)."""
    labels, predictions = _values(answers)
    return np.concatenate([_correlations(labels, predictions, drawn) for drawn in _drawn(answers, times)])


def resample_spearman(answers: Answers, times: np.ndarray) -> np.ndarray:
    """``spearman`` of each resample: (resamples,)."""
    labels, predictions = (_ranked(values) for values in _values(answers))
    return np.concatenate([_correlations(labels(drawn), predictions(drawn), drawn) for drawn in _drawn(answers, times)])


def _drawn(answers: Answers, times: np.ndarray) -> Iterator[np.ndarray]:
    """How often each element was drawn, (some resamples, elements)."""
    for some in split_resamples(len(times), len(answers.rows)):
        yield times[some][:, answers.rows].astype(float)


def _values(answers: Answers) -> tuple[np.ndarray, np.ndarray]:
    return answers.labels.astype(float), answers.predictions.astype(float)


def _difference(answers: Answers) -> np.ndarray:
    labels, predictions = _values(answers)
    return np.asarray(predictions - labels)


def _correlation(answers: Answers, statistic: Callable[..., object]) -> float:
    labels, predictions = _values(answers)
    if np.ptp(labels) == 0 or np.ptp(predictions) == 0:
        return 0.0
    return float(statistic(labels, predictions).statistic)  # type: ignore[attr-defined]


def _varies(values: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Whether more than one value was drawn, (resamples,); ``values`` are (elements,) or (resamples, elements)."""
    highest = np.where(drawn > 0, values, -np.inf).max(axis=1)
    return np.asarray(highest > np.where(drawn > 0, values, np.inf).min(axis=1))


def _centred(values: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    mean = (drawn * values).sum(axis=1) / drawn.sum(axis=1)
    return np.asarray(values - mean[:, None])


def _correlations(one: np.ndarray, other: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Pearson's correlation in each resample; 0 where one side is constant."""
    a, b = _centred(one, drawn), _centred(other, drawn)
    spread = np.sqrt((drawn * a * a).sum(axis=1) * (drawn * b * b).sum(axis=1))
    fine = _varies(one, drawn) & _varies(other, drawn) & (spread > 0)
    correlations: np.ndarray = np.divide((drawn * a * b).sum(axis=1), spread, out=np.zeros(len(drawn)), where=fine)
    return correlations


def _ranked(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """``drawn -> `` the mean rank of each element among those drawn, (resamples, elements)."""
    order = np.argsort(values, kind="stable")
    ties = np.flatnonzero(np.diff(values[order], prepend=-np.inf))
    groups = np.unique(values, return_inverse=True)[1]

    def ranks(drawn: np.ndarray) -> np.ndarray:
        sizes = sum_ties(drawn[:, order], ties)
        return np.asarray((np.cumsum(sizes, axis=1) - (sizes - 1) / 2)[:, groups])

    return ranks
