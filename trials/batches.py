"""What each step of a run trains on: a task, in an order that may be steered from outside, and a batch of its rows.

Tasks come in a plain order that ignores scores, or in one that a ``TaskSchedule`` decides from them.

The rows of a batch are of similar length, in an order decided by seed, task and epoch. Bucketing by length (shuffle,
sort inside windows, shuffle the batches) wastes little on padding and stays random. An epoch's order is computed from
its number and not drawn from a running generator, so a task's position is two integers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from auxtune.trials.data import IGNORED
from auxtune.trials.recipe import Recipe
from auxtune.trials.tokens import EncodedSplit, EncodedTask

WINDOW = 50  # batches sorted together: little padding, well mixed


class TaskSchedule(Protocol):
    """Decides which task each step trains.

    With ``probe_every`` set, the run scores the primary on its probe split after every that many steps and calls
    ``observe``. ``save`` gives JSON from which ``load`` continues exactly.
    """

    probe_every: int | None

    def next_task(self) -> str:
        """The task of the next optimisation step."""

    def observe(self, score: float) -> None:
        """The score on the probe split after the last ``probe_every`` steps, of the kind that the recipe names."""

    def save(self) -> Any:
        """Everything that decides the further order, as JSON."""

    def load(self, saved: Any) -> None:
        """Continue from what ``save`` gave."""


class InterleavedSchedule:
    """A fixed interleaved order: any ``sum(counts)`` consecutive steps hold exactly ``counts`` of each task."""

    probe_every: int | None = None

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._slots = interleave_tasks(counts)
        self._step = 0

    def next_task(self) -> str:
        """The task in the next slot."""
        self._step += 1
        return self._slots[(self._step - 1) % len(self._slots)]

    def observe(self, score: float) -> None:
        """Does not react, and asks for no probe."""

    def save(self) -> int:
        """Steps taken."""
        return self._step

    def load(self, saved: int) -> None:
        """Continue after ``saved`` steps."""
        self._step = saved


class SampledSchedule:
    """Tasks drawn by share; the draw of step t depends on the seed and t alone."""

    probe_every: int | None = None

    def __init__(self, shares: Mapping[str, float], seed: int) -> None:
        self._tasks = tuple(task for task, share in shares.items() if share > 0)
        weights = np.array([shares[task] for task in self._tasks])
        self._bounds = np.cumsum(weights / weights.sum())[:-1]
        self._seed = seed
        self._step = 0

    def next_task(self) -> str:
        """The task drawn for the next step."""
        draw = np.random.default_rng([self._seed, self._step]).random()
        self._step += 1
        return self._tasks[int(np.searchsorted(self._bounds, draw, side="right"))]

    def observe(self, score: float) -> None:
        """Does not react, and asks for no probe."""

    def save(self) -> int:
        """Steps taken."""
        return self._step

    def load(self, saved: int) -> None:
        """Continue after ``saved`` steps."""
        self._step = saved


class SequentialSchedule:
    """One order for ``switch`` steps, then another."""

    probe_every: int | None = None

    def __init__(self, first: TaskSchedule, second: TaskSchedule, switch: int) -> None:
        self._first, self._second, self._switch = first, second, switch
        self._step = 0

    def next_task(self) -> str:
        """The next task of the current order."""
        self._step += 1
        return (self._first if self._step <= self._switch else self._second).next_task()

    def observe(self, score: float) -> None:
        """Does not react, and asks for no probe."""

    def save(self) -> Any:
        """Steps taken, and what both orders save."""
        return [self._step, self._first.save(), self._second.save()]

    def load(self, saved: Any) -> None:
        """Continue from what ``save`` gave."""
        self._step, first, second = saved
        self._first.load(first)
        self._second.load(second)


def interleave_tasks(counts: Mapping[str, int]) -> tuple[str, ...]:
    """One cycle, as even as integers allow: a slot goes to the task furthest behind its share, ties to the first.

    >>> interleave_tasks({"primary": 3, "other": 1})
    ('primary', 'primary', 'other', 'primary')
    """
    total = sum(counts.values())
    served = dict.fromkeys(counts, 0)
    slots = []
    for slot in range(1, total + 1):
        task = max(counts, key=lambda name: slot * counts[name] - total * served[name])
        served[task] += 1
        slots.append(task)
    return tuple(slots)


def build_schedule(recipe: Recipe) -> TaskSchedule:
    """The order that ``recipe`` itself asks for."""
    if not recipe.source_tasks:
        return _mix_tasks(recipe, recipe.tasks)
    rest = [task for task in recipe.tasks if task not in recipe.source_tasks]
    return SequentialSchedule(_mix_tasks(recipe, recipe.source_tasks), _mix_tasks(recipe, rest), recipe.transfer_step)


def _mix_tasks(recipe: Recipe, tasks: Sequence[str]) -> TaskSchedule:
    """The order of some of the tasks, in proportion to their shares."""
    if recipe.cycle is None:
        return SampledSchedule({task: recipe.shares[task] for task in tasks if task in recipe.shares}, recipe.seed)
    return InterleavedSchedule({task: recipe.cycle[task] for task in tasks if task in recipe.cycle})


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
