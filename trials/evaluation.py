"""Scores a model on a split of its tasks: batches by length, no gradient, one wait for the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch

from auxtune.trials.batches import Batch, Collate, batch_by_length
from auxtune.trials.data import IGNORED
from auxtune.trials.failures import NonFiniteError
from auxtune.trials.losses import LossSum
from auxtune.trials.metrics import MISSED, Predictions, find_metric
from auxtune.trials.model import MultiTaskModel
from auxtune.trials.tokens import EncodedSplit, EncodedTask

# Tokens of a batch, padding included: few enough for a CPU's caches, enough to keep a GPU busy.
CPU_TOKENS, GPU_TOKENS = 2048, 32768

Watch: TypeAlias = Callable[[torch.Tensor, Batch], None]


@dataclass(frozen=True)
class Evaluation:
    """Everything that scoring needs besides the split. ``tasks`` are those that may be scored, by name."""

    model: MultiTaskModel
    tasks: Mapping[str, EncodedTask]
    collate: Collate
    autocast: Callable[[], AbstractContextManager[Any]]

    def scores(self, names: Iterable[str], part: str) -> dict[str, dict[str, float]]:
        """``{task: {metric: natural value}}`` on the split called ``part``."""
        return {name: self.predict(name, part).scores(self.tasks[name].metrics) for name in names}

    def scores_and_losses(
        self, names: Iterable[str], part: str
    ) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
        """``scores``, and by task the mean loss per scored label with a token, both from one pass."""
        scores, losses = {}, {}
        for name in names:
            total = LossSum(self.model.head(name))
            scores[name] = self.predict(name, part, total.add).scores(self.tasks[name].metrics)
            losses[name] = total.mean()
        return scores, losses

    def main_scores(self, scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """Task -> its main metric times its direction: higher is better."""
        mains = {name: find_metric(self.tasks[name].metrics[0]) for name in scores}
        return {name: metric.direction * scores[name][metric.name] for name, metric in mains.items()}

    def predict(self, name: str, part: str, watch: Watch | None = None) -> Predictions:
        """Predictions in the split's own order, with probabilities where a metric of the task needs them.

        Labelled words without a token are included, as missed. ``watch`` is called with the head's outputs on each
        batch, and the batch. Raises ``NonFiniteError`` if an output is not finite.
        """
        task, head = self.tasks[name], self.model.head(name)
        if any(find_metric(metric).needs_probabilities for metric in task.metrics):
            found = self.predict_by(name, part, lambda outputs: outputs, watch)
            outputs = torch.from_numpy(found.predictions).to(self.collate.device)  # (elements, outputs)
            shares = head.probabilities(outputs)
            found = replace(
                found,
                predictions=head.predict(outputs).cpu().numpy(),
                probabilities=None if shares is None else shares.cpu().numpy(),
            )
        else:
            found = self.predict_by(name, part, head.predict, watch)
        return _add_missed(found, task.splits[part])

    def predict_by(
        self, name: str, part: str, read: Callable[[torch.Tensor], torch.Tensor], watch: Watch | None = None
    ) -> Predictions:
        """The results of ``read`` on the head's outputs, (…, outputs), for rows and labelled words with a token."""
        task = self.tasks[name]
        split = task.splits[part]
        values, places = self._outputs(name, part, read, watch)
        if task.kind != "token":
            ordered = values[np.argsort(places)]
            return Predictions(np.asarray(split.labels), ordered, np.arange(len(split)), task.labels)
        by_token = np.empty((len(split.tokens), *values.shape[1:]), values.dtype)
        by_token[places[places >= 0]] = values[places >= 0]
        scored = np.flatnonzero(split.labels != IGNORED)
        rows = np.repeat(np.arange(len(split)), split.lengths)
        return Predictions(split.labels[scored], by_token[scored], rows[scored], task.labels)

    def _outputs(
        self, name: str, part: str, read: Callable[[torch.Tensor], torch.Tensor], watch: Watch | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The results of reading, in the order computed, and the row (for tokens: flat position, or -1) of each."""
        task = self.tasks[name]
        per_token = task.kind == "token"
        size = CPU_TOKENS if self.collate.device.type == "cpu" else GPU_TOKENS
        values, places, finite = [], [], []
        self.model.eval()
        # Not inference mode: some models keep tensors of a forward pass, which training could then not use.
        with torch.no_grad(), self.autocast():
            for rows in batch_by_length(task.splits[part], size):
                batch = self.collate(task, part, rows)
                outputs = self.model(name, batch)
                finite.append(outputs.isfinite().all())
                if watch is not None:
                    watch(outputs, batch)
                found = read(outputs)
                values.append(found.flatten(0, 1) if per_token else found)
                places.append(batch.positions.ravel() if per_token else rows)
        self.model.train()
        if not torch.stack(finite).all():
            raise NonFiniteError(f"task {name}: an output on the {part} split is not finite")
        return torch.cat(values).cpu().numpy(), np.concatenate(places)


def _add_missed(found: Predictions, split: EncodedSplit) -> Predictions:
    """``found`` with the missed words of ``split``, in word order: no label predicted, all labels equally likely."""
    if not len(split.missed):
        return found
    count = len(split.missed)
    scored = np.flatnonzero(split.labels != IGNORED)  # the tokens of ``found``
    rows, places = (
        np.concatenate([one, other])
        for one, other in zip((found.rows, scored), (split.missed[:, 0], split.missed[:, 1]), strict=True)
    )
    is_seen = np.repeat([True, False], [len(scored), count])
    order = np.lexsort((is_seen, places, rows))  # stable: several at one place keep their order
    predictions = np.concatenate([found.predictions, np.full(count, MISSED, found.predictions.dtype)])
    shares = found.probabilities
    if shares is not None:
        equal = np.full((count, shares.shape[1]), 1 / shares.shape[1], shares.dtype)
        shares = np.concatenate([shares, equal])[order]
    labels = np.concatenate([found.labels, split.missed[:, 2]])
    return replace(found, labels=labels[order], predictions=predictions[order], rows=rows[order], probabilities=shares)
