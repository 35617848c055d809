"""From a score for each task to a subset: the best few, or all above a threshold.

No source: they are what every ranking method ends with. Groups are made from pairs of tasks, which is another matter
(``cover.py`` under a budget of models, ``clusters.py`` where there are too many tasks for that). Both functions are
deterministic: of equal scores the one that comes first in the mapping, the study's order of tasks, is taken first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping


def ranked(scores: Mapping[str, float]) -> tuple[str, ...]:
    """All tasks, the best first, ties in the mapping's order. Raises ``ValueError`` for a score that is not a number.

    >>> ranked({"a": 1.0, "b": 3.0, "c": 3.0})
    ('b', 'c', 'a')
    """
    unknown = [task for task, score in scores.items() if math.isnan(score)]
    if unknown:
        raise ValueError(f"scores must be numbers, got nan for {', '.join(unknown)}; leave out what is not known")
    return tuple(sorted(scores, key=lambda task: -scores[task]))


def top_k(scores: Mapping[str, float], k: int) -> tuple[str, ...]:
    """The ``k`` best tasks, all if there are fewer, the best first. Raises ``ValueError`` for a negative ``k``."""
    if k < 0:
        raise ValueError(f"k must be at least 0, got {k}")
    return ranked(scores)[:k]


def at_least(scores: Mapping[str, float], threshold: float) -> tuple[str, ...]:
    """The tasks with a score of at least ``threshold``, the best first; perhaps none."""
    return tuple(task for task in ranked(scores) if scores[task] >= threshold)
