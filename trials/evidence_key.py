"""Names for what a run is and for what was measured of it: equal names mean equal evidence, in any study."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from auxtune.trials.encoded import EncodedTask
from auxtune.trials.encoder import BaseEncoder
from auxtune.trials.probes.measuring import hash_inputs
from auxtune.trials.probes.probe import all_options
from auxtune.trials.probes.registry import READS_TEXTS, VERSIONS
from auxtune.trials.progress import describe_run
from auxtune.trials.recipe import Recipe


def make_run_key(recipe: Recipe, tasks: Mapping[str, EncodedTask], base: BaseEncoder, gpus: float) -> str:
    """SHA-256 of all that decides a run's weights and scores: tasks, data, metrics, encoder, recipe, seed.

    What is measured of it and what it is tested on are left out, and where the encoder lies: its digest stands for
    it, and a few of each task's rows as token ids for its tokenizer.
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
            "metrics": {name: list(task.metrics) for name, task in used.items()},  # the main one picks the best weights
            "token ids": {name: hash_inputs(task.splits["probe"]) for name, task in used.items()},
        }
    )


def make_probe_key(run: str, probe: str, options: Mapping[str, Any], texts: str | None) -> str:
    """SHA-256 of what a probe measures of a run. ``texts`` is the digest of the shared probe batch, if one is read.

    Options that are left out are those by default. Raises ``ProbeError`` for a probe or an option that there is not.
    """
    full = all_options(probe, options)
    read = texts if probe in READS_TEXTS else None
    return _hash_json({"run": run, "probe": probe, "version": VERSIONS[probe], "options": full, "texts": read})


def _hash_json(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()
