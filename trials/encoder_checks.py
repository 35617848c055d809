"""Checks of an encoder before any training: is it sound, which tokens does a token see, does its tokenizer fit?

Whether a model is causal is determined by what it does on a few rows and not by its name: flags and classes for that
differ between families, and many a decoder was converted to look both ways.

Its tokenizer is held to it and to the tasks: ids without embedding, unknown words, labels never shown. All three would
otherwise be silent. An id without an embedding breaks the trial that reaches its row; a model that reads "unknown" for
every word is trained and scored like any other; and so is one whose longest input cuts words off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch

from auxtune.trials.data import IGNORED, SPLITS
from auxtune.trials.data.tasks import Task
from auxtune.trials.errors import DataError, DataProblem, join_names
from auxtune.trials.pretrained_tokenizer import PretrainedTokenizer
from auxtune.trials.recipe import ModelOptions
from auxtune.trials.tokenizer import Tokenizer
from auxtune.trials.tokens import EncodedSplit, encode_rows, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from auxtune.trials.encoder import BaseEncoder, Encoder

_SHORT = 8  # tokens: enough to tell whether one sees another
# Relative to the largest value: far above the rounding of a sum in another order, far below the effect of one of eight
# tokens on the vector of another, even with random weights.
_SAME = 1e-6
_UNKNOWN_ROWS = 1000  # ids that any vocabulary has
_SAMPLED = 200  # training rows of a task whose words are checked
_ALL, _MANY = 0.98, 0.5  # shares of the words that are unknown
_FEW = 0.5  # tokens per embedding below which the two do not belong together


@contextmanager
def leave_processor() -> Iterator[None]:
    """While entered, torch uses a thread less. Ray starts beside this, and a step ends with the slowest of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads - 1))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def count_embeddings(module: PreTrainedModel) -> int | None:
    """How many token ids have an embedding, ``None`` if the model does not tell."""
    try:
        weight = getattr(module.get_input_embeddings(), "weight", None)
    except (NotImplementedError, AttributeError):  # Transformers raises either where it finds no embeddings
        weight = None
    if isinstance(weight, torch.Tensor) and weight.ndim == 2:
        return int(weight.shape[0])
    return cast("int | None", getattr(module.config, "vocab_size", None))


def spread_token_ids(count: int | None, pad: int, length: int) -> torch.Tensor:
    """A row (length,) of token ids spread over all ``count``, without ``pad``, where some models begin to count."""
    ids = torch.linspace(0, (count or _UNKNOWN_ROWS) - 1, length).long()
    ordinary = pad + 1 if count is None or pad + 1 < count else 0
    return torch.where(ids == pad, ordinary, ids)


def is_finite(hidden: torch.Tensor) -> bool:
    """Whether no value is NaN or infinite."""
    return bool(torch.isfinite(hidden).all())


def find_broken_weight(module: PreTrainedModel) -> str | None:
    """The name of the first parameter that holds a value that is not finite, if there is one."""
    return next((name for name, weight in module.named_parameters() if not is_finite(weight)), None)


def is_causal(encoder: Encoder, count: int | None, longest: int) -> bool:
    """Whether a token sees those before it, and none after it. ``encoder`` is in evaluation mode.

    It is tried on rows of a few tokens or, if the encoder does not accept these, of ``longest``. If all tokens but the
    first are changed, its vector must stay; if all but the last, its vector must change.
    """
    try:
        return _is_causal(encoder, count, min(_SHORT, longest))
    except (RuntimeError, ValueError, IndexError):
        return _is_causal(encoder, count, longest)


def _is_causal(encoder: Encoder, count: int | None, length: int) -> bool:
    row = spread_token_ids(count, encoder.pad, length)
    other = row.flip(0)
    first, last = other.clone(), other.clone()
    first[0], last[-1] = row[0], row[-1]
    with torch.no_grad():
        kept, of_first, of_last = (_encode_row(encoder, each) for each in (row, first, last))
    return _is_alike(kept[0], of_first[0]) and not _is_alike(kept[-1], of_last[-1])


def _encode_row(encoder: Encoder, row: torch.Tensor) -> torch.Tensor:
    """(length, width)."""
    rows = row.unsqueeze(0)
    hidden: torch.Tensor = encoder(rows, torch.zeros_like(rows), torch.ones_like(rows))
    return hidden[0]


def _is_alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool((one - other).abs().max() <= _SAME * one.abs().max())


class _Strange(NamedTuple):
    """A token that has no embedding, and the first row that holds it."""

    token: str
    token_id: int
    part: str
    row: int


def check_tokenizer(model: ModelOptions, base: BaseEncoder, tasks: Mapping[str, Task]) -> tuple[str, ...]:
    """Warnings about the tokenizer of the encoder that ``model`` names, on these ``tasks``.

    Raises ``DataError`` if it cannot be loaded, knows no word, or gives a row an id that has no embedding.
    """
    if model.name == "tiny":
        return ()
    tokenizer = PretrainedTokenizer(model)
    problems = list(_find_ids_without_embedding(model, base, tokenizer, tasks))
    shares = {name: _measure_unknown_share(task, tokenizer, model) for name, task in tasks.items()}
    if shares and min(shares.values()) >= _ALL:
        problems.append(
            f"its tokenizer, of {tokenizer.size} entries, knows no word of any task; put the one that it was trained "
            "with into its folder, or name another encoder"
        )
    if problems:
        raise DataError(DataProblem(problem, encoder=model.name) for problem in problems)
    return (
        *_find_misfits(base, tokenizer),
        *(_describe_unknown(name, share) for name, share in shares.items() if share >= _MANY),
    )


def _find_ids_without_embedding(
    model: ModelOptions, base: BaseEncoder, tokenizer: PretrainedTokenizer, tasks: Mapping[str, Task]
) -> Iterator[str]:
    """Each task with a row that holds a token without an embedding; rows are read only if there is such a token."""
    if base.embedded is None or tokenizer.largest < base.embedded:
        return
    for name, task in tasks.items():
        found = next(_find_strange_tokens(task, tokenizer, base.embedded, model.max_length), None)
        if found is not None:
            yield (
                f"task {name}: row {found.row + 1} of its {found.part} rows has the token {found.token!r} with the id "
                f"{found.token_id}, and the encoder has {base.embedded} embeddings, for the ids below that; enlarge it "
                "with `resize_token_embeddings(len(tokenizer))` and save both again, or leave the added tokens out"
            )


def _find_strange_tokens(task: Task, tokenizer: PretrainedTokenizer, embedded: int, longest: int) -> Iterator[_Strange]:
    for part in SPLITS:
        rows = encode_rows(task.splits[part], task.kind, tokenizer, longest)
        for place in (rows.tokens >= embedded).nonzero()[0][:1]:
            row = int(rows.offsets.searchsorted(place, side="right")) - 1
            yield _Strange(tokenizer.token(int(rows.tokens[place])), int(rows.tokens[place]), part, row)


def _find_misfits(base: BaseEncoder, tokenizer: PretrainedTokenizer) -> Iterator[str]:
    """Signs that the tokenizer and the embeddings are of different models, whatever the rows."""
    if base.embedded is None:
        return
    if tokenizer.largest >= base.embedded:
        yield (
            f"its tokenizer has ids up to {tokenizer.largest} and the encoder {base.embedded} embeddings, for the ids "
            "below that; no row of the tasks has such a token, but a text to predict may"
        )
    if tokenizer.size < _FEW * base.embedded:
        yield (
            f"its tokenizer has {tokenizer.size} entries and the encoder {base.embedded} embeddings; is it the one "
            "that the encoder was trained with?"
        )


def _measure_unknown_share(task: Task, tokenizer: PretrainedTokenizer, model: ModelOptions) -> float:
    """The share of unknown tokens in the first training rows, special tokens aside."""
    rows = task.splits["train"]
    sample = rows.at(np.arange(min(_SAMPLED, len(rows))))
    if tokenizer.unknown is None or not len(sample):
        return 0.0
    tokens = encode_rows(sample, task.kind, tokenizer, model.max_length).tokens.tolist()
    words = [token for token in tokens if token not in tokenizer.special]
    return words.count(tokenizer.unknown) / len(words) if words else 1.0


def _describe_unknown(name: str, share: float) -> str:
    return f"task {name}: {share:.0%} of the words of its first rows are unknown to the encoder's tokenizer"


def describe_missed_words(tasks: Mapping[str, Task], model: ModelOptions) -> list[str]:
    """Warnings about the labelled words of token tasks that ``model`` does not see, each with the task's name.

    Only token tasks are tokenised. Raises ``DataError`` for an encoder without a usable tokenizer.
    """
    tagged = [task for task in tasks.values() if task.kind == "token"]
    tokenizer = load_tokenizer(model) if tagged else None
    return [
        f"{task.name}: {said}"
        for task in tagged
        if tokenizer
        for said in _describe_split(task, tokenizer, model.max_length)
    ]


def _describe_split(task: Task, tokenizer: Tokenizer, max_length: int) -> Iterator[str]:
    for part, rows in task.splits.items():
        split = encode_rows(rows, task.kind, tokenizer, max_length)
        if not len(split.missed):
            continue
        words = int((split.labels != IGNORED).sum()) + len(split.missed)
        is_cut = _is_cut(split, max_length)
        if cut := int(is_cut.sum()):
            yield (
                f"{cut:,} of {words:,} labelled words of {part} are cut off by max_length {max_length} and "
                f"{_name_consequence(part)}; raise model.max_length, or divide the rows"
            )
        if empty := int((~is_cut).sum()):
            yield (
                f"{empty:,} of {words:,} labelled words of {part} are nothing to the encoder's tokenizer and "
                f"{_name_consequence(part)}"
            )
        if part == "train":
            seen, lost = set(split.labels.tolist()), sorted(set(split.missed[:, 2].tolist()))
            if gone := [task.labels[label] for label in lost if label not in seen]:
                yield f"no word with the label {join_names(gone)} is left in train: the model cannot learn it"


def _name_consequence(part: str) -> str:
    return "not trained on" if part == "train" else "count as wrong"


def _is_cut(split: EncodedSplit, max_length: int) -> np.ndarray:
    """Whether each missed word comes after all that is left of a full row, (missed words,) bool."""
    scored = np.flatnonzero(split.labels != IGNORED)
    last = np.full(len(split), -1)
    np.maximum.at(last, np.searchsorted(split.offsets, scored, side="right") - 1, scored)
    rows, places = split.missed[:, 0], split.missed[:, 1]
    return np.asarray((split.lengths[rows] >= max_length) & (places > last[rows]))
