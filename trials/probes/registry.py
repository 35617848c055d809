"""The probes by name, each loaded at first use; whether they can measure a recipe's tasks; and keys of their evidence.

Equal keys mean equal evidence, in any study: ``hash_run`` names a run, ``hash_probe`` a measurement of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any, cast

from auxtune.trials.encoder import BaseEncoder
from auxtune.trials.probes.covariance import require_row_labels
from auxtune.trials.probes.measuring import require_one_task
from auxtune.trials.probes.probe import FinalProbe, Options, ProbeError, RunningProbe, complete_options
from auxtune.trials.recipe import Recipe, describe_run
from auxtune.trials.tokens import EncodedTask, hash_inputs

# "module:function" for probes of a run that has ended, "module:class" for those of a run under way.
FINAL: Mapping[str, str] = {
    "head_importance": "head_importance:measure_head_importance",
    "instance_importance": "head_importance:measure_instance_importance",
    "hidden_states": "hidden_states:measure_hidden_states",
    "covariance": "covariance:measure_covariance",
    "gradients": "gradients:measure_gradients",
    "label_moments": "covariance:measure_label_moments",
    "output_gradients": "output_gradients:measure_output_gradients",
}
RUNNING: Mapping[str, str] = {"lookahead": "lookahead:Lookahead"}
# Part of the key of stored evidence: raise a probe's version when its measurement changes.
VERSIONS: Mapping[str, int] = {**dict.fromkeys((*FINAL, *RUNNING), 1), "gradients": 2, "lookahead": 2}
READS_TEXTS = ("hidden_states",)  # probes that read the texts that all tasks of a study share
# Probes of a run of one task.
_SINGLE = ("head_importance", "instance_importance", "covariance", "gradients", "label_moments")


def load_final_probe(name: str) -> FinalProbe:
    """The function that measures a run that has ended. Raises ``ProbeError`` for an unknown name."""
    return cast(FinalProbe, _load(name, FINAL))


def load_running_probe(name: str) -> Callable[[Recipe, Mapping[str, EncodedTask], Options], RunningProbe]:
    """The class that observes a run while it is trained. Raises ``ProbeError`` for an unknown name."""
    return cast(Callable[[Recipe, Mapping[str, EncodedTask], Options], RunningProbe], _load(name, RUNNING))


def check_probes(recipe: Recipe, tasks: Mapping[str, EncodedTask]) -> None:
    """Raise ``ProbeError`` if ``recipe.probes`` names an unknown probe, or one that cannot measure ``tasks``."""
    for name, options in recipe.probes.items():
        complete_options(name, options)
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


def hash_run(recipe: Recipe, tasks: Mapping[str, EncodedTask], base: BaseEncoder, gpus: float) -> str:
    """SHA-256 of everything that decides a run's weights and scores: tasks, data, metrics, encoder, recipe, seed.

    It leaves out the run's probes and its test tasks, and the encoder's path: the digest stands for the encoder, and
    each task's probe rows as token ids stand for the tokenizer.
    """
    used = {name: tasks[name] for name in recipe.tasks}
    on_gpu = gpus > 0 and recipe.device != "cpu"
    precision = "float32" if recipe.precision == "auto" and not on_gpu else recipe.precision
    model = replace(recipe.model, name="", trust_remote_code=False)
    known = describe_run(replace(recipe, probes={}, test=(), precision=precision, model=model), used, base)
    return _hash_json(
        {
            **known,
            "device": "gpu" if on_gpu else "cpu",
            "metrics": {
                name: list(task.metrics) for name, task in used.items()
            },  # the main metric picks the best weights
            "token ids": {name: hash_inputs(task.splits["probe"]) for name, task in used.items()},
        }
    )


def hash_probe(run: str, probe: str, options: Mapping[str, Any], texts: str | None) -> str:
    """SHA-256 of a probe's measurement of a run. ``texts`` is the digest of the shared probe batch, if there is one.

    Omitted options take their defaults. Raises ``ProbeError`` for an unknown probe or option.
    """
    full = complete_options(probe, options)
    read = texts if probe in READS_TEXTS else None
    return _hash_json({"run": run, "probe": probe, "version": VERSIONS[probe], "options": full, "texts": read})


def _hash_json(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()
