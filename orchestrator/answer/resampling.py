"""A metric on a thousand resamples of the report rows at once.

Counted metrics need only how often each class (or label, or any span) was right, was true and was predicted in each
row, which makes a resample a weighted sum; the rest are recomputed by ``trials.metrics``. The formulas here are its,
and a test holds them to it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from auxtune.trials.metrics import score
from auxtune.trials.spans import span_counts


@dataclass(frozen=True, eq=False)
class Predictions:
    """One arm's answers on the report split with one seed, an element per row (or per token of a row).

    ``names`` are the task's labels in the order of their ids; an attempt of an older version did not leave them.
    """

    labels: np.ndarray                                 # (elements,) or, for a multi-label task, (elements, labels)
    predictions: np.ndarray                            # likewise
    rows: np.ndarray                                   # (elements,) the row that each element belongs to
    names: tuple[str, ...] = ()

    def metric(self, name: str) -> float:
        """The metric over all rows."""
        return score(name, self.labels, self.predictions, self.rows, self.names)


@lru_cache(maxsize=256)
def load_predictions(path: Path, task: str) -> Predictions:
    """What a confirm trial left in ``predictions.npz``. An arm is compared with several; it is read once."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        names = tuple(arrays[f"{task}/names"].tolist()) if f"{task}/names" in arrays else ()
        labels, predictions, rows = (arrays[f"{task}/{name}"] for name in ("labels", "predictions", "rows"))
        return Predictions(labels, predictions, rows, names)


def resampled(metric: str, answers: Predictions, draws: np.ndarray) -> np.ndarray:
    """``metric`` on each resample. ``draws`` (resamples, rows) are row numbers; the result is (resamples,)."""
    if metric in _COUNTED:
        rows = draws.shape[1]
        times = np.stack([np.bincount(draw, minlength=rows) for draw in draws])         # (resamples, rows)
        hits, true, predicted = (times @ each for each in _per_row(metric, answers, rows))
        return _COUNTED[metric](hits, true, predicted)
    order = np.argsort(answers.rows, kind="stable")
    starts = np.searchsorted(answers.rows[order], np.arange(draws.shape[1] + 1))
    members = [order[a:b] for a, b in itertools.pairwise(starts)]
    chosen = (np.concatenate([members[row] for row in draw]) for draw in draws)
    return np.array([score(metric, answers.labels[i], answers.predictions[i]) for i in chosen])


def _per_row(metric: str, answers: Predictions, rows: int) -> Iterator[np.ndarray]:
    """How often each class was right, was the label, and was predicted in each row; each (rows, classes).

    The classes of a multi-label task are its labels, but for exact sets there is one, "as it should be"; spans are
    counted whatever their names.
    """
    if metric == "span_f1":
        counts = np.zeros((rows, 3))
        found = span_counts(answers.labels, answers.predictions, answers.rows, answers.names)
        counts[: len(found)] = found
        yield from np.hsplit(counts, 3)
    elif answers.labels.ndim == 1:
        yield from _class_counts(answers.labels, answers.predictions, answers.rows, rows)
    elif metric == "accuracy":
        exact = (answers.labels == answers.predictions).all(axis=1).astype(int)
        yield from _class_counts(np.ones_like(exact), exact, answers.rows, rows)
    else:
        # A multi-label task has one element per row, in the order of the rows.
        for flags in (answers.labels & answers.predictions, answers.labels, answers.predictions):
            yield flags.astype(float)


def _class_counts(labels: np.ndarray, predictions: np.ndarray, rows: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """Hits, labels and predictions of class ids, each (count, classes)."""
    classes = int(max(labels.max(), predictions.max(), 1)) + 1
    hits = labels == predictions
    for values, places in ((labels[hits], rows[hits]), (labels, rows), (predictions, rows)):
        per_row = np.zeros((count, classes))
        np.add.at(per_row, (places, values), 1.0)
        yield per_row


def _accuracy(hits: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return np.asarray(hits.sum(axis=1) / true.sum(axis=1))


def _f1(hits: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """F1 of class 1 where there are two classes, else the mean over the classes in sight."""
    seen = true + predicted
    each = np.divide(2 * hits, seen, out=np.zeros_like(seen), where=seen > 0)
    if seen.shape[1] == 2:
        return np.asarray(each[:, 1])
    return np.asarray(each.sum(axis=1) / (seen > 0).sum(axis=1))


def _f1_micro(hits: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """F1 of all classes, labels or spans together; 0 where there are none."""
    seen = (true + predicted).sum(axis=1)
    return np.divide(2 * hits.sum(axis=1), seen, out=np.zeros_like(seen), where=seen > 0)


def _f1_macro(hits: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The mean over all labels, 0 for one out of sight."""
    seen = true + predicted
    return np.asarray(np.divide(2 * hits, seen, out=np.zeros_like(seen), where=seen > 0).mean(axis=1))


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
    "f1_micro": _f1_micro,
    "f1_macro": _f1_macro,
    "span_f1": _f1_micro,
}
