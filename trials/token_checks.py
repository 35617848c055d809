"""Does a pretrained tokenizer belong to its encoder, and does it know the words of the tasks?

Both are silent otherwise. An id without an embedding breaks the trial that comes to its row; and a model that is told
"unknown" for every word trains and is scored like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from auxtune.trials.data.tasks import Task
from auxtune.trials.encoded import SPLITS
from auxtune.trials.encoder import BaseEncoder
from auxtune.trials.errors import DataError
from auxtune.trials.pretrained_tokenizer import PretrainedTokenizer
from auxtune.trials.recipe import ModelOptions
from auxtune.trials.tokens import encode_rows

SAMPLED = 200  # training rows of a task whose words are looked at
ALL, MANY = 0.98, 0.5  # shares of the words that are unknown
FEW = 0.5  # tokens for an embedding, under which the two do not belong


class _Strange(NamedTuple):
    """A token that has no embedding, and the first row that holds it."""

    token: str
    token_id: int
    part: str
    row: int


def check_tokenizer(model: ModelOptions, base: BaseEncoder, tasks: Mapping[str, Task]) -> tuple[str, ...]:
    """What is to be said of the tokenizer of the encoder ``model`` names, over these ``tasks``.

    Raises ``DataError`` where it cannot be had, knows no word, or gives a row an id that has no embedding.
    """
    if model.name == "tiny":
        return ()
    tokenizer = PretrainedTokenizer(model)
    problems = list(_beyond(model, base, tokenizer, tasks))
    shares = {name: _unknown_share(task, tokenizer, model) for name, task in tasks.items()}
    if shares and min(shares.values()) >= ALL:
        problems.append(
            f"encoder {model.name}: its tokenizer, of {tokenizer.size} entries, knows no word of any task; put "
            "the one that it was trained with into its folder, or name another encoder"
        )
    if problems:
        raise DataError(problems)
    return (*_misfits(base, tokenizer), *(_unknown(name, share) for name, share in shares.items() if share >= MANY))


def _beyond(
    model: ModelOptions, base: BaseEncoder, tokenizer: PretrainedTokenizer, tasks: Mapping[str, Task]
) -> Iterator[str]:
    """Each task with a row that holds a token without an embedding; none is looked at where there is no such token."""
    if base.embedded is None or tokenizer.largest < base.embedded:
        return
    for name, task in tasks.items():
        found = next(_strange(task, tokenizer, base.embedded, model.max_length), None)
        if found is not None:
            yield (
                f"encoder {model.name}: task {name}: row {found.row + 1} of its {found.part} rows has the token "
                f"{found.token!r} with the id {found.token_id}, and the encoder has {base.embedded} embeddings, for "
                "the ids below that; enlarge it with `resize_token_embeddings(len(tokenizer))` and save both again, or "
                "leave the added tokens out"
            )


def _strange(task: Task, tokenizer: PretrainedTokenizer, embedded: int, longest: int) -> Iterator[_Strange]:
    for part in SPLITS:
        rows = encode_rows(task.splits[part], task.kind, tokenizer, longest)
        for place in (rows.tokens >= embedded).nonzero()[0][:1]:
            row = int(rows.offsets.searchsorted(place, side="right")) - 1
            yield _Strange(tokenizer.token(int(rows.tokens[place])), int(rows.tokens[place]), part, row)


def _misfits(base: BaseEncoder, tokenizer: PretrainedTokenizer) -> Iterator[str]:
    """Where the tokenizer and the embeddings seem to be of different models, whatever the rows."""
    if base.embedded is None:
        return
    if tokenizer.largest >= base.embedded:
        yield (
            f"its tokenizer has ids up to {tokenizer.largest} and the encoder {base.embedded} embeddings, for the ids "
            "below that; no row of the tasks has such a token, but a text to predict may"
        )
    if tokenizer.size < FEW * base.embedded:
        yield (
            f"its tokenizer has {tokenizer.size} entries and the encoder {base.embedded} embeddings; is it the one "
            "that the encoder was trained with?"
        )


def _unknown_share(task: Task, tokenizer: PretrainedTokenizer, model: ModelOptions) -> float:
    """The share of unknown ones among the tokens of the first training rows, special tokens aside."""
    rows = task.splits["train"]
    sample = rows.at(np.arange(min(SAMPLED, len(rows))))
    if tokenizer.unknown is None or not len(sample):
        return 0.0
    tokens = encode_rows(sample, task.kind, tokenizer, model.max_length).tokens.tolist()
    words = [token for token in tokens if token not in tokenizer.special]
    return words.count(tokenizer.unknown) / len(words) if words else 1.0


def _unknown(name: str, share: float) -> str:
    return f"task {name}: {share:.0%} of the words of its first rows are unknown to the encoder's tokenizer"
