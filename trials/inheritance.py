"""Weights that one run leaves and another begins with: the encoder, and each task's own under the task's name.

A task's own are its head and, if it is aligned, its matrix. A run trains those of its own tasks only. What it inherited
for other tasks it hands on untouched, so that a chain of runs keeps all that any of them trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from auxtune.trials.checkpoint import DamagedCheckpointError, read_checkpoint, write_checkpoint
from auxtune.trials.model import MultiTaskModel
from auxtune.trials.recipe import Recipe

_OWN = ("heads", "alignments")  # parts of a model that each task has for itself


def leave(folder: Path, model: MultiTaskModel, recipe: Recipe, inherited: Mapping[str, torch.Tensor]) -> None:
    """Write the weights of ``model`` into ``folder``, with what was ``inherited`` for tasks it does not train.

    Raises ``OSError`` where the disk refuses.
    """
    own = {name_stored(name, recipe.tasks): tensor for name, tensor in model.state_dict().items()}
    write_checkpoint(folder, {**inherited, **own}, {"tasks": list(recipe.tasks)})


def inherit(model: MultiTaskModel, recipe: Recipe, folder: Path) -> dict[str, torch.Tensor]:
    """Load what ``folder`` holds into ``model`` and return all of it, by stored name.

    Raises ``ValueError`` where there is nothing usable, or where it is of another encoder.
    """
    try:
        stored, _ = read_checkpoint(folder)
    except DamagedCheckpointError as error:
        raise ValueError(f"{folder}: the weights to start from cannot be used: {error}") from error
    state = model.state_dict()
    named = {name: name_stored(name, recipe.tasks) for name in state}
    known = {name: stored[kept] for name, kept in named.items() if kept in stored}
    encoder = [name for name in state if name.startswith("encoder.")]
    misfit = [name for name in (*encoder, *known) if name not in known or known[name].shape != state[name].shape]
    if misfit:
        raise ValueError(f"{folder}: weights of another model, they differ in {misfit[0]}; start from the encoder")
    model.load_state_dict(known, strict=False)
    return stored


def name_stored(name: str, tasks: Sequence[str]) -> str:
    """A parameter's name that does not depend on which tasks a run has: ``heads.1.bias`` is ``heads/<task>/bias``."""
    part, _, rest = name.partition(".")
    if part not in _OWN:
        return name
    number, *leaf = rest.split(".", 1)
    return "/".join([part, tasks[int(number)], *leaf])
