"""Tasks that differ from what was read: labels shuffled, or some training rows left out. Their digests differ too."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from auxtune.trials.encoded import IGNORED, EncodedSplit, EncodedTask


def shuffle_labels(task: EncodedTask, seed: int) -> EncodedTask:
    """A twin of ``task`` with the labels of each split permuted: the same inputs and labels, nothing to learn.

    Rows trade their labels; in a token task, tokens that are scored do.
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
    """``task`` trained on ``rows`` only, (kept,) row numbers of its train split in rising order.

    Raises ``ValueError`` for rows that it has not, and for none.
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
