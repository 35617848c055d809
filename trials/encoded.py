"""A task ready to train: token ids in flat arrays that memory-map and travel through an object store unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    tokens and on all but the first piece of a word. ``missed`` are the labelled words that have no token, cut off at
    the end or nothing to the tokenizer: the row of each, the place in ``tokens`` before which it would stand, its
    label. They are not trained on, and count as wrong where the split is scored.
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
