"""Tasks as token ids: encoded once per tokenizer and length, kept by content, memory-mapped."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np

from auxtune.trials.data.examples import Examples, Words
from auxtune.trials.data.tasks import Task
from auxtune.trials.encoded import IGNORED, SPLITS, EncodedSplit, EncodedTask, Kind
from auxtune.trials.hashed_words import HashedWords
from auxtune.trials.pretrained_tokenizer import PretrainedTokenizer
from auxtune.trials.recipe import ModelOptions
from auxtune.trials.stored_arrays import stored_arrays
from auxtune.trials.tokenizer import Pieces, Tokenizer

FORMAT = 2  # of the arrays: raise it when their meaning changes
ARRAYS = tuple(each.name for each in fields(EncodedSplit))
LABEL_TYPES: Mapping[Kind, type[np.generic]] = {
    "classification": np.int64,
    "regression": np.float32,
    "token": np.int64,
    "multi_label": np.uint8,
}


def load_tokenizer(model: ModelOptions) -> Tokenizer:
    """Hashed words for ``tiny``, else the encoder's own. Raises ``DataError`` if that cannot be had."""
    return HashedWords() if model.name == "tiny" else PretrainedTokenizer(model)


def encode_tasks(tasks: Mapping[str, Task], model: ModelOptions, cache: Path) -> dict[str, EncodedTask]:
    """Every task as token ids of at most ``model.max_length``, from ``cache`` where it was encoded before.

    The arrays are memory-mapped files under ``cache/<key>``, the key a hash of rows, tokenizer and length;
    several processes may share a cache. Raises ``DataError`` for an encoder without a usable tokenizer,
    ``OSError`` where the cache cannot be written.
    """
    tokenizer = load_tokenizer(model)
    encoded = {}
    for name, task in tasks.items():
        content = f"{FORMAT} {task.digest} {tokenizer.digest} {model.max_length}"
        folder = cache / hashlib.sha256(content.encode()).hexdigest()
        arrays = stored_arrays(folder, partial(_task_arrays, task, tokenizer, model.max_length))
        splits = {part: EncodedSplit(*(arrays[f"{part}.{field}"] for field in ARRAYS)) for part in SPLITS}
        encoded[name] = EncodedTask(name, task.kind, task.labels, task.metrics, splits, task.digest)
    return encoded


def _task_arrays(task: Task, tokenizer: Tokenizer, max_length: int) -> dict[str, np.ndarray]:
    """The arrays of all four splits, named ``<split>.<field>``."""
    arrays = {}
    for part, rows in task.splits.items():
        split = encode_rows(rows, task.kind, tokenizer, max_length)
        arrays.update({f"{part}.{field}": getattr(split, field) for field in ARRAYS})
    return arrays


def encode_rows(rows: Examples, kind: Kind, tokenizer: Tokenizer, max_length: int) -> EncodedSplit:
    """The rows of one split end to end. A token row may lose words, even all, where it is cut at the end."""
    tokens, segments, tags, missed = array("i"), array("B"), array("q"), array("q")
    offsets = [0]
    for row, (pieces, label) in enumerate(zip(_pieces(rows, kind, tokenizer, max_length), rows.labels, strict=True)):
        if kind == "token":
            of_words = cast(Sequence[int], label)
            tags.extend(_piece_tags(pieces.words, of_words))
            for word, place in _words_without_pieces(pieces.words, len(of_words)):
                if of_words[word] != IGNORED:
                    missed.extend((row, offsets[-1] + place, of_words[word]))
        tokens.extend(pieces.ids)
        segments.extend(pieces.segments)
        offsets.append(len(tokens))
    labels = np.array(tags if kind == "token" else rows.labels, LABEL_TYPES[kind])
    return EncodedSplit(
        np.array(tokens, np.int32),
        np.array(segments, np.uint8),
        np.array(offsets, np.int64),
        labels,
        np.array(missed, np.int64).reshape(-1, 3),
    )


def _pieces(rows: Examples, kind: Kind, tokenizer: Tokenizer, max_length: int) -> Iterable[Pieces]:
    if kind == "token":
        return tokenizer.words(cast(Sequence[Words], rows.first), max_length)
    return tokenizer.texts(cast(Sequence[str], rows.first), rows.second, max_length)


def _piece_tags(words: Iterable[int | None], tags: Sequence[int]) -> Iterator[int]:
    """The tag of each piece: its word's on the first piece of a word, ``IGNORED`` elsewhere."""
    before = None
    for word in words:
        yield IGNORED if word is None or word == before else tags[word]
        before = word


def _words_without_pieces(words: Sequence[int | None], count: int) -> Iterator[tuple[int, int]]:
    """Each of ``count`` words that has no piece, and the number of the piece that it would stand before."""
    first: dict[int, int] = {}
    for place, word in enumerate(words):
        if word is not None:
            first.setdefault(word, place)
    if len(first) == count:
        return
    # Behind the last piece of a word, which special tokens may follow.
    following = max((place for place, word in enumerate(words) if word is not None), default=-1) + 1
    places = dict(first)
    for word in reversed(range(count)):
        following = places.setdefault(word, following)
    yield from ((word, places[word]) for word in range(count) if word not in first)
