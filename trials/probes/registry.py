"""Probes by name."""

from __future__ import annotations

from collections.abc import Mapping

from auxtune.trials.encoded import EncodedTask
from auxtune.trials.probes.probe import FinalProbe, RunningProbe
from auxtune.trials.recipe import Recipe

VERSIONS: Mapping[str, int] = {}
READS_TEXTS = ("hidden_states",)


def final_probe(name: str) -> FinalProbe:
    """The probe of a run that has ended."""
    raise KeyError(name)


def is_running(name: str) -> bool:
    """Whether a probe looks on while a run is trained."""
    return False


def running_probes(recipe: Recipe, tasks: Mapping[str, EncodedTask]) -> dict[str, RunningProbe]:
    """The recipe's probes that look on while it is trained."""
    return {}
