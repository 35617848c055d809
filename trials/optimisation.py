"""Fused AdamW, and its learning rate as a pure function of the step: a checkpoint holds no scheduler."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from auxtune.trials.recipe import Recipe


def adamw(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """Fused AdamW over all parameters. Weight decay spares those of one dimension, the biases and norms."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)


def learning_rate(recipe: Recipe, step: int) -> float:
    """The rate of optimisation step ``step``, counted from 0: a linear rise, then a linear fall or none.

    Neither end is zero: the first step of the rise and the last of the fall still learn.
    """
    warm = round(recipe.warmup * recipe.steps)
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    if recipe.decay == "none":
        return recipe.learning_rate
    return recipe.learning_rate * (recipe.steps - step) / (recipe.steps - warm)


def moments(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimiser's tensors, ``<parameter's number>.<name>``. A head not trained yet has none."""
    state = optimiser.state_dict()["state"]
    return {f"{number}.{name}": tensor for number, held in state.items() for name, tensor in held.items()}


def set_moments(optimiser: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Continue from ``moments``."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = tensor
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
