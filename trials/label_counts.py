"""How often each class occurs in rows, and the range of values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from auxtune.trials.data.examples import Examples
from auxtune.trials.encoded import IGNORED, Kind


def label_counts(rows: Examples, kind: Kind, labels: Sequence[str]) -> np.ndarray:
    """Rows of each class or label, or words of each tag, in the order of the ids, (labels,) int64."""
    if kind == "multi_label":
        return np.array(rows.labels, np.int64).reshape(-1, len(labels)).sum(axis=0)
    ids = (tag for row in rows.labels for tag in (row if isinstance(row, tuple) else (row,)))
    return np.bincount([int(each) for each in ids if each != IGNORED], minlength=len(labels))


def value_range(rows: Examples) -> tuple[float, float]:
    """The lowest and the highest value of a regression's rows."""
    values = np.array(rows.labels, np.float64)
    return float(values.min()), float(values.max())
