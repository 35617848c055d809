"""Auxiliaries by how like the primary's head profile theirs is: what all forms of GradTS begin with.

Each task is fine-tuned alone and the importance of its attention heads measured (``single_runs.py``,
``head_profiles.py`` with the source). A run that failed has no profile: its task is no candidate, and where it is the
primary's there is no ranking at all.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from auxtune.selectors.finalisers import ranked
from auxtune.selectors.head_profiles import RowsNorm, profiles, tau
from auxtune.selectors.protocol import Evidence, Measure
from auxtune.selectors.recorded import recorded
from auxtune.selectors.single_runs import Run, SingleRuns

# What the option `released` means, wherever there is one.
RELEASED = "importance as the authors' code has it, but for dropout and batches"


def heads_measured(released: bool, probe: str = "head_importance") -> Measure:
    """The importance by the gradient of head masks, or of key and value weights as the authors' code has it.

    That cuts the weights along their inputs, and reads the training rows. Rows by themselves are always of these.
    """
    if not released:
        return Measure(probe, {"form": "mask"})
    rows = {"split": "train"} if probe == "head_importance" else {}
    return Measure(probe, {"form": "key_value", "sliced": "input", **rows})


def rows_norm(released: bool) -> RowsNorm:
    """How layers are normalised: by their L2 norm, or by their sum as the authors' code has it."""
    return "sum" if released else "l2"


def taus_of(runs: SingleRuns, evidence: Evidence, norm: RowsNorm) -> dict[Run, float]:
    """Tau of the primary's profile with that of each other run which gave one; empty where the primary's did not."""
    keys = runs.keys("head_importance")
    primary = (runs.problem.require_primary(), None)
    if primary not in keys:
        return {}
    before = {run: recorded(evidence[keys[primary]], "gradts", run[0]) for run in keys if run != primary}
    known = {run: tau for run, tau in before.items() if tau is not None and np.isfinite(tau)}
    if known or "importance" not in evidence[keys[primary]]:
        return known
    found = {run: profiles(evidence[key]["importance"], norm) for run, key in keys.items()}
    return {run: tau(found[primary], profile) for run, profile in found.items() if run != primary}


def auxiliaries_by_tau(taus: Mapping[Run, float]) -> dict[str, float]:
    """The auxiliaries, twins left out, with their taus from the largest; on ties in the study's order."""
    alone = {task: tau for (task, shuffled), tau in taus.items() if shuffled is None}
    return {task: alone[task] for task in ranked(alone)}


def twins_of(runs: SingleRuns, taus: Mapping[Run, float]) -> list[float]:
    """The taus of the label-shuffled twins of auxiliaries; of a study from before, which had none, the primary's."""
    shuffled = {run: tau for run, tau in taus.items() if run[1] is not None}
    auxiliaries = [tau for (task, _), tau in shuffled.items() if task != runs.problem.primary]
    return auxiliaries or list(shuffled.values())


def unmeasured(runs: SingleRuns) -> list[str]:
    """The tasks whose own run has ended without importances."""
    ended = [task for task, shuffled in runs.wanted if shuffled is None and (task, None) in runs.told]
    return [task for task in ended if runs.key(task, "head_importance") is None]
