"""A task's gradients at a point that all tasks share: in which direction would it pull the encoder as it came?

The common point is the encoder before any training, with the task's head first fitted to the encoder's frozen vectors:
under an untrained head, gradients depend more on how the head was initialised than on the task. The gradient of the
mean loss on each of a few training batches is kept per block of the encoder, as a sketch of 4,096 numbers
(``sketch.py``) with its exact norm. Tasks with the same rows get the same batches.

The idea that gradient directions tell whether tasks can share a model is that of A. Sehanobish et al., "Explaining the
Effectiveness of Multi-Task Learning for Efficient Knowledge Extraction from Spine MRI Reports", NAACL 2022,
https://arxiv.org/abs/2205.02979. Point, fit, blocks and sketches are ours. A fitted head turns with its labels, so a
task whose classes are renamed has the same gradients, not the opposite ones.

It costs an encoding of up to 4,096 labels, a fit on them, and ``batches`` backward passes; nothing is trained, so a
recipe of 0 steps is enough.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np
import torch
from scipy import optimize
from torch import nn
from torch.nn import functional

from auxtune.trials.data import IGNORED
from auxtune.trials.encoder import BaseEncoder, build_encoder
from auxtune.trials.model import MultiTaskModel, pool
from auxtune.trials.probes.measuring import (
    compute_mean_loss,
    convert_to_double,
    iterate_batches,
    leave_undisturbed,
)
from auxtune.trials.probes.probe import (
    Arrays,
    GradientsOptions,
    Options,
    ProbeError,
    Subject,
    read_options,
    require_one_task,
)
from auxtune.trials.probes.sketch import SIZE, Sketch
from auxtune.trials.recipe import Recipe
from auxtune.trials.tokens import EncodedTask

FITTED = 4096  # labels that a head is fitted to: enough for a linear layer
CLOSE = 1e-4  # the largest distance from the best weights that a fit may have


def measure_gradients(subject: Subject, options: Options) -> Arrays:
    """``projections`` (batches, blocks, 4096) and ``norms`` (batches, blocks), ``blocks`` (blocks,) names, ``point``.

    Only results with the same ``point`` may be compared. Raises ``ProbeError`` for a run of several tasks and for an
    encoder without layers.
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
    """The encoder's digest, and for an encoder from scratch the seed of its weights."""
    return base.digest if base.weights is not None else f"{base.digest} seed {seed}"


def choose_batch_rows(task: EncodedTask, recipe: Recipe, number: int) -> np.ndarray:
    """The train rows of a batch, independent of the task's name: tasks with the same rows get the same batches."""
    rows = len(task.splits["train"])
    rng = np.random.default_rng([recipe.seed, rows, number])
    return rng.choice(rows, min(recipe.batch_size, rows), replace=False)


def fit_head(model: MultiTaskModel, task: EncodedTask, subject: Subject) -> None:
    """Fit the only head of ``model`` to its encoder's vectors of evenly spaced train rows, up to ``FITTED`` labels.

    Minimises the summed loss plus half the squared weights, by Newton's method from zero in float64. For classes this
    is logistic regression with C = 1; without the penalty, separable labels would have no best fit. Raises
    ``ProbeError`` if the fit does not converge.
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
    """Scales (rank, width) such that in z, with weights z @ scales, the loss over centred ``vectors`` is well scaled.

    An encoder's vectors differ little along most directions, so that a search in the weights themselves stops far from
    the minimum, at a point that depends on rounding. With X = U S Vᵀ, XᵀX/4 + 1 bounds the second derivative of a
    logistic loss with its penalty, so that of w = V (S²/4 + 1)^(-1/2) z is at most 1 in every direction.
    """
    _, sizes, directions = torch.linalg.svd(vectors, full_matrices=False)
    conditioned: torch.Tensor = directions / (sizes.square() / 4 + 1).sqrt()[:, None]
    return conditioned


def _minimise(objective: Callable[[torch.Tensor], torch.Tensor], size: int) -> torch.Tensor:
    """The minimum of a convex ``objective`` of ``size`` unknowns, (size,), as exact as float64 allows."""

    def value_and_slope(point: np.ndarray) -> tuple[float, np.ndarray]:
        here = torch.tensor(point, requires_grad=True)
        value = objective(here)
        (slope,) = torch.autograd.grad(value, here)
        return value.item(), slope.numpy()

    def curvature(point: np.ndarray, direction: np.ndarray) -> np.ndarray:
        product = torch.autograd.functional.vhp(objective, torch.tensor(point), torch.tensor(direction))[1]
        return np.asarray(product.numpy())

    # Its own verdict is ignored: at the precision of float64 the line search may fail at a point that is good enough.
    result = optimize.minimize(
        value_and_slope, np.zeros(size), jac=True, hessp=curvature, method="Newton-CG", options={"xtol": 1e-10}
    )
    return torch.tensor(result.x)


def _measure_slope(loss: Callable[..., torch.Tensor], weight: torch.Tensor, bias: torch.Tensor) -> float:
    """The length of the gradient of ``loss(weight, bias)`` plus half the squared weights.

    At the best bias it bounds the distance of the weights from the best ones: the penalty alone has curvature 1 in
    every direction, and the minimum of a convex function is no farther than the gradient's length over the least
    curvature (Y. Nesterov, Lectures on Convex Optimization, 2018, theorem 2.1.10).
    """
    weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    slopes = torch.autograd.grad(loss(weight, bias) + weight.square().sum() / 2, (weight, bias))
    return float(torch.cat([slope.flatten() for slope in slopes]).norm())


@torch.no_grad()
def _collect_vectors(model: MultiTaskModel, task: EncodedTask, subject: Subject) -> tuple[torch.Tensor, torch.Tensor]:
    """The head's inputs, (labels, width) float64, and their labels, (labels, …), on the host."""
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


# BERT, RoBERTa, ELECTRA, MPNet and DeBERTa name encoder.layer.3., DistilBERT transformer.layer.3., newer ones layers.3.
_LAYER = re.compile(r"(?:^|\.)layers?\.(\d+)\.")
_OUTSIDE = "embeddings"


def find_blocks(module: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The parameters of ``embeddings`` (all outside layers, such as position biases and a last norm), ``layer.0``, ….

    Raises ``ProbeError`` if no layers can be recognised.
    """
    found: dict[int, list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        layer = _LAYER.search(name)
        found.setdefault(int(layer[1]) if layer else -1, []).append(parameter)
    if not found or max(found) < 0:
        raise ProbeError(
            f"expected an encoder whose parameters are named by layer (layer.0. or layers.0.), found none "
            f"in a {type(module).__name__}; choose a BERT-like encoder"
        )
    return {_OUTSIDE if number < 0 else f"layer.{number}": found[number] for number in sorted(found)}


class BlockSketches:
    """Sketches of gradients by block, comparable if made with the same ``point`` and blocks."""

    def __init__(self, point: str, blocks: Mapping[str, list[nn.Parameter]], device: torch.device) -> None:
        self._blocks = list(blocks.values())
        self._sketches = [
            Sketch(f"{point} {name}", sum(parameter.numel() for parameter in held), device)
            for name, held in blocks.items()
        ]

    def __call__(self, loss: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Sketches (blocks, 4096) and exact norms (blocks,) of the gradient of ``loss``, float64 on the host."""
        every = [parameter for held in self._blocks for parameter in held]
        parts = iter(torch.autograd.grad(loss, every, materialize_grads=True))
        sketches, norms = torch.empty(len(self._blocks), SIZE, dtype=torch.float64), []
        for number, held in enumerate(self._blocks):
            vector = torch.cat([next(parts).flatten() for _ in held])
            sketches[number] = self._sketches[number](vector)
            norms.append(convert_to_double(torch.linalg.vector_norm(convert_to_double(vector))).cpu())
        return sketches, torch.stack(norms)
