"""What probes have in common: to leave no trace, a task's mean loss, what an encoder makes of rows, sums in float64."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from torch import nn

from auxtune.trials.batches import Batch, Collate, batch_by_length
from auxtune.trials.device import get_random_state, set_random_state
from auxtune.trials.encoded import EncodedSplit, EncodedTask
from auxtune.trials.encoder import Encoder
from auxtune.trials.evaluation import CPU_TOKENS, GPU_TOKENS
from auxtune.trials.model import MultiTaskModel, pool
from auxtune.trials.probes.probe import ProbeError


@contextmanager
def leave_undisturbed(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Dropout is off inside; afterwards each module's mode and torch's random state are what they were."""
    modes = [(module, module.training) for module in model.modules()]
    state = get_random_state(device)
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
    """Row numbers and their batch, rows of like length together, until ``rows`` (by default all) are through."""
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
    """What ``encoder``, in the mode it is in, makes of each row of a split: (rows, width) float64 on the host."""
    features = torch.empty(len(task.splits[part]), encoder.width, dtype=torch.float64)
    with torch.no_grad():
        for rows, batch in iterate_batches(task, part, collate):
            hidden = encoder(batch.tokens, batch.segments, batch.mask, alignment)
            features[torch.from_numpy(rows)] = convert_to_double(
                pool(hidden, batch.mask, encoder.reading(pooling))
            ).cpu()
    return features


def require_one_task(tasks: Mapping[str, EncodedTask], probe: str) -> EncodedTask:
    """The task of a run that has one. Raises ``ProbeError`` for others."""
    if len(tasks) != 1:
        raise ProbeError(
            f"probes.{probe}: expected a run of one task, found {', '.join(tasks)}; "
            "measure each task in a run of its own"
        )
    return next(iter(tasks.values()))


def convert_to_double(tensor: torch.Tensor) -> torch.Tensor:
    """In float64, and for that on the host where the device has none."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).detach().double()


def hash_inputs(split: EncodedSplit) -> str:
    """SHA-256 of the ordered rows as a model sees them, whatever their labels."""
    digest = hashlib.sha256()
    for array, kind in ((split.tokens, np.int32), (split.segments, np.uint8), (split.offsets, np.int64)):
        digest.update(f"{len(array)} ".encode())
        digest.update(np.ascontiguousarray(array, kind).data)
    return digest.hexdigest()
