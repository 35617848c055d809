"""A task ready to train: token ids in flat arrays that memory-map and travel through an object store unchanged.

Two functions make variants of a task, with shuffled labels or with some of the training rows only. A variant has a
digest of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np

Kind: TypeAlias = Literal["classification", "regression", "token", "multi_label"]
SPLITS = ("train", "probe", "validation", "test")
IGNORED = -100  # label of a token that is not scored


@dataclass(frozen=True)
class EncodedSplit:
    """Rows of one split, end to end. Row i is ``tokens[offsets[i]:offsets[i + 1]]``, special tokens included.

    ``labels`` has one value per row: int64 classes or float32 values; for multi-label tasks a uint8 per row and label,
    1 where the row has it; for token tasks one int64 per *token*, aligned with ``tokens``, ``IGNORED`` on special
    tokens and on all but the first piece of a word. ``missed`` are the labelled words without a token, either cut off
    at the end or dropped by the tokenizer: the row of each, the position in ``tokens`` before which it would stand, and
    its label. They are not trained on, and count as wrong when the split is scored.
    """

    tokens: np.ndarray  # (all tokens,) int32
    segments: np.ndarray  # (all tokens,) uint8, 1 in the second sentence of a pair
    offsets: np.ndarray  # (rows + 1,) int64
    labels: np.ndarray  # (rows,), (rows, labels) or (all tokens,)
    missed: np.ndarray = field(default_factory=lambda: np.empty((0, 3), np.int64))  # (missed words, 3) int64

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens per row, (rows,) int64."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class EncodedTask:
    """A task whose rows are token ids.

    ``labels`` names the classes, tags or labels in the order of their ids (empty for regression). ``metrics``: the
    first is the main one. ``digest`` identifies the rows left after all drops, before tokenisation.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    splits: Mapping[str, EncodedSplit]  # train, probe, validation, test
    digest: str


def shuffle_labels(task: EncodedTask, seed: int) -> EncodedTask:
    """A twin of ``task`` with the labels of each split permuted: the same inputs and labels, but nothing to learn.

    Labels are exchanged between rows, or in a token task between scored tokens.
    """
    splits = {}
    for number, (part, split) in enumerate(task.splits.items()):
        rng = np.random.default_rng([seed, number])
        labels = split.labels.copy()
        scored = np.flatnonzero(labels != IGNORED) if task.kind == "token" else np.arange(len(labels))
        labels[scored] = labels[rng.permutation(scored)]
        splits[part] = replace(split, labels=labels)
    return replace(task, splits=splits, digest=_hash_variant(task, f"shuffled {seed}"))


def keep_rows(task: EncodedTask, rows: np.ndarray) -> EncodedTask:
    """``task`` with only ``rows``, (kept,) ascending row numbers of its train split.

    Raises ``ValueError`` for rows that it does not have, and for no rows.
    """
    train = task.splits["train"]
    if len(rows) == 0 or rows[0] < 0 or rows[-1] >= len(train):
        raise ValueError(f"task {task.name}: expected some of its {len(train)} training rows, found {rows}")
    tokens = np.concatenate([np.arange(train.offsets[row], train.offsets[row + 1]) for row in rows])
    kept = EncodedSplit(
        tokens=train.tokens[tokens],
        segments=train.segments[tokens],
        offsets=np.concatenate([[0], np.cumsum(train.lengths[rows])]),
        labels=train.labels[tokens] if task.kind == "token" else train.labels[rows],
    )
    splits = {**task.splits, "train": kept}
    return replace(
        task, splits=splits, digest=_hash_variant(task, hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest())
    )


def _hash_variant(task: EncodedTask, what: str) -> str:
    return hashlib.sha256(f"{task.digest} {what}".encode()).hexdigest()
