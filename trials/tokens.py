"""Tasks ready to train: token ids in flat arrays that memory-map and travel through an object store unchanged.

A task is encoded once per tokenizer and length, kept by content, and memory-mapped by every process. An entry of the
cache is a folder of arrays, written beside its place and renamed into it: of several processes that race, the first
wins and the others use its files. A checksum of every file reveals a damaged entry, which is made again: nothing in it
is unique.

Two functions make variants of a task, with shuffled labels or with some of the training rows only. A variant has a
digest of its own.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np

from auxtune.trials.data import IGNORED, SPLITS, Kind
from auxtune.trials.data.cells import Words
from auxtune.trials.data.examples import Examples
from auxtune.trials.data.tasks import Task
from auxtune.trials.durable import name_in_errors, put_in_place
from auxtune.trials.pretrained_tokenizer import PretrainedTokenizer
from auxtune.trials.recipe import ModelOptions
from auxtune.trials.tokenizer import HashedWords, Pieces, Tokenizer

SUMS = "sha256.json"
ATTEMPTS = 5  # racing processes may each replace a damaged entry once
FORMAT = 2  # of the arrays: raise it when their meaning changes
LABEL_TYPES: Mapping[Kind, type[np.generic]] = {
    "classification": np.int64,
    "regression": np.float32,
    "token": np.int64,
    "multi_label": np.uint8,
}


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


ARRAYS = tuple(each.name for each in fields(EncodedSplit))


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


def load_tokenizer(model: ModelOptions) -> Tokenizer:
    """Hashed words for ``tiny``, else the encoder's own. Raises ``DataError`` if that cannot be loaded."""
    return HashedWords() if model.name == "tiny" else PretrainedTokenizer(model)


def encode_tasks(tasks: Mapping[str, Task], model: ModelOptions, cache: Path) -> dict[str, EncodedTask]:
    """Every task as token ids of at most ``model.max_length``, from ``cache`` if it was encoded before.

    The arrays are memory-mapped files under ``cache/<key>``, the key a hash of rows, tokenizer and length;
    several processes may share a cache. Raises ``DataError`` for an encoder without a usable tokenizer,
    ``OSError`` if the cache cannot be written.
    """
    tokenizer = load_tokenizer(model)
    encoded = {}
    for name, task in tasks.items():
        content = f"{FORMAT} {task.digest} {tokenizer.digest} {model.max_length}"
        folder = cache / hashlib.sha256(content.encode()).hexdigest()
        arrays = _load_or_make_arrays(folder, partial(_encode_arrays, task, tokenizer, model.max_length))
        splits = {part: EncodedSplit(*(arrays[f"{part}.{field}"] for field in ARRAYS)) for part in SPLITS}
        encoded[name] = EncodedTask(name, task.kind, task.labels, task.metrics, splits, task.digest)
    return encoded


def _encode_arrays(task: Task, tokenizer: Tokenizer, max_length: int) -> dict[str, np.ndarray]:
    """The arrays of all four splits, named ``<split>.<field>``."""
    arrays = {}
    for part, rows in task.splits.items():
        split = encode_rows(rows, task.kind, tokenizer, max_length)
        arrays.update({f"{part}.{field}": getattr(split, field) for field in ARRAYS})
    return arrays


def encode_rows(rows: Examples, kind: Kind, tokenizer: Tokenizer, max_length: int) -> EncodedSplit:
    """The rows of one split end to end. A token row may lose words, even all, when it is cut at the end."""
    tokens, segments, tags, missed = array("i"), array("B"), array("q"), array("q")
    offsets = [0]
    for row, (pieces, label) in enumerate(
        zip(_tokenise_rows(rows, kind, tokenizer, max_length), rows.labels, strict=True)
    ):
        if kind == "token":
            of_words = cast(Sequence[int], label)
            tags.extend(_tag_pieces(pieces.words, of_words))
            for word, place in _find_words_without_pieces(pieces.words, len(of_words)):
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


def _tokenise_rows(rows: Examples, kind: Kind, tokenizer: Tokenizer, max_length: int) -> Iterable[Pieces]:
    if kind == "token":
        return tokenizer.words(cast(Sequence[Words], rows.first), max_length)
    return tokenizer.texts(cast(Sequence[str], rows.first), rows.second, max_length)


def _tag_pieces(words: Iterable[int | None], tags: Sequence[int]) -> Iterator[int]:
    """The tag of each piece: its word's on the first piece of a word, ``IGNORED`` elsewhere."""
    before = None
    for word in words:
        yield IGNORED if word is None or word == before else tags[word]
        before = word


def _find_words_without_pieces(words: Sequence[int | None], count: int) -> Iterator[tuple[int, int]]:
    """Each of ``count`` words that has no piece, and the number of the piece before which it would stand."""
    first: dict[int, int] = {}
    for place, word in enumerate(words):
        if word is not None:
            first.setdefault(word, place)
    if len(first) == count:
        return
    # After the last piece of a word, which special tokens may follow.
    following = max((place for place, word in enumerate(words) if word is not None), default=-1) + 1
    places = dict(first)
    for word in reversed(range(count)):
        following = places.setdefault(word, following)
    yield from ((word, places[word]) for word in range(count) if word not in first)


def _load_or_make_arrays(folder: Path, make: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays in ``folder`` by name, read-only and memory-mapped; ``make`` creates them if there are none.

    Raises ``OSError`` if they cannot be written.
    """
    for _ in range(ATTEMPTS):
        arrays = _load_entry(folder)
        if arrays is not None:
            return arrays
        _write_entry(folder, make())
    raise OSError(f"{folder}: cannot be read back after {ATTEMPTS} writes; is the disk full or failing?")


def _load_entry(folder: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a whole entry, ``None`` if there is none or it is damaged."""
    try:
        sums = json.loads((folder / SUMS).read_text())
        if any(_hash_file(folder / f"{name}.npy") != expected for name, expected in sums.items()):
            return None
        return {name: _map_array(folder / f"{name}.npy") for name in sums}
    except (FileNotFoundError, NotADirectoryError, ValueError, AttributeError):
        return None


def _map_array(file: Path) -> np.ndarray:
    # A plain array over the map. NumPy pickles a ``memmap`` with its bytes inside the pickle, and every process that
    # reads it makes its own copy; the bytes of a plain array go beside the pickle, to be shared.
    return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))


def _write_entry(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with name_in_errors(folder), TemporaryDirectory(dir=folder.parent, prefix=".writing-") as scratch:
        entry = Path(scratch, "entry")
        entry.mkdir()
        for name, array in arrays.items():
            np.save(entry / f"{name}.npy", array, allow_pickle=False)
        (entry / SUMS).write_text(json.dumps({name: _hash_file(entry / f"{name}.npy") for name in arrays}))
        put_in_place(
            entry, folder, lambda: _load_entry(folder) is not None, lambda: Path(scratch, f"damaged-{uuid.uuid4().hex}")
        )


def _hash_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


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


def hash_inputs(split: EncodedSplit) -> str:
    """SHA-256 of the ordered rows as a model sees them, whatever their labels."""
    digest = hashlib.sha256()
    for numbers, kind in ((split.tokens, np.int32), (split.segments, np.uint8), (split.offsets, np.int64)):
        digest.update(f"{len(numbers)} ".encode())
        digest.update(np.ascontiguousarray(numbers, kind).data)
    return digest.hexdigest()
