"""The step that a gradient would cause, as a function: how far each parameter would move, nothing moved.

A rule takes a parameter and a gradient of its shape and returns the displacement. ``build_adamw_rule`` is the step that
the run's own optimiser would take next with that gradient *minus* the one that it would take with none, so that
momentum and decay, which are not the gradient's doing, cancel. Element by element it is a multiple of the gradient,
though one that depends on it: its own square is in the second moment. Without that, rows of an embedding that were
never met, whose second moment is 0, would move by 1 / epsilon and drown everything. Neither rule clips.
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

    A parameter that it has not moved yet starts from moments of zero, as it would.
    """
    groups = {parameter: group for group in optimiser.param_groups for parameter in group["params"]}

    def move(parameter: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        state, group = optimiser.state.get(parameter, {}), groups[parameter]
        return _moved(state, group, gradient) - _moved(state, group, torch.zeros_like(gradient))

    return move


def _moved(state: dict[str, Any], group: dict[str, Any], gradient: torch.Tensor) -> torch.Tensor:
    """Adam's displacement, decay left out: it is the same with every gradient."""
    beta1, beta2 = group["betas"]
    zero = torch.zeros_like(gradient)
    step = state.get("step", 0) + 1
    mean = torch.lerp(state.get("exp_avg", zero), gradient, 1 - beta1) / (1 - beta1**step)
    square = torch.lerp(state.get("exp_avg_sq", zero), gradient * gradient, 1 - beta2) / (1 - beta2**step)
    change: torch.Tensor = -group["lr"] * mean / (square.sqrt() + group["eps"])
    return change
