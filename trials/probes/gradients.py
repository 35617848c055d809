"""A task's gradients at a point that all tasks share: which way would it pull the encoder as it came?

The common point is the encoder before any training, with the task's head first fitted on the encoder's frozen vectors:
under a head that was never trained, gradients say more of how the head was drawn than of the task. The gradient of the
mean loss on each of a few training batches is kept per block (``blocks.py``) as a sketch of 4,096 numbers
(``sketch.py``), with its exact norm. Tasks with the same rows get the same batches.

That gradient directions tell whether tasks can share a model is the idea of Sehanobish et al., "Explaining the
Effectiveness of Multi-Task Learning for Efficient Knowledge Extraction from Spine MRI Reports", NAACL 2022
(https://arxiv.org/abs/2205.02979). Point, fit, blocks and sketches are ours. As a fitted head turns with its labels, a
task whose classes are renamed has the same gradients, not the opposite ones.

It costs an encoding of up to 4,096 labels, a fit on them, and ``batches`` backward passes; no training, so a recipe of
0 steps will do.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import optimize
from torch.nn import functional

from auxtune.trials.encoded import IGNORED, EncodedTask
from auxtune.trials.encoder import BaseEncoder, build_encoder
from auxtune.trials.model import MultiTaskModel, pool
from auxtune.trials.probes.blocks import BlockSketches, find_blocks
from auxtune.trials.probes.measuring import (
    compute_mean_loss,
    convert_to_double,
    iterate_batches,
    leave_undisturbed,
    require_one_task,
)
from auxtune.trials.probes.probe import Arrays, GradientsOptions, Options, ProbeError, Subject, read_options
from auxtune.trials.recipe import Recipe

FITTED = 4096  # labels a head is fitted on: enough for a linear layer
CLOSE = 1e-4  # how near the best weights a fit must come


def gradients(subject: Subject, options: Options) -> Arrays:
    """``projections`` (batches, blocks, 4096) and ``norms`` (batches, blocks), ``blocks`` (blocks,) names, ``point``.

    ``point`` tells what may be compared. Raises ``ProbeError`` for a run of several tasks or an encoder without layers.
    """
    task, count = require_one_task(subject.tasks, "gradients"), read_options(GradientsOptions, options).batches
    collate, recipe = subject.collate, subject.recipe
    with leave_undisturbed(subject.model, collate.device):
        encoder = build_encoder(subject.base, recipe.seed)
        pooling = encoder.reading(recipe.model.pooling)
        model = MultiTaskModel(encoder, [task], pooling, recipe.seed).to(collate.device).eval()
        fit_head(model, task, subject)
        blocks, point = find_blocks(encoder.module), name_common_point(subject.base, recipe.seed)
        sketch = BlockSketches(point, blocks, collate.device)
        found = []
        for number in range(count):
            batch = collate(task, "train", choose_batch_rows(task, recipe, number))
            found.append(sketch(compute_mean_loss(model, task.name, batch)))
    return {
        "projections": torch.stack([sketches for sketches, _ in found]).numpy().astype(np.float32),
        "norms": torch.stack([norms for _, norms in found]).numpy().astype(np.float32),
        "blocks": np.array(list(blocks), np.str_),
        "point": np.array(point, np.str_),
    }


def name_common_point(base: BaseEncoder, seed: int) -> str:
    """The encoder's digest; for one from scratch also the seed its weights are drawn from."""
    return base.digest if base.weights is not None else f"{base.digest} seed {seed}"


def choose_batch_rows(task: EncodedTask, recipe: Recipe, number: int) -> np.ndarray:
    """Which train rows are in a batch: not by the task's name, so that tasks of the same rows get the same batches."""
    rows = len(task.splits["train"])
    rng = np.random.default_rng([recipe.seed, rows, number])
    return rng.choice(rows, min(recipe.batch_size, rows), replace=False)


def fit_head(model: MultiTaskModel, task: EncodedTask, subject: Subject) -> None:
    """Fit the only head of ``model`` on its encoder's vectors of evenly spaced train rows, up to ``FITTED`` labels.

    Summed loss plus half the squared weights is made least, by Newton's method from zero in float64: for classes that
    is logistic regression with C = 1, without which labels that can be separated would have no best fit. Raises
    ``ProbeError`` where the fit does not converge.
    """
    vectors, labels = _collect_vectors(model, task, subject)
    on_host = model.head(task.name).cpu()
    center = vectors.mean(dim=0)
    centered = vectors - center
    scales = _scale_directions(centered)
    shape = (on_host.linear.out_features, len(scales))
    scaled = centered @ scales.T

    def objective(values: torch.Tensor) -> torch.Tensor:
        free, bias = values[: shape[0] * shape[1]].view(shape), values[shape[0] * shape[1] :]
        return on_host.loss(functional.linear(scaled, free, bias), labels) + (free @ scales).square().sum() / 2

    values = _minimise(objective, shape[0] * shape[1] + shape[0])
    weight = values[: shape[0] * shape[1]].view(shape) @ scales
    bias = values[shape[0] * shape[1] :] - weight @ center
    slope = _measure_slope(lambda w, b: on_host.loss(functional.linear(vectors, w, b), labels), weight, bias)
    if not slope <= CLOSE:
        raise ProbeError(
            f"probes.gradients: the head of {task.name} cannot be fitted: expected a slope of at most "
            f"{CLOSE:g} at the least loss, found {slope:.1e}"
        )
    with torch.no_grad():
        on_host.linear.weight.copy_(weight)
        on_host.linear.bias.copy_(bias)
    on_host.to(subject.collate.device)


def _scale_directions(vectors: torch.Tensor) -> torch.Tensor:
    """(rank, width): unknowns z with weights z @ scales, of which the loss over centred ``vectors`` is alike steep.

    An encoder's vectors lie close together along most directions, so that a search in the weights themselves stops far
    from the least loss, and where depends on rounding. With X = U S V', X'X/4 + 1 bounds the second derivative of a
    logistic loss with its penalty, so w = V (S²/4 + 1)^(-1/2) z has one of at most 1 in every direction.
    """
    _, sizes, directions = torch.linalg.svd(vectors, full_matrices=False)
    conditioned: torch.Tensor = directions / (sizes.square() / 4 + 1).sqrt()[:, None]
    return conditioned


def _minimise(objective: Callable[[torch.Tensor], torch.Tensor], size: int) -> torch.Tensor:
    """Where a convex ``objective`` of ``size`` unknowns is least, as near as float64 tells, (size,)."""

    def value_and_slope(point: np.ndarray) -> tuple[float, np.ndarray]:
        here = torch.tensor(point, requires_grad=True)
        value = objective(here)
        (slope,) = torch.autograd.grad(value, here)
        return value.item(), slope.numpy()

    def curvature(point: np.ndarray, direction: np.ndarray) -> np.ndarray:
        product = torch.autograd.functional.vhp(objective, torch.tensor(point), torch.tensor(direction))[1]
        return np.asarray(product.numpy())

    # Whether it says that it succeeded is not asked: at the limit of float64 its line search finds nothing better.
    found = optimize.minimize(
        value_and_slope, np.zeros(size), jac=True, hessp=curvature, method="Newton-CG", options={"xtol": 1e-10}
    )
    return torch.tensor(found.x)


def _measure_slope(loss: Callable[..., torch.Tensor], weight: torch.Tensor, bias: torch.Tensor) -> float:
    """The length of the gradient of ``loss(weight, bias)`` plus half the squared weights.

    It bounds how far the weights are from the best ones, where the bias is at its best: the penalty alone curves by 1
    in every direction, and a convex function's least point is at most its gradient's length over its least curvature
    away (Nesterov, Lectures on Convex Optimization, 2018, theorem 2.1.10).
    """
    weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    slopes = torch.autograd.grad(loss(weight, bias) + weight.square().sum() / 2, (weight, bias))
    return float(torch.cat([slope.flatten() for slope in slopes]).norm())


@torch.no_grad()
def _collect_vectors(model: MultiTaskModel, task: EncodedTask, subject: Subject) -> tuple[torch.Tensor, torch.Tensor]:
    """What the head sees and should say of it: (labels, width) float64 and (labels, …), on the host."""
    split = task.splits["train"]
    per_row = max(1.0, float((split.labels != IGNORED).sum()) / len(split)) if task.kind == "token" else 1.0
    count = min(len(split), max(1, int(FITTED / per_row)))
    rows = np.linspace(0, len(split) - 1, count).astype(np.int64)
    pooling = model.encoder.reading(subject.recipe.model.pooling)
    vectors, labels = [], []
    for _, batch in iterate_batches(task, "train", subject.collate, rows):
        hidden = model.encoder(batch.tokens, batch.segments, batch.mask)
        scored = batch.labels != IGNORED
        taken = hidden[scored] if task.kind == "token" else pool(hidden, batch.mask, pooling)
        vectors.append(convert_to_double(taken).cpu())
        labels.append((batch.labels[scored] if task.kind == "token" else batch.labels).cpu())
    targets = torch.cat(labels)
    return torch.cat(vectors), targets.double() if targets.is_floating_point() else targets
