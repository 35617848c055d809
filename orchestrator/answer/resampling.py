"""A metric on a thousand resamples of the test rows at once, from what a confirm trial left of its answers."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.trials.metrics import Predictions, find_metric

__all__ = ["Predictions", "load_predictions", "resampled"]


@lru_cache(maxsize=256)
def load_predictions(path: StoredPath, task: str) -> Predictions:
    """What a confirm trial left in ``predictions.npz``. An arm is compared with several; it is read once."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        names = tuple(arrays[f"{task}/names"].tolist()) if f"{task}/names" in arrays else ()
        shares = arrays.get(f"{task}/probabilities", None)
        labels, predictions, rows = (arrays[f"{task}/{name}"] for name in ("labels", "predictions", "rows"))
        return Predictions(labels, predictions, rows, names, shares)


def resampled(metric: str, answers: Predictions, draws: np.ndarray) -> np.ndarray:
    """``metric`` on each resample. ``draws`` (resamples, rows) are row numbers; the result is (resamples,)."""
    rows = draws.shape[1]
    times = np.stack([np.bincount(draw, minlength=rows) for draw in draws])  # (resamples, rows)
    return find_metric(metric).on_resamples(answers, times)
