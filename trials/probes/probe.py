"""What a probe is: two forms, one for a run that has ended and one for a run under way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch

from auxtune.trials.batches import Collate
from auxtune.trials.encoded import EncodedTask
from auxtune.trials.encoder import BaseEncoder
from auxtune.trials.model import MultiTaskModel
from auxtune.trials.recipe import Recipe
from auxtune.trials.train_step import TrainStep

Options: TypeAlias = Mapping[str, Any]
Arrays: TypeAlias = dict[str, np.ndarray]


class ProbeError(ValueError):
    """A probe cannot measure this model or these tasks; the message says why and what to do."""


@dataclass(frozen=True)
class Subject:
    """A run that has ended, as a probe sees it.

    ``model`` has the weights that count, is in evaluation mode and in float32 on its device. ``tasks`` are in the
    order of its heads. ``base`` is the encoder as it came. ``texts`` is the probe batch that all tasks of a study
    share, as a task without labels worth reading, whose rows are in the split ``probe``.
    """

    model: MultiTaskModel
    tasks: Mapping[str, EncodedTask]
    collate: Collate
    base: BaseEncoder
    recipe: Recipe
    texts: EncodedTask | None = None


FinalProbe: TypeAlias = Callable[[Subject, Options], Arrays]


class RunningProbe(Protocol):
    """Looks on while a run is trained. What it has gathered is saved with the run's checkpoints."""

    def observe(self, train_step: TrainStep, task: str) -> None:
        """An optimisation step on ``task`` has just been taken. What is measured must not change the coming ones."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """What was gathered so far."""

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Continue from ``tensors``."""

    def arrays(self) -> Arrays:
        """The result, once the run has ended."""
