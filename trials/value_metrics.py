"""Metrics of values: scikit-learn's (correlations are SciPy's), and on many resamples at once.

Every metric is finite whatever the labels and predictions: a correlation with a constant is 0. Tests hold both ways of
computing to each other.

scikit-learn is imported inside the functions that compute with it, since it loads pandas where that is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from auxtune.trials.resamples import resample_mean, split_resamples, sum_ties

if TYPE_CHECKING:
    from auxtune.trials.metrics import Answers


def compute_absolute_errors(answers: Answers) -> np.ndarray:
    """The distance of each prediction from its label, (elements,)."""
    errors: np.ndarray = np.abs(_subtract(answers))
    return errors


def compute_squared_errors(answers: Answers) -> np.ndarray:
    """The squared distance of each prediction from its label, (elements,)."""
    return np.asarray(_subtract(answers) ** 2)


def compute_mean_absolute(answers: Answers) -> float:
    """The mean distance from the label, in its unit."""
    from sklearn.metrics import mean_absolute_error

    return float(mean_absolute_error(*_read_values(answers)))


def compute_mean_squared(answers: Answers) -> float:
    """The mean squared distance from the label."""
    from sklearn.metrics import mean_squared_error

    return float(mean_squared_error(*_read_values(answers)))


def compute_root_mean_squared(answers: Answers) -> float:
    """The root of the mean squared distance from the label, in its unit."""
    return float(np.sqrt(compute_mean_squared(answers)))


def resample_root_mean_squared(answers: Answers, times: np.ndarray) -> np.ndarray:
    """``compute_root_mean_squared`` of each resample: (resamples,)."""
    return np.asarray(np.sqrt(resample_mean(compute_squared_errors(answers), answers.rows, times)))


def compute_r2(answers: Answers) -> float:
    """The share of the labels' variance that is explained; for constant labels 1 if all are right, else 0."""
    labels, predictions = _read_values(answers)
    if len(labels) == 1:  # scikit-learn does not define it for a single element
        return float(labels[0] == predictions[0])
    from sklearn.metrics import r2_score

    return float(r2_score(labels, predictions))


def resample_r2(answers: Answers, times: np.ndarray) -> np.ndarray:
    """``compute_r2`` of each resample: (resamples,)."""
    labels, _ = _read_values(answers)
    found = []
    for drawn in _list_draws(answers, times):
        error = drawn @ compute_squared_errors(answers)
        varies = _find_varying(labels, drawn)
        spread = np.where(varies, (drawn * _center(labels, drawn) ** 2).sum(axis=1), 1.0)
        found.append(np.where(varies, 1 - error / spread, (error == 0).astype(float)))
    return np.concatenate(found)


def compute_pearson(answers: Answers) -> float:
    """Pearson's correlation; 0 with a constant."""
    from scipy.stats import pearsonr

    return _compute_correlation(answers, pearsonr)


def compute_spearman(answers: Answers) -> float:
    """Spearman's rank correlation; 0 with a constant."""
    from scipy.stats import spearmanr

    return _compute_correlation(answers, spearmanr)


def resample_pearson(answers: Answers, times: np.ndarray) -> np.ndarray:
    """``compute_pearson`` of each resample: (resamples,)."""
    labels, predictions = _read_values(answers)
    return np.concatenate([_compute_correlations(labels, predictions, drawn) for drawn in _list_draws(answers, times)])


def resample_spearman(answers: Answers, times: np.ndarray) -> np.ndarray:
    """``compute_spearman`` of each resample: (resamples,)."""
    labels, predictions = (_build_ranking(values) for values in _read_values(answers))
    return np.concatenate(
        [_compute_correlations(labels(drawn), predictions(drawn), drawn) for drawn in _list_draws(answers, times)]
    )


def _list_draws(answers: Answers, times: np.ndarray) -> Iterator[np.ndarray]:
    """How often each element was drawn, (some resamples, elements)."""
    for some in split_resamples(len(times), len(answers.rows)):
        yield times[some][:, answers.rows].astype(float)


def _read_values(answers: Answers) -> tuple[np.ndarray, np.ndarray]:
    return answers.labels.astype(float), answers.predictions.astype(float)


def _subtract(answers: Answers) -> np.ndarray:
    labels, predictions = _read_values(answers)
    return np.asarray(predictions - labels)


def _compute_correlation(answers: Answers, statistic: Callable[..., object]) -> float:
    labels, predictions = _read_values(answers)
    if np.ptp(labels) == 0 or np.ptp(predictions) == 0:
        return 0.0
    return float(statistic(labels, predictions).statistic)  # type: ignore[attr-defined]


def _find_varying(values: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Whether more than one value was drawn, (resamples,); ``values`` are (elements,) or (resamples, elements)."""
    highest = np.where(drawn > 0, values, -np.inf).max(axis=1)
    return np.asarray(highest > np.where(drawn > 0, values, np.inf).min(axis=1))


def _center(values: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    mean = (drawn * values).sum(axis=1) / drawn.sum(axis=1)
    return np.asarray(values - mean[:, None])


def _compute_correlations(one: np.ndarray, other: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Pearson's correlation in each resample, (resamples,); 0 where either side is constant."""
    a, b = _center(one, drawn), _center(other, drawn)
    spread = np.sqrt((drawn * a * a).sum(axis=1) * (drawn * b * b).sum(axis=1))
    fine = _find_varying(one, drawn) & _find_varying(other, drawn) & (spread > 0)
    correlations: np.ndarray = np.divide((drawn * a * b).sum(axis=1), spread, out=np.zeros(len(drawn)), where=fine)
    return correlations


def _build_ranking(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A function of ``drawn``: the mean rank of each element among those drawn, (resamples, elements).

    Elements are sorted into groups of ties once. In a resample, a group of size n after m smaller elements has the mean
    rank m + (n + 1) / 2, with sizes from ``drawn``.
    """
    order = np.argsort(values, kind="stable")
    ties = np.flatnonzero(np.diff(values[order], prepend=-np.inf))
    groups = np.unique(values, return_inverse=True)[1]

    def ranks(drawn: np.ndarray) -> np.ndarray:
        sizes = sum_ties(drawn[:, order], ties)
        return np.asarray((np.cumsum(sizes, axis=1) - (sizes - 1) / 2)[:, groups])

    return ranks
