"""Weights that one run leaves and another begins with: the encoder, and each task's own under the task's name.

A task's own are its head and, if it is aligned, its matrix. A run trains those of its own tasks only. What it inherited
for other tasks it hands on untouched, so that a chain of runs keeps all that any of them trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from auxtune.trials.checkpoint import DamagedCheckpointError, read_checkpoint, write_checkpoint
from auxtune.trials.model import MultiTaskModel


def save_weights(folder: Path, model: MultiTaskModel, inherited: Mapping[str, torch.Tensor]) -> None:
    """Write the weights of ``model`` into ``folder``, with those ``inherited`` for tasks that it does not train.

    Raises ``OSError`` where the disk refuses.
    """
    state = model.state_dict()
    own = {stored: state[name] for name, stored in model.stored_names().items()}
    write_checkpoint(folder, {**inherited, **own}, {"tasks": list(model.tasks)})


def load_weights(model: MultiTaskModel, folder: Path) -> dict[str, torch.Tensor]:
    """Load what ``folder`` holds into ``model`` and return all of it, by stored name.

    Raises ``ValueError`` where there is nothing usable, or where it is of another encoder.
    """
    try:
        stored, _ = read_checkpoint(folder)
    except DamagedCheckpointError as error:
        raise ValueError(f"{folder}: the weights to start from cannot be used: {error}") from error
    state = model.state_dict()
    known = {name: stored[kept] for name, kept in model.stored_names().items() if kept in stored}
    encoder = [name for name in state if name.startswith("encoder.")]
    misfit = [name for name in (*encoder, *known) if name not in known or known[name].shape != state[name].shape]
    if misfit:
        raise ValueError(f"{folder}: weights of another model, they differ in {misfit[0]}; start from the encoder")
    model.load_state_dict(known, strict=False)
    return stored
