"""What one task's step would do to another task's loss, for any losses of shared parameters.

With g_i the gradient of task i's loss and d_i the displacement that a rule makes of it, the gain of recipient j from
source i is

    exact   Z = 1 - L_j(θ + d_i) / L_j(θ)
    first   Z = -(g_j · d_i) / L_j(θ)                  (η / L_j) g_jᵀ D g_i, as d_i = -η D g_i with D diagonal

Positive: the step lowers the loss. ``exact`` takes a backward pass per task and n² + n forward passes; ``first``
takes two backward passes per task. Both hold a gradient of the shared parameters per task in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from auxtune.trials.probes.measuring import convert_to_double
from auxtune.trials.probes.steps import Rule

Loss: TypeAlias = Callable[[], torch.Tensor]
Gradient: TypeAlias = tuple[torch.Tensor, ...]
CHUNK = 2**20  # numbers of a gradient that are in float64 at a time


@dataclass(frozen=True)
class Gains:
    """Gains of n tasks, ``[recipient, source]``, float64 on the host.

    NaN where a recipient's loss was 0, minus infinity where it is not finite after the step.
    """

    gain: torch.Tensor  # (n, n), each task on the rows that its gradient is of
    held_out: torch.Tensor  # (n,), each task's own on rows that it is not of
    gram: torch.Tensor  # (n, n) inner products of the gradients


def gains(
    losses: Sequence[Loss],
    held_out: Sequence[Loss],
    parameters: Sequence[torch.Tensor],
    rule: Rule,
    order: Literal["exact", "first"],
) -> Gains:
    """The gains of each of ``losses`` from a step on each, and of each of ``held_out`` from the step on its task.

    A loss is computed again at each call, from ``parameters`` as they then are. These are bit for bit what they were
    when this returns or raises, and gradients are not left in them.
    """
    gradients = [_compute_gradient(loss, parameters) for loss in losses]
    before, before_held = _compute_values(losses), _compute_values(held_out)
    if order == "first":
        lowered = -_multiply(gradients, gradients, parameters, rule)
        own = [
            -_multiply([_compute_gradient(loss, parameters)], [gradient], parameters, rule)[0, 0]
            for loss, gradient in zip(held_out, gradients, strict=True)
        ]
        gain, held = lowered / before[:, None], torch.stack(own) / before_held
    else:
        columns, own = [], []
        for gradient, loss in zip(gradients, held_out, strict=True):
            after = _compute_values_after(gradient, [*losses, loss], parameters, rule)
            columns.append(after[:-1])
            own.append(after[-1])
        gain, held = 1 - torch.stack(columns, 1) / before[:, None], 1 - torch.stack(own) / before_held
    return Gains(_known(gain, before[:, None]), _known(held, before_held), _multiply(gradients, gradients))


def _known(gain: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """NaN where the loss was 0: there is nothing to lower. Any other that is not a number is endless harm."""
    return gain.nan_to_num(-torch.inf, torch.inf, -torch.inf).where(before != 0, torch.nan)


def _compute_gradient(loss: Loss, parameters: Sequence[torch.Tensor]) -> Gradient:
    return torch.autograd.grad(loss(), tuple(parameters), materialize_grads=True)


@torch.no_grad()
def _compute_values(losses: Iterable[Loss]) -> torch.Tensor:
    """(losses,) float64 on the host."""
    return convert_to_double(torch.stack([loss() for loss in losses])).cpu()


@torch.no_grad()
def _compute_values_after(
    gradient: Gradient, losses: Iterable[Loss], parameters: Sequence[torch.Tensor], rule: Rule
) -> torch.Tensor:
    """The losses one step on. The parameters are put back from copies: subtracting the step would round."""
    copies = [parameter.clone() for parameter in parameters]
    try:
        for parameter, part in zip(parameters, gradient, strict=True):
            parameter.add_(rule(parameter, part))
        return _compute_values(losses)
    finally:
        for parameter, copy in zip(parameters, copies, strict=True):
            parameter.copy_(copy)


@torch.no_grad()
def _multiply(
    first: Sequence[Gradient],
    second: Sequence[Gradient],
    parameters: Sequence[torch.Tensor] = (),
    rule: Rule | None = None,
) -> torch.Tensor:
    """Inner products, (first, second), of gradients with gradients or with the displacements ``rule`` makes of them.

    Block by block, so that no more than a piece of one parameter is stacked and in float64 at a time.
    """
    total = torch.zeros(len(first), len(second), dtype=torch.float64)
    for block in range(len(first[0])):
        left = [gradient[block].flatten() for gradient in first]
        right = [gradient[block] if rule is None else rule(parameters[block], gradient[block]) for gradient in second]
        right = [part.flatten() for part in right]
        for start in range(0, left[0].numel(), CHUNK):
            pieces = [
                torch.stack([convert_to_double(part[start : start + CHUNK]) for part in side]) for side in (left, right)
            ]
            total += (pieces[0] @ pieces[1].T).cpu()
    return total
