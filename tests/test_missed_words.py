"""Labelled words that a model is not shown: encoded as missed, told by validate, scored as wrong wherever it scores."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from auxtune.orchestrator.answer.lift import load_predictions, score_resamples
from auxtune.orchestrator.cli import main
from auxtune.trials import load_model
from auxtune.trials.data import IGNORED, SPLITS
from auxtune.trials.data.cells import Words
from auxtune.trials.data.examples import Examples
from auxtune.trials.data.sources import TaskSource
from auxtune.trials.data.tasks import Task, load_tasks
from auxtune.trials.encoder import load_base
from auxtune.trials.encoder_checks import describe_missed_words
from auxtune.trials.loaded_model import LoadedModel
from auxtune.trials.metrics import MISSED
from auxtune.trials.recipe import ModelOptions, Recipe
from auxtune.trials.result import Result
from auxtune.trials.tokenizer import HashedWords, Pieces
from auxtune.trials.tokens import encode_rows, encode_tasks
from auxtune.trials.training import TrainingRun

METRICS = ("accuracy", "span_f1", "log_loss", "roc_auc")
MODEL = ModelOptions(max_length=6, pooling="mean")  # room for four words
ROWS = 160


class WithoutDots(HashedWords):
    """A tokenizer to which a word of dots is nothing."""

    digest = "without dots"

    def words(self, rows: Sequence[Words], max_length: int) -> Iterator[Pieces]:
        for pieces, row in zip(super().words(rows, max_length), rows, strict=True):
            kept = [place for place, word in enumerate(pieces.words) if word is None or row[word].strip(".")]
            yield Pieces(*([each[place] for place in kept] for each in pieces))


def tagged(words: Sequence[Words], tags: Sequence[tuple[int, ...]]) -> Examples:
    return Examples(tuple(words), None, tuple(tags), np.arange(len(words), dtype=np.uint64))


def test_a_word_without_a_token_is_missed_with_its_row_its_place_and_its_label() -> None:
    rows = tagged([("a", ".", "b", "c"), (".", "."), ("d", "e", "f", "g")], [(1, 2, 3, 4), (5, 6), (7, 8, 9, 10)])
    split = encode_rows(rows, "token", WithoutDots(), 5)
    # [CLS] a b [SEP] · [CLS] [SEP] · [CLS] d e f [SEP]: of the first row c is cut off by the word of dots before it.
    assert split.lengths.tolist() == [4, 2, 5]
    assert split.labels[split.labels != IGNORED].tolist() == [1, 3, 7, 8, 9]
    assert split.missed.tolist() == [[0, 2, 2], [0, 3, 4], [1, 4, 5], [1, 4, 6], [2, 10, 10]]


def test_a_word_whose_tag_is_ignored_is_not_missed() -> None:
    split = encode_rows(tagged([("a", ".")], [(1, IGNORED)]), "token", WithoutDots(), 8)
    assert split.missed.shape == (0, 3)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of three to seven words, of which the last two may be a name."""
    home = tmp_path_factory.mktemp("names")
    rng = np.random.default_rng(0)
    with (home / "names.jsonl").open("w") as file:
        for number in range(ROWS):
            words = [f"w{word}" for word in rng.integers(9, size=int(rng.integers(1, 6)))]
            is_name = number % 2 == 0
            tags = ["O"] * len(words) + (["B-name", "I-name"] if is_name else ["O", "O"])
            words = [*words, "Ann" if is_name else "no", f"n{number}"]
            file.write(json.dumps({"tokens": words, "tags": tags}) + "\n")
    return home


@pytest.fixture(scope="module")
def tasks(home: Path) -> dict[str, Task]:
    source = TaskSource(
        "names", home / "names.jsonl", tokens="tokens", tags="tags", metrics=METRICS, labels=("O", "B-name", "I-name")
    )
    return load_tasks([source])


@pytest.fixture(scope="module")
def trained(home: Path, tasks: dict[str, Task]) -> tuple[Result, LoadedModel]:
    recipe = Recipe(
        tasks=("names",),
        shares={"names": 1.0},
        cycle={"names": 1},
        evaluate=("names",),
        test=("names",),
        model=MODEL,
        steps=150,
        batch_size=8,
        learning_rate=5e-3,
        evaluate_every=50,
    )
    run = TrainingRun(recipe, encode_tasks(tasks, MODEL, home / "tokens"), load_base(MODEL), home / "run")
    while not run.finished:
        run.advance()
    report = run.result()
    (home / "model").mkdir()
    run.save_model(home / "model", {"names": ("tokens",)}, {})
    return report, load_model(home / "model", "cpu")


def test_missed_words_are_among_the_predictions_in_their_order_as_wrong(
    home: Path, tasks: dict[str, Task], trained: tuple[Result, LoadedModel]
) -> None:
    rows = tasks["names"].splits["test"]
    answers = load_predictions(home / "run" / "predictions.npz", "names")
    true = [tag for tags in rows.labels if isinstance(tags, tuple) for tag in tags]
    lengths = [len(words) for words in rows.first]
    assert answers.labels.tolist() == true
    assert answers.rows.tolist() == np.repeat(np.arange(len(rows)), lengths).tolist()
    places = np.concatenate([np.arange(length) for length in lengths])
    assert ((answers.predictions == MISSED) == (places >= 4)).all() and (places >= 4).any()
    assert answers.probabilities is not None and answers.probabilities.dtype == np.float32
    assert answers.probabilities[places >= 4] == pytest.approx(1 / 3)
    assert answers.probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_every_place_that_scores_counts_them(
    home: Path, tasks: dict[str, Task], trained: tuple[Result, LoadedModel]
) -> None:
    report, model = trained
    answers = load_predictions(home / "run" / "predictions.npz", "names")
    seen = answers.predictions != MISSED
    assert (answers.predictions[seen] == answers.labels[seen]).mean() > 0.9
    share = float((answers.predictions == answers.labels).mean())
    assert report.test["names"]["accuracy"] == pytest.approx(share) and share <= seen.mean()
    again = model.answers("names", tasks["names"].splits["test"])
    everything = np.arange(int(answers.rows.max()) + 1)[None]
    for metric in METRICS:
        value = report.test["names"][metric]
        assert again.metric(metric) == pytest.approx(value, abs=1e-6)
        assert score_resamples(metric, answers, everything)[0] == pytest.approx(value, abs=1e-6)
    # A name of which the end is cut off is not found, and neither is one that is cut off whole.
    whole = sum(
        tags.index(1) + 2 <= 4 for tags in tasks["names"].splits["test"].labels if isinstance(tags, tuple) and 1 in tags
    )
    names = sum(1 in tags for tags in tasks["names"].splits["test"].labels if isinstance(tags, tuple))
    assert 0 < whole < names
    assert report.test["names"]["span_f1"] <= 2 * whole / (whole + names)


def test_a_prediction_of_a_missed_word_is_none(trained: tuple[Result, LoadedModel]) -> None:
    [said] = trained[1].predict("names", [["w1", "w2", "w3", "w4", "w5"]])
    assert isinstance(said.value, tuple) and len(said.value) == 5
    assert said.value[4] is None and None not in said.value[:4]


def test_missed_words_are_told_by_split_and_classes_that_are_lost_by_name(tasks: dict[str, Task]) -> None:
    said = describe_missed_words(tasks, MODEL)
    train = tasks["names"].splits["train"]
    words = [len(each) for each in train.first]
    cut = sum(max(0, count - 4) for count in words)
    assert said[0].startswith(f"names: {cut:,} of {sum(words):,} labelled words of train are cut off by max_length 6 ")
    assert [line.split(" labelled words of ")[1].split()[0] for line in said] == list(SPLITS)
    assert not describe_missed_words(tasks, dataclasses.replace(MODEL, max_length=16))
    shorter = describe_missed_words(tasks, dataclasses.replace(MODEL, max_length=4))
    assert any("no word with the label I-name is left in train" in line for line in shorter)


def test_validate_warns_of_them(home: Path) -> None:
    (home / "study.yaml").write_text(
        "study: cut\nprimary: names\ntasks:\n"
        "  names: {path: names.jsonl, tokens: tokens, tags: tags, labels: [O, B-name, I-name]}\n"
        "  again: {path: names.jsonl, tokens: tokens, tags: tags, labels: [O, B-name, I-name]}\n"
        "model: {name: tiny, max_length: 6}\nselector: random_subset\n"
        "confirm: {seeds: 1, controls: [single_task]}\nbudget: {trials: 9}\n"
    )
    shown = CliRunner().invoke(main, ["validate", str(home / "study.yaml")])
    assert shown.exit_code == 0, shown.output
    for task in ("names", "again"):
        assert f"warning: {task}: " in shown.output
    assert "labelled words of test are cut off by max_length 6 and count as wrong" in shown.output
