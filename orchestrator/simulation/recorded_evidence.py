"""Serves evidence from a table's ``affinity.csv`` as probes would have measured it: pairs in the place of arrays.

A joint run's affinities are what its probe gives anyway; the tables of all recorded seeds stand for its single probes,
whose agreement says how far to believe it. Of single-task runs the file holds only how alike they are, so
their evidence here is a row of likenesses (``selectors/kit/similarity.py``), which selectors take as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from auxtune.orchestrator.tables.reading import Affinities
from auxtune.orchestrator.tables.rows import TableError
from auxtune.selectors.kit.similarity import record_likenesses
from auxtune.selectors.protocol import Measure, Proposal

OF_SINGLE_RUNS: Mapping[str, tuple[str, ...]] = {  # probe -> the methods that compare what it gives
    "head_importance": ("gradts",),
    "covariance": ("covariance", "covariance_normalised"),
    "hidden_states": ("representation",),
    "gradients": ("gradient",),
}
_LOOKAHEAD = {"exact": ("tag", "tag_first"), "first": ("tag_first", "tag")}  # the other where one is not recorded


@dataclass(frozen=True)
class Served:
    """Evidence of one run by probe, and the seconds that each took, training included; ``None`` where unknown."""

    arrays: dict[str, Mapping[str, np.ndarray]]
    seconds: list[float] | None

    def cost(self, training: float) -> float:
        """Seconds of the run with all its probes, when ``training`` is counted once; that alone where it is unknown."""
        if self.seconds is None:
            return training
        longest, *others = sorted(self.seconds, reverse=True)
        return longest + sum(max(0.0, each - training) for each in others)


def serve_evidence(affinities: Affinities | None, tasks: Sequence[str], proposal: Proposal, seed: int) -> Served:
    """The evidence of ``proposal``. Raises ``TableError`` where it was not recorded, saying what is missing."""
    arrays: dict[str, Mapping[str, np.ndarray]] = {}
    seconds: list[float] = []
    for measure in proposal.measure:
        found = affinities.values if affinities is not None else {}
        methods = _choose_methods(measure, found)
        if methods is None:
            raise TableError(f"the probe {measure.probe} cannot be simulated: a recorded table holds pairs, not arrays")
        if not any(method in found for method in methods):
            has = f"has only {', '.join(found)}" if found else "has no affinity.csv"
            raise TableError(
                f"the probe {measure.probe} needs affinity.csv with the method {' or '.join(methods)}; this table {has}"
            )
        assert affinities is not None
        numbers = {method: choose_seed(affinities.values[method], seed) for method in methods if method in found}
        known = {method: affinities.values[method][number] for method, number in numbers.items()}
        own = list(tasks).index(proposal.tasks[0]) if measure.probe in OF_SINGLE_RUNS else slice(None)
        took = {method: affinities.seconds[method][number][own] for method, number in numbers.items()}
        # Methods that compare what one probe gives each tell of the whole run: it is paid for once.
        seconds.append(max(float(each[np.isfinite(known[method][own])].sum()) for method, each in took.items()))
        if measure.probe in OF_SINGLE_RUNS:
            arrays[measure.probe] = record_likenesses(tasks, {method: values[own] for method, values in known.items()})
        else:
            seeds = {method: _select_recorded(affinities.values[method]) for method in known}
            arrays[measure.probe] = _build_lookahead(tasks, known, seeds, methods[0])
    return Served(arrays, seconds if seconds and np.isfinite(seconds).all() else None)


def choose_seed(values: np.ndarray, seed: int) -> int:
    """Which of the recorded seeds, (seeds, …), a run with ``seed`` stands for: one that has values."""
    known = np.flatnonzero(_has_values(values))
    return int(known[seed % len(known)]) if len(known) else 0


def _has_values(values: np.ndarray) -> np.ndarray:
    """Which seeds of (seeds, …) have a value, (seeds,)."""
    known: np.ndarray = np.isfinite(values.reshape(len(values), -1)).any(axis=1)
    return known


def _select_recorded(values: np.ndarray) -> np.ndarray:
    """The tables, (seeds, tasks, tasks), of the seeds that have values."""
    recorded: np.ndarray = values[_has_values(values)]
    return recorded


def _choose_methods(measure: Measure, found: Mapping[str, np.ndarray]) -> tuple[str, ...] | None:
    if measure.probe == "lookahead":
        orders = _LOOKAHEAD[str(measure.options.get("order", "exact"))]
        known = [method for method in orders if method in found]
        return (*(known[:1] or sorted(orders)), "tag_cosine")
    return OF_SINGLE_RUNS.get(measure.probe)


def _build_lookahead(
    tasks: Sequence[str], known: Mapping[str, np.ndarray], seeds: Mapping[str, np.ndarray], method: str
) -> Mapping[str, np.ndarray]:
    """A joint run's arrays; of one seed alone there is nothing to compare, so that its agreement is not known."""
    unknown = np.full((len(tasks),) * 2, np.nan)
    affinity = known.get(method, unknown)
    arrays = {
        "tasks": np.array(tasks),
        "affinity": affinity,
        "per_rate": affinity,
        "cosine": known.get("tag_cosine", unknown),
        "probes": np.array(0),
    }
    sources = {"each_affinity": method, "each_per_rate": method, "each_cosine": "tag_cosine"}
    each = {name: seeds[source] for name, source in sources.items() if source in seeds}
    return {**arrays, **{name: tables for name, tables in each.items() if len(tables) > 1}}
