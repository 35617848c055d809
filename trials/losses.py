"""How far a model's outputs are from the labels of a split: its heads' own losses, and what they are compared with.

A loss moves with every output, whereas a metric such as accuracy moves only when a row changes sides: losses can often
tell two models apart that a small split cannot distinguish by their metric.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from auxtune.trials.batches import Batch
from auxtune.trials.data import IGNORED
from auxtune.trials.model import Head
from auxtune.trials.tokens import EncodedTask


class LossSum:
    """Adds up a head's loss over batches, on the device; ``mean`` waits for it."""

    def __init__(self, head: Head) -> None:
        self._head, self._sums, self._scored = head, list[torch.Tensor](), 0

    def add(self, outputs: torch.Tensor, batch: Batch) -> None:
        """Take in the head's ``outputs`` on a batch, (rows, outputs) or, for a token task, (rows, length, tags)."""
        self._sums.append(self._head.loss(outputs, batch.labels))
        self._scored += batch.scored

    def mean(self) -> float:
        """The loss per scored label, in nats (for a regression, in variances of the training labels)."""
        mean: float = sum(torch.stack(self._sums).tolist()) / max(1, self._scored)
        return mean


def score_losses(
    losses: Mapping[str, float], tasks: Mapping[str, EncodedTask], part: str, relative: bool = False
) -> dict[str, float]:
    """Task -> the score that a search is told for its loss, higher is better: minus the loss if there is one task.

    For several tasks, or if it is ``relative`` (to compare with runs of other tasks), each loss is divided by that of
    a constant prediction on the same rows: -1 is then no better than that, whatever the task's kind and number of
    classes, and so a mean over tasks is meaningful.
    """
    if len(losses) == 1 and not relative:
        return {name: -loss for name, loss in losses.items()}
    return {name: -loss / compute_constant_loss(tasks[name], part) for name, loss in losses.items()}


def compute_constant_loss(task: EncodedTask, part: str) -> float:
    """The mean loss, on the split called ``part``, of one prediction for every row; above 0.

    The prediction comes from the training labels: the frequency of each class (of each label, in a multi-label task),
    or the mean of the values. Frequencies are counted with one more row of each kind (Laplace's rule of succession), so
    that a class that does not occur in training costs much, but not infinitely much. 1 if a constant prediction is
    never wrong: there is nothing to divide by.
    """
    train, labels = np.asarray(task.splits["train"].labels), np.asarray(task.splits[part].labels)
    if task.kind == "regression":
        loss = _fit_constant_value(train.astype(float), labels.astype(float))
    elif task.kind == "multi_label":
        loss = _fit_constant_sets(train.astype(float), labels.astype(float))
    else:
        loss = _fit_constant_class(train, labels, len(task.labels))
    return loss if loss > 0 else 1.0


def _fit_constant_value(train: np.ndarray, labels: np.ndarray) -> float:
    """Squared error of the mean of ``train``, (rows,), in units of its variance, as in ``RegressionHead``."""
    return float(np.mean((labels - train.mean()) ** 2) / (train.var() or 1.0))


def _fit_constant_sets(train: np.ndarray, labels: np.ndarray) -> float:
    """Binary cross-entropy of each label's frequency; both (rows, labels) of 0 and 1."""
    likely = (train.sum(axis=0) + 1) / (len(train) + 2)
    return float(-np.mean(labels * np.log(likely) + (1 - labels) * np.log1p(-likely)))


def _fit_constant_class(train: np.ndarray, labels: np.ndarray, classes: int) -> float:
    """Cross-entropy of the frequencies of class ids, ``IGNORED`` ones left out; both flat."""
    counts = np.bincount(train[train != IGNORED], minlength=classes) + 1.0
    scored = labels[labels != IGNORED]
    return float(-np.log(counts / counts.sum())[scored].mean()) if len(scored) else 0.0
