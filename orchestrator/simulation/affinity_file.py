"""``affinity.csv`` beside a table: what methods that measure found of every pair, and what that took."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auxtune.orchestrator.simulation.mistakes import numbers, read_rows, seconds_of, whole_numbers


@dataclass(frozen=True, eq=False)
class Affinities:
    """Tables ``[recipient, source]`` by method; ``nan`` where there is no row."""

    path: Path
    seeds: tuple[int, ...]
    values: dict[str, np.ndarray]  # by method: (seeds, tasks, tasks)
    seconds: dict[str, np.ndarray]  # the same shapes, nan where unknown


def read_affinities(folder: Path, tasks: tuple[str, ...]) -> Affinities | None:
    """The file in ``folder``, ``None`` where there is none. Raises ``TableError`` with every mistake."""
    path = folder / "affinity.csv"
    if not path.exists():
        return None
    frame, mistakes = read_rows(path, ["method", "recipient", "source", "value"])
    value, seed = numbers(frame, "value", mistakes, gaps=True), whole_numbers(frame, "seed", mistakes)
    seconds = seconds_of(frame, mistakes)
    seeds = sorted(set(seed.tolist()))
    places = {task: place for place, task in enumerate(tasks)}
    shape = (len(seeds), len(tasks), len(tasks))
    values = {method: np.full(shape, np.nan) for method in dict.fromkeys(frame["method"])}
    took = {method: np.full(shape, np.nan) for method in values}
    seen = set()
    for row, (method, recipient, source) in enumerate(
        zip(frame["method"], frame["recipient"], frame["source"], strict=True)
    ):
        for column, task in (("recipient", recipient), ("source", source)):
            if task not in places:
                mistakes.add(f"expected a task of table.json, found {task!r}", row, column)
                break
        else:
            place = (seeds.index(seed[row]), places[recipient], places[source])
            if (method, place) in seen:
                mistakes.add(f"{method} has a value of {source} onto {recipient} already", row, "method")
            seen.add((method, place))
            values[method][place] = value[row]
            took[method][place] = np.nan if seconds is None else seconds[row]
    mistakes.stop()
    return Affinities(path, tuple(seeds), values, took)
