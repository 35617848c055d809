"""Labelled words that a model is not shown: cut off at its longest input, or nothing to its tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from auxtune.trials.data.tasks import Task
from auxtune.trials.encoded import IGNORED, EncodedSplit
from auxtune.trials.errors import listed
from auxtune.trials.recipe import ModelOptions
from auxtune.trials.tokenizer import Tokenizer
from auxtune.trials.tokens import encode_rows, load_tokenizer


def missed_words(tasks: Mapping[str, Task], model: ModelOptions) -> list[str]:
    """What is to be said of the labelled words of token tasks that ``model`` is not shown, with the task's name.

    Only token tasks are tokenised. Raises ``DataError`` for an encoder without a usable tokenizer.
    """
    tagged = [task for task in tasks.values() if task.kind == "token"]
    tokenizer = load_tokenizer(model) if tagged else None
    return [f"{task.name}: {said}" for task in tagged if tokenizer for said in _said(task, tokenizer, model.max_length)]


def _said(task: Task, tokenizer: Tokenizer, max_length: int) -> Iterator[str]:
    for part, rows in task.splits.items():
        split = encode_rows(rows, task.kind, tokenizer, max_length)
        if not len(split.missed):
            continue
        words = int((split.labels != IGNORED).sum()) + len(split.missed)
        is_cut = _are_cut(split, max_length)
        if cut := int(is_cut.sum()):
            yield (
                f"{cut:,} of {words:,} labelled words of {part} are cut off by max_length {max_length} and "
                f"{_consequence(part)}; raise model.max_length, or divide the rows"
            )
        if empty := int((~is_cut).sum()):
            yield (
                f"{empty:,} of {words:,} labelled words of {part} are nothing to the encoder's tokenizer and "
                f"{_consequence(part)}"
            )
        if part == "train":
            seen, lost = set(split.labels.tolist()), sorted(set(split.missed[:, 2].tolist()))
            if gone := [task.labels[label] for label in lost if label not in seen]:
                yield f"no word with the label {listed(gone)} is left in train: the model cannot learn it"


def _consequence(part: str) -> str:
    return "not trained on" if part == "train" else "count as wrong"


def _are_cut(split: EncodedSplit, max_length: int) -> np.ndarray:
    """Of each missed word whether it stands behind all that is left of a row that is full, (missed words,) bool."""
    scored = np.flatnonzero(split.labels != IGNORED)
    last = np.full(len(split), -1)
    np.maximum.at(last, np.searchsorted(split.offsets, scored, side="right") - 1, scored)
    rows, places = split.missed[:, 0], split.missed[:, 1]
    return np.asarray((split.lengths[rows] >= max_length) & (places > last[rows]))
