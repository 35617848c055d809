"""What probes would have measured, from a table's ``affinity.csv``: pairs in the place of arrays.

A joint run's affinities are what its probe gives anyway. Of single-task runs the file holds only how alike they are, so
their evidence here is a row of likenesses (``selectors/recorded.py``), which selectors take as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from auxtune.orchestrator.simulation.affinity_file import Affinities
from auxtune.orchestrator.simulation.mistakes import TableError
from auxtune.selectors.protocol import Measure, Proposal
from auxtune.selectors.recorded import likenesses

OF_SINGLE_RUNS: Mapping[str, tuple[str, ...]] = {      # probe -> the methods that compare what it gives
    "head_importance": ("gradts",),
    "covariance": ("covariance", "covariance_normalised"),
    "hidden_states": ("representation",),
    "gradients": ("gradient",),
}
_LOOKAHEAD = {"exact": "tag", "first": "tag_first"}


@dataclass(frozen=True)
class Served:
    """Evidence of one run by probe, and the seconds that it took, ``None`` where they were not recorded."""

    arrays: dict[str, Mapping[str, np.ndarray]]
    seconds: float | None


def measured(affinities: Affinities | None, tasks: Sequence[str], proposal: Proposal, seed: int) -> Served:
    """What ``proposal`` measures. Raises ``TableError`` where it was not recorded, saying what is missing."""
    arrays: dict[str, Mapping[str, np.ndarray]] = {}
    seconds = []
    for measure in proposal.measure:
        methods = _methods(measure)
        if methods is None:
            raise TableError(f"the probe {measure.probe} cannot be simulated: a recorded table holds pairs, not arrays")
        found = affinities.values if affinities is not None else {}
        if not any(method in found for method in methods):
            has = f"has only {', '.join(found)}" if found else "has no affinity.csv"
            raise TableError(
                f"the probe {measure.probe} needs affinity.csv with the method {' or '.join(methods)}; this table {has}"
            )
        assert affinities is not None
        number = seed % len(affinities.seeds)
        known = {method: affinities.values[method][number] for method in methods if method in found}
        own = list(tasks).index(proposal.tasks[0]) if measure.probe in OF_SINGLE_RUNS else slice(None)
        for method, took in (affinities.seconds or {}).items():
            if method in known:
                seconds.append(float(took[number][own].sum()))
        if measure.probe in OF_SINGLE_RUNS:
            arrays[measure.probe] = likenesses(tasks, {method: values[own] for method, values in known.items()})
        else:
            arrays[measure.probe] = _lookahead(tasks, known, methods[0])
    return Served(arrays, sum(seconds) if affinities is not None and affinities.seconds is not None else None)


def _methods(measure: Measure) -> tuple[str, ...] | None:
    if measure.probe == "lookahead":
        return (_LOOKAHEAD[str(measure.options.get("order", "exact"))], "tag_cosine")
    return OF_SINGLE_RUNS.get(measure.probe)


def _lookahead(tasks: Sequence[str], known: Mapping[str, np.ndarray], method: str) -> Mapping[str, np.ndarray]:
    unknown = np.full((len(tasks),) * 2, np.nan)
    affinity = known.get(method, unknown)
    return {
        "tasks": np.array(tasks), "affinity": affinity, "per_rate": affinity,
        "cosine": known.get("tag_cosine", unknown), "probes": np.array(0),
    }
