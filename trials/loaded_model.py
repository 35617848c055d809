"""A model that ``auxtune export`` wrote, loaded again: it predicts, and it is scored like any run.

    model = load_model("models/urgent")
    for prediction in model.predict("urgent", ["Nobody can log in"]):
        print(prediction.value, prediction.probabilities)

Rows are taken a batch at a time as they are asked for, so a file of any length takes the memory of one batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import torch

from auxtune.trials.batches import Collate
from auxtune.trials.data.cells import Words, parse_text, parse_words
from auxtune.trials.data.examples import Examples, Label
from auxtune.trials.encoder import EncoderError, build_encoder, load_base
from auxtune.trials.encoder_checks import count_embeddings
from auxtune.trials.errors import DataError, join_names, suggest_name
from auxtune.trials.evaluation import Evaluation
from auxtune.trials.metrics import Predictions
from auxtune.trials.model import MultiTaskModel
from auxtune.trials.model_folder import ModelFolderError, SavedModel, SavedTask, read_model, restore_options
from auxtune.trials.precision import autocast, choose_precision
from auxtune.trials.pretrained_tokenizer import PretrainedTokenizer
from auxtune.trials.tokenizer import HashedWords, Tokenizer
from auxtune.trials.tokens import EncodedSplit, EncodedTask, encode_rows
from auxtune.trials.train_step import choose_device

BATCH = 1000  # rows at a time: enough to sort by length, few enough to hold in memory
_GIVEN = "given"  # the split that holds the rows of a batch

Input: TypeAlias = str | tuple[str, str] | Sequence[str]  # a sentence, a pair, the words of a token task


@dataclass(frozen=True)
class Prediction:
    """A model's prediction for one row.

    ``value`` is a label, a number, the labels that a multi-label row has, or the tag of each word, ``None`` for one
    that was cut off at the model's longest input. ``probabilities`` are by label (for tags a mapping per word), and
    ``None`` for a regression.
    """

    value: str | float | tuple[str | None, ...]
    probabilities: Mapping[str, float] | tuple[Mapping[str, float] | None, ...] | None


class LoadedModel:
    """Encoder, heads and tokenizer of a model folder. ``saved`` holds its tasks, by name."""

    def __init__(self, saved: SavedModel, model: MultiTaskModel, tokenizer: Tokenizer, device: torch.device) -> None:
        self.saved = saved
        self._model, self._tokenizer = model, tokenizer
        self._collate = Collate(model.encoder.pad, saved.max_length, device, 8 if device.type == "cuda" else 1)
        size = sum(weight.numel() for weight in model.encoder.parameters())
        self._autocast = autocast(choose_precision(saved.precision, device, size), device)

    @property
    def tasks(self) -> Mapping[str, SavedTask]:
        """The tasks that it has heads for."""
        return self.saved.tasks

    def predict(self, task: str, inputs: Iterable[Input], batch_size: int = BATCH) -> Iterator[Prediction]:
        """A prediction for each of ``inputs``, in their order, computed ``batch_size`` rows at a time.

        An input is a text, a pair of texts or a list of words, whichever the task was trained on. Raises ``DataError``
        for a task that the model has no head for and for an input of another form, and whatever ``inputs`` raises.
        """
        known = self.known(task)
        if batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1, found {batch_size}")
        rows, done = iter(inputs), 0
        while batch := list(islice(rows, batch_size)):
            yield from self._predicted(task, known, _build_examples(known, batch, done), done)
            done += len(batch)

    def answers(self, task: str, rows: Examples) -> Predictions:
        """Predictions beside the labels of ``rows``, as a training run scores them."""
        return self._evaluation(task, rows).predict(task, _GIVEN)

    def _predicted(self, name: str, task: SavedTask, rows: Examples, before: int) -> Iterator[Prediction]:
        head = self._model.head(name)
        found = self._evaluation(name, rows, before).predict_by(name, _GIVEN, lambda outputs: outputs)
        outputs = torch.from_numpy(found.predictions).to(self._collate.device)  # (elements, outputs)
        values = head.predict(outputs).cpu().numpy()
        known = head.probabilities(outputs)
        shares = None if known is None else known.cpu().numpy()  # (elements, labels)
        if task.kind != "token":
            for number, value in enumerate(values):
                yield Prediction(
                    _name_value(task, value), None if shares is None else _name_shares(task, shares[number])
                )
            return
        assert shares is not None
        bounds = np.searchsorted(found.rows, np.arange(len(rows) + 1))
        for row, words in enumerate(rows.labels):
            here = slice(bounds[row], bounds[row + 1])
            # The words' own numbers stand in for labels here.
            places = {word: number for number, word in enumerate(found.labels[here].tolist(), here.start)}
            tags = [places.get(word) for word in cast(tuple[int, ...], words)]
            yield Prediction(
                tuple(None if place is None else task.labels[values[place]] for place in tags),
                tuple(None if place is None else _name_shares(task, shares[place]) for place in tags),
            )

    def _evaluation(self, name: str, rows: Examples, before: int = 0) -> Evaluation:
        """The evaluation of ``rows``, which come after ``before`` others."""
        task = self.known(name)
        split = encode_rows(rows, task.kind, self._tokenizer, self.saved.max_length)
        self._check_ids(split, before)
        return Evaluation(self._model, {name: _build_task(name, task, {_GIVEN: split})}, self._collate, self._autocast)

    def _check_ids(self, split: EncodedSplit, before: int) -> None:
        """Raise ``DataError`` for a row with a token without an embedding: one added only to the tokenizer."""
        count = count_embeddings(self._model.encoder.module)
        for place in () if count is None else (split.tokens >= count).nonzero()[0][:1]:
            row = int(split.offsets.searchsorted(place, side="right"))
            token = int(split.tokens[place])
            named = self._tokenizer.token(token) if isinstance(self._tokenizer, PretrainedTokenizer) else token
            raise DataError(
                [
                    f"input {before + row}: its token {named!r} has the id {token}, and the encoder has {count} "
                    "embeddings, for the ids below that; leave such tokens out of the text"
                ]
            )

    def known(self, name: str) -> SavedTask:
        """The task called ``name``. Raises ``DataError``, listing the tasks there are, if it is unknown."""
        if name not in self.tasks:
            raise DataError(
                [
                    f"the model has no head for a task {name!r}, it has {join_names(self.tasks)}"
                    f"{suggest_name(name, self.tasks)}"
                ]
            )
        return self.tasks[name]


def load_model(
    folder: str | Path, device: Literal["auto", "cpu"] = "auto", trust_remote_code: bool = False
) -> LoadedModel:
    """The model in ``folder``, on a GPU if ``auto`` finds one. Its own code runs only with ``trust_remote_code``.

    Raises ``ModelFolderError`` if the folder holds no model, a damaged one, or one of a newer format.
    """
    folder = Path(folder)
    saved, stored = read_model(folder)
    if saved.own_code and not trust_remote_code:
        raise ModelFolderError(
            f"{folder}: its encoder needs Python code that it brings along, which is not run unless "
            "you say trust_remote_code; only for authors you trust"
        )
    options = restore_options(saved, folder, trust_remote_code)
    try:
        encoder = build_encoder(load_base(options), seed=0)
        tokenizer = HashedWords() if saved.tokenizer == "hashed words" else PretrainedTokenizer(options)
    except (EncoderError, DataError) as error:
        raise ModelFolderError(f"{folder}: {error}") from error
    tasks = [_build_task(name, task, {}) for name, task in saved.tasks.items()]
    aligned = [name for name, task in saved.tasks.items() if task.aligned]
    model = MultiTaskModel(encoder, tasks, saved.pooling, 0, aligned)
    _give_heads(model, stored, folder)
    there = torch.cuda.is_available() or torch.backends.mps.is_available()
    where = choose_device(float(there), device)
    return LoadedModel(saved, model.to(where).eval(), tokenizer, where)


def _give_heads(model: MultiTaskModel, stored: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Load the heads, and the matrices of aligned tasks. Raises ``ModelFolderError`` if they are of other tasks."""
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("encoder.")}
    named = {name: kept for name, kept in model.stored_names().items() if name in state}
    misfit = sorted(set(named.values()) ^ stored.keys()) or [
        kept for name, kept in named.items() if stored[kept].shape != state[name].shape
    ]
    if misfit:
        raise ModelFolderError(
            f"{folder}: its heads are not of the tasks that it names, they differ in {misfit[0]}; "
            "export the model again"
        )
    model.load_state_dict({name: stored[kept] for name, kept in named.items()}, strict=False)


def _build_task(name: str, task: SavedTask, splits: Mapping[str, EncodedSplit]) -> EncodedTask:
    return EncodedTask(name, task.kind, task.labels, task.metrics, splits, digest="")


def _build_examples(task: SavedTask, batch: Sequence[Input], before: int) -> Examples:
    """The rows of a batch, with labels of the right form that are never read; for a token task the words' numbers."""
    checked = [_check_input(task, each, before + number) for number, each in enumerate(batch, start=1)]
    first: Any = tuple(row[0] for row in checked)
    second: Any = tuple(row[1] for row in checked) if len(task.text) == 2 else None
    labels: tuple[Label, ...]
    if task.kind == "token":
        labels = tuple(tuple(range(len(words))) for words in first)
    elif task.kind == "multi_label":
        labels = ((0,) * len(task.labels),) * len(batch)
    else:
        labels = (0,) * len(batch)
    return Examples(first, second, labels, np.zeros(len(batch), np.uint64))


def _check_input(task: SavedTask, given: Input, number: int) -> tuple[str | Words, ...]:
    """One input as a row. Raises ``DataError`` if its form is not that of the training rows."""
    try:
        if task.kind == "token":
            return (parse_words(list(given) if isinstance(given, tuple) else given),)
        if len(task.text) == 1:
            return (parse_text(given),)
        if isinstance(given, str) or len(given) != 2:
            raise ValueError(f"expected a pair of texts, found {given!r:.80}")
        return tuple(parse_text(text) for text in given)
    except ValueError as error:
        raise DataError([f"input {number}: {error}"]) from error


def _name_value(task: SavedTask, value: Any) -> str | float | tuple[str, ...]:
    if task.kind == "regression":
        return float(value)
    if task.kind == "multi_label":
        return tuple(label for label, has in zip(task.labels, value, strict=True) if has)
    return task.labels[int(value)]


def _name_shares(task: SavedTask, shares: np.ndarray) -> dict[str, float]:
    return dict(zip(task.labels, shares.tolist(), strict=True))
