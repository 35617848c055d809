"""How alike runs are, measured before: in the place of the arrays from which it would be computed.

A recorded table keeps numbers about pairs, not the arrays of every run. Evidence in this form is a run's likeness to
each task by the method that compared them; a selector that meets it takes the number instead of computing it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def likenesses(tasks: Sequence[str], rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One run's evidence: by method its likeness to every task, (tasks,), ``nan`` where unknown."""
    return {"recorded_tasks": np.array(tasks), **{f"recorded/{method}": row for method, row in rows.items()}}


def recorded(arrays: Mapping[str, np.ndarray], method: str, source: str) -> float | None:
    """What ``source`` is to the run whose evidence ``arrays`` is; ``None`` where that must be computed.

    Raises ``ValueError`` for recorded evidence that does not hold ``method``.
    """
    if "recorded_tasks" not in arrays:
        return None
    if f"recorded/{method}" not in arrays:
        has = ", ".join(sorted(name.partition("/")[2] for name in arrays if "/" in name))
        raise ValueError(f"recorded evidence must hold the method {method}, got {has}")
    places = arrays["recorded_tasks"].tolist()
    return float(arrays[f"recorded/{method}"][places.index(source)])


def recorded_table(names: Sequence[str], runs: Mapping[str, Mapping[str, np.ndarray]], method: str) -> np.ndarray:
    """All pairs of the runs' evidence, (names, names), ``nan`` where a run has none that was recorded."""
    table = np.full((len(names),) * 2, np.nan)
    for row, name in enumerate(names):
        for column, source in enumerate(names):
            value = recorded(runs[name], method, source) if name in runs and source in runs else None
            table[row, column] = np.nan if value is None else value
    return table
