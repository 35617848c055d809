"""Names for what a run is and for what was measured of it: equal names mean equal evidence, in any study."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from auxtune.trials.encoded import EncodedTask
from auxtune.trials.encoder import BaseEncoder
from auxtune.trials.progress import identity
from auxtune.trials.recipe import Recipe


def run_key(recipe: Recipe, tasks: Mapping[str, EncodedTask], base: BaseEncoder, gpus: float) -> str:
    """SHA-256 of all that decides a run's weights: tasks and data, encoder, recipe with precision, seed.

    What is measured of it and what is reported of it are left out.
    """
    known = identity(replace(recipe, probes={}, report=()), {name: tasks[name] for name in recipe.tasks}, base)
    return _digest({**known, "device": "gpu" if gpus else "cpu"})


def probe_key(run: str, probe: str, version: int, options: Mapping[str, Any], texts: str | None) -> str:
    """SHA-256 of what a probe measures of a run. ``texts`` is the digest of the shared probe batch, if it reads it."""
    return _digest({"run": run, "probe": probe, "version": version, "options": dict(options), "texts": texts})


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()
