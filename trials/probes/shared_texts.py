"""The texts on which all models of a study are compared: some of each task's probe split, without their labels.

They are chosen once and kept, so that a task that joins later is measured on the same texts as those before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from auxtune.trials.durable import write_durably
from auxtune.trials.encoded import EncodedSplit, EncodedTask
from auxtune.trials.probes.measuring import hash_inputs

ROWS = 512
FILE = "texts.npz"


def make_shared_texts(tasks: Mapping[str, EncodedTask], rows: int = ROWS) -> EncodedTask:
    """The first texts of each task's probe split, equally many of each task and about ``rows`` in all.

    A task with a smaller split gives all it has. The result is a task of one class whose rows are in its split
    ``probe``, its only one, and whose digest is of these rows.
    """
    share = max(1, rows // len(tasks))
    firsts = [_take_first(task.splits["probe"], share) for task in tasks.values()]
    lengths = np.concatenate([split.lengths for split in firsts])
    return _build_task(
        np.concatenate([split.tokens for split in firsts]),
        np.concatenate([split.segments for split in firsts]),
        np.concatenate([[0], np.cumsum(lengths)]),
    )


def save_texts(folder: Path, texts: EncodedTask) -> None:
    """Write ``texts`` into ``folder``. Raises ``OSError`` where the disk refuses."""
    split = texts.splits["probe"]
    arrays = {"tokens": split.tokens, "segments": split.segments, "offsets": split.offsets}
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(folder / FILE, lambda file: np.savez(file, allow_pickle=False, **arrays))


def load_texts(folder: Path) -> EncodedTask:
    """The texts that ``save_texts`` wrote. Raises ``FileNotFoundError`` where there are none."""
    with np.load(folder / FILE, allow_pickle=False) as file:
        return _build_task(file["tokens"], file["segments"], file["offsets"])


def _take_first(split: EncodedSplit, rows: int) -> EncodedSplit:
    offsets = split.offsets[: rows + 1]
    end = int(offsets[-1])
    return EncodedSplit(split.tokens[:end], split.segments[:end], offsets, split.labels[:0])


def _build_task(tokens: np.ndarray, segments: np.ndarray, offsets: np.ndarray) -> EncodedTask:
    labels = np.zeros(len(offsets) - 1, np.int64)
    split = EncodedSplit(tokens.astype(np.int32), segments.astype(np.uint8), offsets.astype(np.int64), labels)
    return EncodedTask("texts", "classification", ("text",), (), {"probe": split}, hash_inputs(split))
