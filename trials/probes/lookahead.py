"""TAG's look-ahead: while all tasks train together, how would a step on one task change the losses of the others?

With g_i the gradient of task i's loss and d_i the displacement that a rule derives from it, the gain of recipient j
from source i is

    exact   Z = 1 - L_j(θ + d_i) / L_j(θ)
    first   Z = -(g_j · d_i) / L_j(θ)                  (η / L_j) g_jᵀ D g_i, as d_i = -η D g_i with D diagonal

A positive gain lowers the loss. Every ``every`` optimisation steps, after the first 2 % of them, the gain of each
task from a step of each task is measured on the shared weights, with heads fixed, and averaged over the run. The table
of every probe is kept beside the mean, since it is the only way to know its noise. Each task has a fresh batch of its
train split; tasks with the same inputs get the same rows, as in the paper. A task's gain from its own step would be
flattered on the rows of that step, so it is measured on rows of the probe split. Losses count without the weights and
the clipping of training.

Source: C. Fifty et al., "Efficiently Identifying Task Groupings for Multi-Task Learning", NeurIPS 2021,
https://arxiv.org/abs/2109.04617: ``step: sgd``, ``order: exact``. Its released code divides each gain by the learning
rate of the step; that mean is ``per_rate``. If the run's optimiser is AdamW, as here, it would never take a plain
gradient step: ``step: optimiser`` uses its own step (``steps.py``). ``order: first`` is the first-order expansion, for
many tasks or a large encoder.

``exact`` takes a backward pass per task and n² + n forward passes, ``first`` two backward passes per task. A probe of n
tasks thus costs about n (n + 6) / 3 training steps with ``exact`` (a backward pass counted as two forward passes) and
3 n with ``first``. Both hold a gradient of the encoder's weights per task in memory.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
import torch

from auxtune.trials.failures import NonFiniteError
from auxtune.trials.probes.measuring import compute_mean_loss, convert_to_double, leave_undisturbed
from auxtune.trials.probes.probe import Arrays, LookaheadOptions, Options, ProbeError, read_options
from auxtune.trials.probes.steps import Rule, build_adamw_rule, build_sgd_rule
from auxtune.trials.recipe import Recipe
from auxtune.trials.tokens import EncodedTask, hash_inputs
from auxtune.trials.train_step import TrainStep

Loss: TypeAlias = Callable[[], torch.Tensor]
Gradient: TypeAlias = tuple[torch.Tensor, ...]
CHUNK = 2**20  # numbers of a gradient held in float64 at a time


@dataclass(frozen=True)
class Gains:
    """Gains of n tasks, ``[recipient, source]``, float64 on the host.

    NaN if a recipient's loss was 0, minus infinity if it is not finite after the step.
    """

    gain: torch.Tensor  # (n, n), each task on the rows of its gradient
    held_out: torch.Tensor  # (n,), each task's gain from its own step, on other rows
    gram: torch.Tensor  # (n, n) inner products of the gradients


def measure_gains(
    losses: Sequence[Loss],
    held_out: Sequence[Loss],
    parameters: Sequence[torch.Tensor],
    rule: Rule,
    order: Literal["exact", "first"],
) -> Gains:
    """The gain of each of ``losses`` from a step on each, and of each of ``held_out`` from the step on its own task.

    A loss is computed at each call from the current ``parameters``. When this returns or raises, these are unchanged
    bit for bit and hold no gradients.
    """
    gradients = [_compute_gradient(loss, parameters) for loss in losses]
    before, before_held = _compute_values(losses), _compute_values(held_out)
    if order == "first":
        lowered = -_compute_inner_products(gradients, gradients, parameters, rule)
        own = [
            -_compute_inner_products([_compute_gradient(loss, parameters)], [gradient], parameters, rule)[0, 0]
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
    return Gains(
        _mark_undefined(gain, before[:, None]),
        _mark_undefined(held, before_held),
        _compute_inner_products(gradients, gradients),
    )


def _mark_undefined(gain: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """NaN if the loss was 0, so that nothing could be gained. Any other value that is not finite is infinite harm."""
    return gain.nan_to_num(-torch.inf, torch.inf, -torch.inf).where(before != 0, torch.nan)


def _compute_gradient(loss: Loss, parameters: Sequence[torch.Tensor]) -> Gradient:
    return torch.autograd.grad(loss(), tuple(parameters), materialize_grads=True)


@torch.no_grad()
def _compute_values(losses: Iterable[Loss]) -> torch.Tensor:
    """The values of ``losses``, (losses,) float64 on the host."""
    return convert_to_double(torch.stack([loss() for loss in losses])).cpu()


@torch.no_grad()
def _compute_values_after(
    gradient: Gradient, losses: Iterable[Loss], parameters: Sequence[torch.Tensor], rule: Rule
) -> torch.Tensor:
    """The losses after one step. The parameters are restored from copies: subtracting the step would round."""
    copies = [parameter.clone() for parameter in parameters]
    try:
        for parameter, part in zip(parameters, gradient, strict=True):
            parameter.add_(rule(parameter, part))
        return _compute_values(losses)
    finally:
        for parameter, copy in zip(parameters, copies, strict=True):
            parameter.copy_(copy)


@torch.no_grad()
def _compute_inner_products(
    first: Sequence[Gradient],
    second: Sequence[Gradient],
    parameters: Sequence[torch.Tensor] = (),
    rule: Rule | None = None,
) -> torch.Tensor:
    """Inner products, (first, second), of gradients with gradients, or with their displacements by ``rule``.

    Block by block, so that only a piece of one parameter is stacked and in float64 at a time.
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


DROPPED = 0.02  # of a run's steps: the gains of the first ones soon no longer hold
PARTS = ("train", "probe")


class Lookahead:
    """A ``RunningProbe`` of the run that ``recipe`` describes. Raises ``ProbeError`` if it would measure nothing."""

    def __init__(self, recipe: Recipe, tasks: Mapping[str, EncodedTask], options: Options) -> None:
        self._options = read_options(LookaheadOptions, options)
        self._recipe, self._tasks = recipe, {name: tasks[name] for name in recipe.tasks}
        if not any(map(self._due, range(1, recipe.steps + 1))):
            raise ProbeError(
                f"probes.lookahead: expected a step to measure at, found none in {recipe.steps} steps, "
                f"{self._options.every} apart; give the run more steps or lower `every`"
            )
        self._inputs = {
            (name, part): hash_inputs(task.splits[part]) for name, task in self._tasks.items() for part in PARTS
        }
        self._gathered: dict[str, list[torch.Tensor]] = {"gain": [], "held_out": [], "gram": [], "rate": []}

    def observe(self, train_step: TrainStep, task: str) -> None:
        """Measure, if a probe is due. Raises ``NonFiniteError`` if a loss after a step is not finite."""
        if not self._due(train_step.step):
            return
        with leave_undisturbed(train_step.model, train_step.device):
            found, rate = self._measure(train_step)
        for name, at in zip(self._tasks, zip(found.gain, found.held_out, strict=True), strict=True):
            if any(part.isinf().any() for part in at):
                raise NonFiniteError(
                    f"task {name}: its loss after a look-ahead step is not finite at step {train_step.step}; "
                    "lower the learning rate"
                )
        for key, tensor in (*vars(found).items(), ("rate", torch.tensor(rate, dtype=torch.float64))):
            self._gathered[key].append(tensor)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The measurements so far, a row per probe; nothing before the first."""
        return {key: torch.stack(held) for key, held in self._gathered.items() if held}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Continue from ``tensors``."""
        self._gathered = {key: list(tensors[key]) if key in tensors else [] for key in self._gathered}

    def arrays(self) -> Arrays:
        """Means over the probes, float64 and ``[recipient, source]``.

        ``affinity`` (n, n) has held-out gains on its diagonal, ``train_diagonal`` (n,) the others; ``per_rate`` (n, n)
        is the mean of gain / learning rate, ``cosine`` (n, n) that of the gradients' cosines, 0 if one has length 0.
        Each probe has its ``each_affinity`` (probes, n, n), ``rates`` (probes,), the learning rates, and ``gram``
        (probes, n, n), inner products of gradients; ``probes`` is their number, ``tasks`` (n,) names. A gain on a batch
        whose loss is 0 is not counted, and is ``nan`` in ``each_affinity``; raises ``ProbeError`` if a task has no
        other.
        """
        held = {key: tensor.numpy() for key, tensor in self.tensors().items()}
        gain, held_out, rate, gram = (held[key] for key in ("gain", "held_out", "rate", "gram"))
        own = np.arange(len(self._tasks))
        with_held = gain.copy()
        with_held[:, own, own] = held_out
        for name, task_gain in zip(self._tasks, np.moveaxis(np.concatenate([gain, with_held]), 1, 0), strict=True):
            if np.isnan(task_gain).all(axis=0).any():
                raise ProbeError(f"task {name}: its loss was 0 at all {len(gain)} probes; leave it out of the group")
        norms = np.sqrt(gram[:, own, own])
        lengths = norms[:, :, None] * norms[:, None, :]
        return {
            "tasks": np.array(list(self._tasks), np.str_),
            "affinity": np.nanmean(with_held, axis=0),
            "per_rate": np.nanmean(with_held / rate[:, None, None], axis=0),
            "cosine": np.divide(gram, lengths, out=np.zeros_like(gram), where=lengths > 0).mean(axis=0),
            "train_diagonal": np.nanmean(gain[:, own, own], axis=0),
            "gram": gram.astype(np.float32),
            "each_affinity": with_held.astype(np.float32),
            "rates": rate,
            "probes": np.array(len(gain)),
        }

    def rows(self, name: str, part: str, step: int) -> np.ndarray:
        """The rows of a task's ``part`` split that the probe after ``step`` reads, at most a batch."""
        count = len(self._tasks[name].splits[part])
        # A random stream of its own, apart from the batches of training. Keyed by inputs and not by name, so that tasks
        # with the same inputs are compared on the same rows.
        key = hashlib.sha256(f"lookahead {self._inputs[name, part]}".encode()).digest()[:8]
        rng = np.random.default_rng([self._recipe.seed, int.from_bytes(key, "big"), step])
        return rng.choice(count, min(self._recipe.batch_size, count), replace=False)

    def _due(self, step: int) -> bool:
        return step % self._options.every == 0 and step > math.ceil(DROPPED * self._recipe.steps)

    def _measure(self, train_step: TrainStep) -> tuple[Gains, float]:
        losses = {
            part: [
                partial(
                    compute_mean_loss,
                    train_step.model,
                    name,
                    train_step.collate(task, part, self.rows(name, part, train_step.step)),
                )
                for name, task in self._tasks.items()
            ]
            for part in PARTS
        }
        rate = float(train_step.optimiser.param_groups[0]["lr"])
        rule = build_sgd_rule(rate) if self._options.step == "sgd" else build_adamw_rule(train_step.optimiser)
        shared = [parameter for parameter in train_step.model.encoder.parameters() if parameter.requires_grad]
        return measure_gains(losses["train"], losses["probe"], shared, rule, self._options.order), rate
