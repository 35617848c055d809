"""Batches of one task: rows of similar length together, in an order decided by seed, task and epoch.

Bucketing by length (shuffle, sort inside windows, shuffle the batches) wastes little on padding and stays
random. An epoch's order is computed from its number and not drawn from a running generator, so a task's position is
two integers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from auxtune.trials.encoded import IGNORED, EncodedSplit, EncodedTask

WINDOW = 50  # batches sorted together: little padding, well mixed


@dataclass(frozen=True)
class Batch:
    """Rows padded to one length, on the device.

    ``mask`` is ``None`` if no row is padded. ``positions`` (on the host) says where in the split's flat
    arrays each token comes from, -1 for padding. ``scored`` counts the labels that enter the loss.
    """

    tokens: torch.Tensor  # (rows, length) int64
    segments: torch.Tensor  # (rows, length) int64
    mask: torch.Tensor | None  # (rows, length) int64, 1 on real tokens
    labels: torch.Tensor  # (rows,), (rows, labels) or, for a token task, (rows, length)
    positions: np.ndarray  # (rows, length) int64
    scored: int


@dataclass(frozen=True)
class Collate:
    """Makes batches. Lengths are rounded up to ``multiple``, but not above ``longest``."""

    pad: int
    longest: int
    device: torch.device
    multiple: int = 1

    def __call__(self, task: EncodedTask, part: str, rows: np.ndarray) -> Batch:
        """The batch of ``rows``, (rows,) indices into the split called ``part``."""
        split = task.splits[part]
        starts = split.offsets[rows]
        lengths = split.offsets[rows + 1] - starts
        columns = np.arange(self._length(int(lengths.max())))
        real = columns < lengths[:, None]
        positions = np.where(real, starts[:, None] + columns, -1)
        if task.kind == "token":
            labels = np.where(real, split.labels[positions], IGNORED)
            scored = int((labels != IGNORED).sum())
        else:
            labels = split.labels[rows]
            scored = labels.size  # a multi-label row counts once for each of its labels
        return Batch(
            tokens=self._move(np.where(real, split.tokens[positions], self.pad).astype(np.int64)),
            segments=self._move(np.where(real, split.segments[positions], 0).astype(np.int64)),
            mask=None if real.all() else self._move(real.astype(np.int64)),
            labels=self._move(labels),
            positions=positions,
            scored=scored,
        )

    def _length(self, longest: int) -> int:
        rounded = -(-longest // self.multiple) * self.multiple
        return max(longest, min(rounded, self.longest))

    def _move(self, array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)


class TaskBatches:
    """The endless sequence of a task's training batches, epoch after epoch."""

    def __init__(self, name: str, split: EncodedSplit, batch_size: int, seed: int) -> None:
        self._lengths = split.lengths
        self._size = batch_size
        # By name: a task sees the same batches whatever it is trained with, so comparisons stay paired.
        self._key = (seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
        self.seek(0, 0)

    def next_rows(self) -> np.ndarray:
        """Row indices of the next batch, at most ``batch_size``."""
        if self.position == len(self._order):
            self.seek(self.epoch + 1, 0)
        self.position += 1
        return self._order[self.position - 1]

    def seek(self, epoch: int, position: int) -> None:
        """Continue after ``position`` batches of ``epoch``."""
        self.epoch, self.position = epoch, position
        self._order = self._epoch_order()

    def _epoch_order(self) -> list[np.ndarray]:
        rng = np.random.default_rng([*self._key, self.epoch])
        rows = rng.permutation(len(self._lengths))
        window = WINDOW * self._size
        batches: list[np.ndarray] = []
        for start in range(0, len(rows), window):
            part = rows[start : start + window]
            part = part[np.argsort(self._lengths[part], kind="stable")]
            batches += [part[i : i + self._size] for i in range(0, len(part), self._size)]
        return [batches[i] for i in rng.permutation(len(batches))]


def batch_by_length(split: EncodedSplit, tokens: int, rows: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """``rows``, by default all, longest first, in batches of at most ``tokens`` tokens, padding included, or of one."""
    wanted = np.arange(len(split)) if rows is None else rows
    order = wanted[np.argsort(-split.lengths[wanted], kind="stable")]
    start = 0
    while start < len(order):
        size = max(1, tokens // int(split.lengths[order[start]]))
        yield order[start : start + size]
        start += size
