"""The step that a gradient would cause, as a function: how far each parameter would move, without moving it.

A rule takes a parameter and a gradient of its shape and returns the displacement. ``build_adamw_rule`` gives the step
that the run's own optimiser would take next with that gradient *minus* the step it would take with none, so that
momentum and decay, which the gradient does not cause, cancel. Element by element it is a multiple of the gradient, by
a factor that depends on the gradient, since its square enters the second moment. Without that, rows of an embedding
that never occurred, whose second moment is 0, would move by 1 / epsilon and dominate everything. Neither rule clips.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch

Rule: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def build_sgd_rule(rate: float) -> Rule:
    """Plain gradient descent with a learning rate of ``rate``."""
    return lambda parameter, gradient: -rate * gradient


def build_adamw_rule(optimiser: torch.optim.AdamW) -> Rule:
    """The next step of ``optimiser`` with a gradient, less the one without. Its state is read, never changed.

    For a parameter without state, moments start from zero, as in the optimiser.
    """
    groups = {parameter: group for group in optimiser.param_groups for parameter in group["params"]}

    def move(parameter: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        state, group = optimiser.state.get(parameter, {}), groups[parameter]
        return _compute_move(state, group, gradient) - _compute_move(state, group, torch.zeros_like(gradient))

    return move


def _compute_move(state: dict[str, Any], group: dict[str, Any], gradient: torch.Tensor) -> torch.Tensor:
    """Adam's displacement, without decay, which is the same for every gradient."""
    beta1, beta2 = group["betas"]
    zero = torch.zeros_like(gradient)
    step = state.get("step", 0) + 1
    mean = torch.lerp(state.get("exp_avg", zero), gradient, 1 - beta1) / (1 - beta1**step)
    square = torch.lerp(state.get("exp_avg_sq", zero), gradient * gradient, 1 - beta2) / (1 - beta2**step)
    change: torch.Tensor = -group["lr"] * mean / (square.sqrt() + group["eps"])
    return change
