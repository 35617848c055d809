"""The probes by name, each loaded at first use; and whether a recipe's wishes can be granted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, cast

from auxtune.trials.encoded import EncodedTask
from auxtune.trials.probes.label_moments import require_row_labels
from auxtune.trials.probes.measuring import require_one_task
from auxtune.trials.probes.probe import FinalProbe, Options, ProbeError, RunningProbe, all_options
from auxtune.trials.recipe import Recipe

# Of a run that has ended, and of a run under way: where each is.
FINAL: Mapping[str, str] = {
    "head_importance": "head_importance:head_importance",
    "instance_importance": "head_importance:instance_importance",
    "hidden_states": "hidden_states:hidden_states",
    "covariance": "covariance:covariance",
    "gradients": "gradients:gradients",
    "label_moments": "label_moments:label_moments",
    "output_gradients": "output_gradients:output_gradients",
}
RUNNING: Mapping[str, str] = {"lookahead": "lookahead:Lookahead"}
# Part of what names stored evidence: raise a probe's when what it measures changes.
VERSIONS: Mapping[str, int] = {**dict.fromkeys((*FINAL, *RUNNING), 1), "gradients": 2, "lookahead": 2}
READS_TEXTS = ("hidden_states",)  # of what all tasks of a study share
# These are of the one task of a run.
_SINGLE = ("head_importance", "instance_importance", "covariance", "gradients", "label_moments")


def load_final_probe(name: str) -> FinalProbe:
    """The function that measures a run that has ended. Raises ``ProbeError`` for a name that is none."""
    return cast(FinalProbe, _load(name, FINAL))


def load_running_probe(name: str) -> Callable[[Recipe, Mapping[str, EncodedTask], Options], RunningProbe]:
    """The class that looks on while a run is trained. Raises ``ProbeError`` for a name that is none."""
    return cast(Callable[[Recipe, Mapping[str, EncodedTask], Options], RunningProbe], _load(name, RUNNING))


def check_probes(recipe: Recipe, tasks: Mapping[str, EncodedTask]) -> None:
    """Raise ``ProbeError`` where ``recipe.probes`` names what is not there or what cannot be measured of ``tasks``."""
    for name, options in recipe.probes.items():
        all_options(name, options)
        if name in _SINGLE:
            task = require_one_task({each: tasks[each] for each in recipe.tasks}, name)
            if name == "label_moments":
                require_row_labels(task)
        if name in RUNNING:
            load_running_probe(name)(recipe, tasks, options)


def _load(name: str, known: Mapping[str, str]) -> Any:
    if name not in known:
        raise ProbeError(f"recipe.probes: expected some of {', '.join(known)}, found {name!r}")
    module, attribute = known[name].split(":")
    return getattr(import_module(f"auxtune.trials.probes.{module}"), attribute)
