"""A metric on a thousand resamples of the report rows at once.

Counted metrics need only how often each class was predicted for each label, which makes a resample a weighted sum; the
rest are recomputed by ``trials.metrics``. The formulas here are its, and a test holds them to it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auxtune.trials.metrics import score


@dataclass(frozen=True)
class Predictions:
    """One arm's answers on the report split with one seed, an element per row (or per token of a row)."""

    labels: np.ndarray                                 # (elements,)
    predictions: np.ndarray                            # (elements,)
    rows: np.ndarray                                   # (elements,) the row that each element belongs to

    @classmethod
    def load(cls, path: Path, task: str) -> Predictions:
        """What a confirm trial left in ``predictions.npz``."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(*(arrays[f"{task}/{name}"] for name in ("labels", "predictions", "rows")))

    def metric(self, name: str) -> float:
        """The metric over all rows."""
        return score(name, self.labels, self.predictions)


def resampled(metric: str, answers: Predictions, draws: np.ndarray) -> np.ndarray:
    """``metric`` on each resample. ``draws`` (resamples, rows) are row numbers; the result is (resamples,)."""
    match metric:
        case "accuracy":
            confusion = _confusion(answers, draws)
            return np.asarray(np.trace(confusion, axis1=1, axis2=2) / confusion.sum(axis=(1, 2)))
        case "f1":
            return _f1(_confusion(answers, draws))
        case "matthews":
            return _matthews(_confusion(answers, draws))
    order = np.argsort(answers.rows, kind="stable")
    starts = np.searchsorted(answers.rows[order], np.arange(draws.shape[1] + 1))
    members = [order[a:b] for a, b in itertools.pairwise(starts)]
    chosen = (np.concatenate([members[row] for row in draw]) for draw in draws)
    return np.array([score(metric, answers.labels[i], answers.predictions[i]) for i in chosen])


def _confusion(answers: Predictions, draws: np.ndarray) -> np.ndarray:
    """How often each class (last axis) was predicted for each label, (resamples, classes, classes)."""
    rows = draws.shape[1]
    times = np.stack([np.bincount(draw, minlength=rows) for draw in draws])             # (resamples, rows)
    classes = int(max(answers.labels.max(), answers.predictions.max(), 1)) + 1
    cells = answers.labels * classes + answers.predictions
    counts = np.zeros((rows, classes * classes))
    np.add.at(counts, (answers.rows, cells), 1.0)
    return np.asarray((times @ counts).reshape(len(draws), classes, classes))


def _f1(confusion: np.ndarray) -> np.ndarray:
    """F1 of class 1 where there are two classes, else the mean over the classes in sight."""
    hits = np.diagonal(confusion, axis1=1, axis2=2)                                     # (resamples, classes)
    seen = confusion.sum(axis=1) + confusion.sum(axis=2)
    each = np.divide(2 * hits, seen, out=np.zeros_like(seen), where=seen > 0)
    if confusion.shape[1] == 2:
        return np.asarray(each[:, 1])
    return np.asarray(each.sum(axis=1) / (seen > 0).sum(axis=1))


def _matthews(confusion: np.ndarray) -> np.ndarray:
    """Matthews' coefficient for any number of classes (Gorodkin 2004); 0 where one side is constant."""
    true, predicted = confusion.sum(axis=2), confusion.sum(axis=1)
    total = true.sum(axis=1)
    covariance = np.trace(confusion, axis1=1, axis2=2) * total - (true * predicted).sum(axis=1)
    spread = np.sqrt((total**2 - (true**2).sum(axis=1)) * (total**2 - (predicted**2).sum(axis=1)))
    return np.divide(covariance, spread, out=np.zeros_like(spread), where=spread > 0)
