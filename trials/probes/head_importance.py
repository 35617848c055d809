"""How much each attention head matters to a task: the size of the loss's gradient at the head, row by row.

Two forms. ``mask``: P. Michel, O. Levy, G. Neubig, "Are Sixteen Heads Really Better than One?", NeurIPS 2019,
https://arxiv.org/abs/1905.10650: the result of every head is multiplied by a mask ξ = 1, and the importance is the
mean over rows x of |∂L(x)/∂ξ|. ``key_value``, as in the code released with GradTS (W. Ma et al., EMNLP 2021,
https://arxiv.org/abs/2109.05748): the mean absolute gradient of the head's block of the key weights, plus the same for
the value weights.

Where we differ. The public code of both takes the absolute value of a batch's gradient, which is exact only for
batches of one row, because the mean of absolute values is not the absolute value of a mean. Here every row has its own
gradient, whatever the batch: each row has masks of its own, and in one row the gradient of a linear map's weights is
the sum over its tokens of (gradient of the output) × (input).

A task is measured on its probe split; the release uses all its training rows, which is ``split: train``. ``key_value``
splits the weights as the release does, which seems to be the wrong axis: a head owns *rows* of a weight stored as
(outputs, inputs), but the release takes slices of the inputs. Dropout is on there and always off here, so that a run
has one importance.

The loss of a row is the mean over its scored labels: its tokens' tags in a token task, all its labels in a multi-label
one. Importances are raw; to compare tasks, normalise them first.

It costs a forward and a backward pass per batch; for ``mask`` the backward pass is of activations only. ``key_value``
adds the cost of a weight gradient per row, and where keys depend on more than a row's own tokens (DeBERTa's shared
relative positions) its batches are single rows. Not for encoders without attention heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeAlias

import numpy as np
import torch
from torch import nn

from auxtune.trials.batches import Batch, batch_by_length
from auxtune.trials.data import IGNORED
from auxtune.trials.failures import NonFiniteError
from auxtune.trials.model import MultiTaskModel
from auxtune.trials.probes.heads import AttentionHeads, Projection, find_heads
from auxtune.trials.probes.probe import (
    Arrays,
    HeadImportanceOptions,
    InstanceImportanceOptions,
    Options,
    ProbeError,
    Subject,
    read_options,
)
from auxtune.trials.tokens import EncodedTask

# Tokens of a batch, padding included. Fewer on a GPU than in evaluation: the backward pass needs the activations.
CPU_TOKENS, GPU_TOKENS = 2048, 8192
# Numbers of the rows' weight gradients held at once, 64 MiB; one row of any common encoder takes far less.
WEIGHT_GRADIENTS = 2**24

Use: TypeAlias = tuple[torch.Tensor, torch.Tensor]  # a call of a linear map: its input and its output's gradient


def measure_head_importance(subject: Subject, options: Options) -> Arrays:
    """``importance``, float32 (layers, heads): the mean over the rows of the task's ``split``.

    Rows without a scored token do not count. ``options`` are those of ``HeadImportanceOptions``. Raises ``ProbeError``
    for other options, an encoder whose heads are not found, a subject of several tasks and a split without a scored
    label, and ``NonFiniteError``.
    """
    chosen = read_options(HeadImportanceOptions, options)
    importance, scored = _measure_rows(subject, chosen.form, chosen.split)
    return {"importance": importance[scored > 0].mean(0, dtype=np.float64).astype(np.float32)}


def measure_instance_importance(subject: Subject, options: Options) -> Arrays:
    """``importance``, float32 (rows, layers, heads): each row of the task's train split, in its order.

    Rows without a scored token are 0. ``options`` are those of ``InstanceImportanceOptions``. Errors as for
    ``measure_head_importance``.
    """
    chosen = read_options(InstanceImportanceOptions, options)
    return {"importance": _measure_rows(subject, chosen.form, "train")[0].astype(np.float32)}


def _measure_rows(subject: Subject, form: str, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Importances in each row, (rows, layers, heads), and the number of its scored labels, (rows,)."""
    gradients = _measure_mask_gradients if form == "mask" else _measure_weight_gradients
    if len(subject.tasks) != 1:
        raise ProbeError(f"head importance is measured of one task: expected its own run, found {list(subject.tasks)}")
    [(name, task)] = subject.tasks.items()
    scored = _count_scored(task, part)
    if not scored.any():
        raise ProbeError(f"task {name}: no row of its {part} split has a scored label; give it more rows")
    found = find_heads(subject.model.encoder)
    size = CPU_TOKENS if subject.collate.device.type == "cpu" else GPU_TOKENS
    if form != "mask" and not found.by_row:
        size = 1  # a tensor that all rows of a batch share has only one gradient
    values, order = [], []
    with _freeze(subject.model):
        for rows in batch_by_length(task.splits[part], size):
            values.append(gradients(subject.model, found, subject.collate(task, part, rows)))
            order.append(rows)
    summed = torch.cat(values).cpu().numpy()[np.argsort(np.concatenate(order))]
    if not np.isfinite(summed).all():
        raise NonFiniteError(f"task {name}: the importance of a head on the {part} split is not finite")
    # The loss of a batch sums over labels. A row's divisor commutes with |∂L/∂ξ|, so it may come last.
    return summed / np.maximum(scored, 1).astype(summed.dtype)[:, None, None], scored


def _count_scored(task: EncodedTask, part: str) -> np.ndarray:
    """The number of labels that enter the loss of each row, (rows,)."""
    split = task.splits[part]
    if task.kind == "token":
        rows = np.repeat(np.arange(len(split)), split.lengths)
        return np.bincount(rows[split.labels != IGNORED], minlength=len(split))
    return np.full(len(split), split.labels[0].size if len(split) else 0)


@contextmanager
def _freeze(model: MultiTaskModel) -> Iterator[None]:
    """Inside, no gradient is computed for any weight."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def _sum_loss(model: MultiTaskModel, batch: Batch) -> torch.Tensor:
    [task] = model.tasks
    return model.head(task).loss(model(task, batch), batch.labels)


def _measure_mask_gradients(model: MultiTaskModel, found: AttentionHeads, batch: Batch) -> torch.Tensor:
    """|∂L/∂ξ| of every row's own masks, (rows, layers, heads)."""
    masks: list[torch.Tensor] = []

    def multiply(_: nn.Module, inputs: tuple[torch.Tensor]) -> torch.Tensor:
        mask = inputs[0].new_ones(len(inputs[0]), found.heads, requires_grad=True)
        masks.append(mask)
        masked: torch.Tensor = (inputs[0].unflatten(-1, (found.heads, -1)) * mask[:, None, :, None]).flatten(-2)
        return masked

    with ExitStack() as hooks:
        for layer in found.layers:  # called in this order, once each
            hooks.enter_context(layer.output.register_forward_pre_hook(multiply))
        loss = _sum_loss(model, batch)
    return torch.stack(torch.autograd.grad(loss, masks), 1).abs()


def _measure_weight_gradients(model: MultiTaskModel, found: AttentionHeads, batch: Batch) -> torch.Tensor:
    """Mean absolute gradient of each head's key weights plus that of its value weights, (rows, layers, heads)."""
    calls: list[tuple[nn.Module, torch.Tensor, torch.Tensor]] = []

    def note(linear: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        if not output.requires_grad:  # weights are frozen, so the first map starts the graph
            output.requires_grad_()
        calls.append((linear, inputs[0].detach(), output))

    with ExitStack() as hooks:
        for linear in {projection.linear for layer in found.layers for projection in (layer.key, layer.value)}:
            hooks.enter_context(linear.register_forward_hook(note))
        loss = _sum_loss(model, batch)
    # DeBERTa computes keys of positions even if it does not use them; their gradient is then 0.
    gradients = torch.autograd.grad(loss, [output for *_, output in calls], materialize_grads=True)
    uses: dict[nn.Module, list[Use]] = {}
    for (module, vectors, _), gradient in zip(calls, gradients, strict=True):
        uses.setdefault(module, []).append((vectors, gradient))

    def means(projection: Projection) -> torch.Tensor:
        return _average_blocks(projection, uses[projection.linear], found.heads)

    return torch.stack([means(layer.key) + means(layer.value) for layer in found.layers], 1)


def _average_blocks(projection: Projection, uses: list[Use], heads: int) -> torch.Tensor:
    """Means of |∂L/∂W| over each head's slice of the inputs, as in the release, (rows, heads)."""
    step = max(1, WEIGHT_GRADIENTS // (projection.size * projection.linear.in_features))
    means = []
    for start in range(0, len(uses[0][0]), step):
        part = slice(start, start + step)
        products = [projection.of(gradient[part]).mT @ vectors[part] for vectors, gradient in uses]
        blocks = torch.stack(products).sum(0).abs().unflatten(2, (heads, -1))  # (rows, outputs, heads, inputs)
        means.append(blocks.mean((1, 3)))
    return torch.cat(means)
