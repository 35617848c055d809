"""A metric on a thousand resamples of the report rows at once.

Counted metrics need only how often each class was right, was the label and was predicted, which makes a resample a
weighted sum; the rest are recomputed by ``trials.metrics``. The formulas here are its, and a test holds them to it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from auxtune.trials.metrics import score


@dataclass(frozen=True, eq=False)
class Predictions:
    """One arm's answers on the report split with one seed, an element per row (or per token of a row)."""

    labels: np.ndarray                                 # (elements,)
    predictions: np.ndarray                            # (elements,)
    rows: np.ndarray                                   # (elements,) the row that each element belongs to

    def metric(self, name: str) -> float:
        """The metric over all rows."""
        return score(name, self.labels, self.predictions)


@lru_cache(maxsize=256)
def load_predictions(path: Path, task: str) -> Predictions:
    """What a confirm trial left in ``predictions.npz``. An arm is compared with several; it is read once."""
    with np.load(path, allow_pickle=False) as arrays:
        return Predictions(*(arrays[f"{task}/{name}"] for name in ("labels", "predictions", "rows")))


def resampled(metric: str, answers: Predictions, draws: np.ndarray) -> np.ndarray:
    """``metric`` on each resample. ``draws`` (resamples, rows) are row numbers; the result is (resamples,)."""
    if metric in _COUNTED:
        return _COUNTED[metric](*_counts(answers, draws))
    order = np.argsort(answers.rows, kind="stable")
    starts = np.searchsorted(answers.rows[order], np.arange(draws.shape[1] + 1))
    members = [order[a:b] for a, b in itertools.pairwise(starts)]
    chosen = (np.concatenate([members[row] for row in draw]) for draw in draws)
    return np.array([score(metric, answers.labels[i], answers.predictions[i]) for i in chosen])


def _counts(answers: Predictions, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How often each class was right, was the label, and was predicted; each (resamples, classes)."""
    rows = draws.shape[1]
    times = np.stack([np.bincount(draw, minlength=rows) for draw in draws])             # (resamples, rows)
    classes = int(max(answers.labels.max(), answers.predictions.max(), 1)) + 1

    def counted(values: np.ndarray, which: np.ndarray) -> np.ndarray:
        per_row = np.zeros((rows, classes))
        np.add.at(per_row, (answers.rows[which], values[which]), 1.0)
        return np.asarray(times @ per_row)

    every = np.ones(len(answers.labels), bool)
    hits = answers.labels == answers.predictions
    return counted(answers.labels, hits), counted(answers.labels, every), counted(answers.predictions, every)


def _accuracy(hits: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return np.asarray(hits.sum(axis=1) / true.sum(axis=1))


def _f1(hits: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """F1 of class 1 where there are two classes, else the mean over the classes in sight."""
    seen = true + predicted
    each = np.divide(2 * hits, seen, out=np.zeros_like(seen), where=seen > 0)
    if seen.shape[1] == 2:
        return np.asarray(each[:, 1])
    return np.asarray(each.sum(axis=1) / (seen > 0).sum(axis=1))


def _matthews(hits: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Matthews' coefficient for any number of classes (Gorodkin 2004); 0 where one side is constant."""
    total = true.sum(axis=1)
    covariance = hits.sum(axis=1) * total - (true * predicted).sum(axis=1)
    spread = np.sqrt((total**2 - (true**2).sum(axis=1)) * (total**2 - (predicted**2).sum(axis=1)))
    return np.divide(covariance, spread, out=np.zeros_like(spread), where=spread > 0)


_COUNTED: Mapping[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "matthews": _matthews,
}
