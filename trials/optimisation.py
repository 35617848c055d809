"""Fused AdamW, and its learning rate as a pure function of the step: a checkpoint holds no scheduler."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from auxtune.trials.recipe import Recipe


def build_adamw(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """Fused AdamW over all parameters. Weight decay spares biases and norms, those of one dimension, and alignments.

    The neutral alignment is the identity: decaying towards zero would forget the embeddings.
    """
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (decayed if parameter.ndim > 1 and not name.startswith("alignments.") else spared).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)


def compute_learning_rate(recipe: Recipe, step: int) -> float:
    """The rate of optimisation step ``step``, counted from 0: a linear rise, then a linear fall or none.

    Neither end is zero: the first step of the rise and the last of the fall still learn. From ``recipe.transfer_step``
    on it is a separate fine-tuning, with its own rise and fall.
    """
    begin, end = (0, recipe.transfer_step) if step < recipe.transfer_step else (recipe.transfer_step, recipe.steps)
    steps, step = end - begin, step - begin
    warm = round(recipe.warmup * steps)
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    if recipe.decay == "none":
        return recipe.learning_rate
    return recipe.learning_rate * (steps - step) / (steps - warm)


def optimizer_state(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimiser's tensors, ``<parameter's number>.<name>``. A head not trained yet has none."""
    state = optimiser.state_dict()["state"]
    return {f"{number}.{name}": tensor for number, held in state.items() for name, tensor in held.items()}


def load_optimizer_state(optimiser: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Continue from ``optimizer_state``."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = tensor
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
