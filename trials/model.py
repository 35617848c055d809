"""One encoder under one head per task: tasks of all kinds are trained together."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import cast

import torch
from torch import nn
from torch.nn import functional

from auxtune.trials.batches import Batch
from auxtune.trials.data import IGNORED, Kind
from auxtune.trials.encoder import Encoder
from auxtune.trials.recipe import Pooling
from auxtune.trials.tokens import EncodedTask


class Head(nn.Module, ABC):
    """Dropout and one linear layer, from an encoder's vectors to the outputs of one task."""

    def __init__(self, width: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, outputs)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """(…, width) to float32 (…, outputs)."""
        return cast(torch.Tensor, self.linear(self.dropout(vectors))).float()

    @abstractmethod
    def loss(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The *summed* loss, a scalar: the caller divides by the labels of all batches of a step."""

    @abstractmethod
    def predict(self, outputs: torch.Tensor) -> torch.Tensor:
        """The predictions that are scored against the labels, in their shape."""

    @abstractmethod
    def probabilities(self, outputs: torch.Tensor) -> torch.Tensor | None:
        """(…, outputs) to the probability of each label, in their shape; ``None`` if there are no labels."""


class ClassificationHead(Head):
    """Cross-entropy over classes, one label per row or, for tags, per token."""

    def __init__(self, width: int, task: EncodedTask, dropout: float) -> None:
        super().__init__(width, len(task.labels), dropout)

    def loss(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """(…, classes) against (…) class ids, ignored ones left out."""
        return functional.cross_entropy(outputs.flatten(0, -2), labels.flatten(), ignore_index=IGNORED, reduction="sum")

    def predict(self, outputs: torch.Tensor) -> torch.Tensor:
        """(…, classes) to (…) class ids."""
        return outputs.argmax(-1)

    def probabilities(self, outputs: torch.Tensor) -> torch.Tensor:
        """They sum to 1 over the classes."""
        return outputs.softmax(-1)


class RegressionHead(Head):
    """Squared error on labels standardised by the train split, so that their scale does not weigh the task."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, width: int, task: EncodedTask, dropout: float) -> None:
        super().__init__(width, 1, dropout)
        # A task without rows is about to be given weights, mean and scale included.
        values = task.splits["train"].labels if "train" in task.splits else [0.0]
        labels = torch.tensor(values, dtype=torch.float32)
        deviation = labels.std(correction=0)
        self.register_buffer("mean", labels.mean())
        # Constant labels have no scale to divide by.
        self.register_buffer("deviation", deviation if deviation > 0 else torch.ones(()))

    def loss(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """(rows, 1) against (rows,) values."""
        targets = (labels - self.mean) / self.deviation
        return functional.mse_loss(outputs.squeeze(-1), targets, reduction="sum")

    def predict(self, outputs: torch.Tensor) -> torch.Tensor:
        """(rows, 1) to (rows,) values on the labels' own scale."""
        return outputs.squeeze(-1) * self.deviation + self.mean

    def probabilities(self, outputs: torch.Tensor) -> None:
        """A value has none."""


class MultiLabelHead(Head):
    """One yes or no for each label: a logit each, and binary cross-entropy."""

    def __init__(self, width: int, task: EncodedTask, dropout: float) -> None:
        super().__init__(width, len(task.labels), dropout)

    def loss(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """(rows, labels) logits against (rows, labels) of 0 and 1."""
        return functional.binary_cross_entropy_with_logits(outputs, labels.to(outputs.dtype), reduction="sum")

    def predict(self, outputs: torch.Tensor) -> torch.Tensor:
        """(rows, labels) logits to uint8 (rows, labels), 1 where the probability is above one half."""
        return (outputs > 0).to(torch.uint8)

    def probabilities(self, outputs: torch.Tensor) -> torch.Tensor:
        """Each label's own probability."""
        return outputs.sigmoid()


HEADS: dict[Kind, type[ClassificationHead | RegressionHead | MultiLabelHead]] = {
    "classification": ClassificationHead,
    "regression": RegressionHead,
    "token": ClassificationHead,
    "multi_label": MultiLabelHead,
}


class MultiTaskModel(nn.Module):
    """The shared encoder and the heads, each addressed by its task's name.

    Heads are drawn from ``seed`` and the task's name alone: a task starts from the same head whatever it is
    trained with. Tasks that are ``aligned`` have a matrix, at first the identity, that multiplies their embeddings.
    ``pooling`` is used as given; ``Encoder.reading`` derives it from a recipe's.
    """

    def __init__(
        self,
        encoder: Encoder,
        tasks: Sequence[EncodedTask],
        pooling: Pooling,
        seed: int,
        aligned: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.tasks = tuple(task.name for task in tasks)
        # Modules are numbered: their names forbid dots and many words that are legal names of tasks.
        self._numbers = {name: number for number, name in enumerate(self.tasks)}
        self.heads = nn.ModuleList(_draw_head(encoder, task, seed) for task in tasks)
        self.alignments = nn.ParameterDict({str(self._numbers[name]): torch.eye(encoder.width) for name in aligned})
        if aligned:
            _ = encoder.embeddings  # looked for here, not under a first pass's autocast
        self._pooling = pooling
        self._per_token = {task.name for task in tasks if task.kind == "token"}

    def head(self, task: str) -> Head:
        """The head of one task. Raises ``KeyError`` for a task that the model has none for."""
        return cast(Head, self.heads[self._numbers[task]])

    def alignment(self, task: str) -> torch.Tensor | None:
        """The matrix (width, width) that multiplies the embeddings of one task, if it is aligned."""
        return cast(torch.Tensor | None, self.alignments.get(str(self._numbers[task]), None))

    def stored_names(self) -> dict[str, str]:
        """The names of ``state_dict``, each with one that does not depend on the model's tasks and their order.

        ``heads.1.linear.bias`` is stored as ``heads/<task>/linear.bias``.
        """
        return {name: self._store_name(name) for name in self.state_dict()}

    def _store_name(self, name: str) -> str:
        part, _, rest = name.partition(".")
        if part not in ("heads", "alignments"):  # the parts that each task has for itself
            return name
        number, *leaf = rest.split(".", 1)
        return "/".join([part, self.tasks[int(number)], *leaf])

    def forward(self, task: str, batch: Batch) -> torch.Tensor:
        """Float32 outputs of the task's head: (rows, outputs), for a token task (rows, length, tags)."""
        hidden: torch.Tensor = self.encoder(batch.tokens, batch.segments, batch.mask, self.alignment(task))
        vectors = hidden if task in self._per_token else pool(hidden, batch.mask, self._pooling)
        return cast(torch.Tensor, self.head(task)(vectors))


def pool(hidden: torch.Tensor, mask: torch.Tensor | None, pooling: Pooling) -> torch.Tensor:
    """One vector per row, (rows, width): the first token's, the last one's, or the mean over the tokens.

    ``mask``, (rows, length), is 1 on tokens, which come first, and 0 on padding; ``None`` means no padding.
    """
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "last":
        last = hidden.shape[1] - 1 if mask is None else mask.sum(1) - 1
        return hidden[torch.arange(len(hidden), device=hidden.device), last]
    if mask is None:
        return hidden.mean(1)
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)


def _draw_head(encoder: Encoder, task: EncodedTask, seed: int) -> Head:
    head = HEADS[task.kind](encoder.width, task, encoder.dropout)
    key = hashlib.sha256(f"{seed} {task.name}".encode()).digest()[:7]
    generator = torch.Generator().manual_seed(int.from_bytes(key, "big"))
    with torch.no_grad():
        # As BERT draws its own heads.
        head.linear.weight.normal_(0.0, 0.02, generator=generator)
        head.linear.bias.zero_()
    return head
