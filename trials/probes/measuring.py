"""Shared by probes: leaving no trace, a task's mean loss, an encoder's features of rows, sums in float64."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from torch import nn

from auxtune.trials.batches import Batch, Collate, batch_by_length
from auxtune.trials.encoder import Encoder
from auxtune.trials.evaluation import CPU_TOKENS, GPU_TOKENS
from auxtune.trials.model import MultiTaskModel, pool
from auxtune.trials.tokens import EncodedTask
from auxtune.trials.train_step import save_random_state, set_random_state


@contextmanager
def leave_undisturbed(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Inside, dropout is off; afterwards each module's mode and torch's random state are restored."""
    modes = [(module, module.training) for module in model.modules()]
    state = save_random_state(device)
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        set_random_state(device, state)


def compute_mean_loss(model: MultiTaskModel, task: str, batch: Batch) -> torch.Tensor:
    """The loss of a batch per scored label, under the head of ``task``: a scalar."""
    return model.head(task).loss(model(task, batch), batch.labels) / max(1, batch.scored)


def iterate_batches(
    task: EncodedTask, part: str, collate: Collate, rows: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, Batch]]:
    """Row numbers and their batch, rows of similar length together, over all ``rows`` (by default the whole split)."""
    size = CPU_TOKENS if collate.device.type == "cpu" else GPU_TOKENS
    for chosen in batch_by_length(task.splits[part], size, rows):
        yield chosen, collate(task, part, chosen)


def compute_pooled_features(
    encoder: Encoder,
    task: EncodedTask,
    part: str,
    collate: Collate,
    pooling: Literal["cls", "mean"],
    alignment: torch.Tensor | None = None,
) -> torch.Tensor:
    """The pooled vectors of a split's rows by ``encoder`` in its current mode: (rows, width) float64, on the host."""
    features = torch.empty(len(task.splits[part]), encoder.width, dtype=torch.float64)
    with torch.no_grad():
        for rows, batch in iterate_batches(task, part, collate):
            hidden = encoder(batch.tokens, batch.segments, batch.mask, alignment)
            features[torch.from_numpy(rows)] = convert_to_double(
                pool(hidden, batch.mask, encoder.reading(pooling))
            ).cpu()
    return features


def convert_to_double(tensor: torch.Tensor) -> torch.Tensor:
    """``tensor`` in float64, moved to the host if the device has no float64."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).detach().double()
