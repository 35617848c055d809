"""How much tasks do for each other: one number for each pair, with a direction and with where it comes from.

No source of its own. Every method that compares tasks, by look-ahead, gradients, representations or covariances, ends
in such a table, so that what makes groups and subsets of it (``finalisers.py``, ``cover.py``, ``clusters.py``) is
written once and can be swapped.

``values[r, s]`` is what the source ``s`` does for the recipient ``r``; higher is better. A row is a recipient's view of
all sources. What the diagonal means differs between methods, and so do scales: compare numbers within one table only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from auxtune.selectors.protocol import JSON


@dataclass(frozen=True, eq=False)
class Affinity:
    """A number for each (recipient, source); ``nan`` where it is not known. Made by ``affinity_of``."""

    tasks: tuple[str, ...]
    values: np.ndarray  # (tasks, tasks) float64, [recipient, source], not to be written
    method: str  # the selector that made it
    measured: str  # what the numbers are, for people to read
    seed: int | None = None  # of the runs measured, where all have one
    details: Mapping[str, JSON] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.tasks)) != len(self.tasks) or not self.tasks:
            raise ValueError(f"an affinity's tasks must be one at least, each once; got {self.tasks}")
        if self.values.shape != (len(self.tasks),) * 2:
            raise ValueError(f"an affinity of {len(self.tasks)} tasks must be square, got shape {self.values.shape}")
        if np.isinf(self.values).any():
            raise ValueError(f"an affinity must be finite, or nan where it is not known; got {self.values.tolist()}")

    @property
    def known(self) -> bool:
        """Whether every number off the diagonal is known."""
        return bool(np.isfinite(self.values[~np.eye(len(self.tasks), dtype=bool)]).all())

    def among(self, tasks: Sequence[str]) -> Affinity:
        """The same of some ``tasks``, in the order given. Raises ``ValueError`` for a task that is not in it."""
        strange = [task for task in tasks if task not in self.tasks]
        if strange:
            raise ValueError(f"tasks must be of the affinity's {', '.join(self.tasks)}, got {', '.join(strange)}")
        places = [self.tasks.index(task) for task in tasks]
        return replace(self, tasks=tuple(tasks), values=_frozen(self.values[np.ix_(places, places)]))

    def symmetrised(self) -> Affinity:
        """The mean of both directions, for methods that know none; not known where one of them is not."""
        return replace(self, values=_frozen((self.values + self.values.T) / 2))

    def onto(self, recipient: str) -> dict[str, float]:
        """What each other task does for ``recipient``: source -> number."""
        row = self.values[self.tasks.index(recipient)]
        return {task: float(value) for task, value in zip(self.tasks, row, strict=True) if task != recipient}

    def as_json(self) -> dict[str, JSON]:
        """For ``Selection.belief``: rows are recipients, what is not known is ``None``."""
        rows = [[value if np.isfinite(value) else None for value in row] for row in self.values.tolist()]
        told = {"method": self.method, "measured": self.measured, "seed": self.seed, **self.details}
        return {"tasks": list(self.tasks), "recipient_by_source": rows, **told}


def affinity_of(
    tasks: Sequence[str],
    values: np.ndarray,
    method: str,
    measured: str,
    seed: int | None = None,
    details: Mapping[str, JSON] | None = None,
) -> Affinity:
    """An affinity with a copy of ``values``, (tasks, tasks), ``[recipient, source]``, that nobody can write to.

    >>> affinity_of(["a", "b"], np.array([[0, 2], [1, 0]]), "tag", "loss ratio").onto("a")
    {'b': 2.0}

    Raises ``ValueError`` for tasks given twice, another shape, and infinite numbers.
    """
    return Affinity(tuple(tasks), _frozen(values), method, measured, seed, details or {})


def _frozen(values: np.ndarray) -> np.ndarray:
    copied: np.ndarray = np.array(values, dtype=float)
    copied.setflags(write=False)
    return copied
