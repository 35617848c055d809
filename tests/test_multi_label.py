"""Tasks whose rows have any number of labels: read from every source, told what is wrong, trained and scored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from synthetic_tasks import BASE, MODEL, finish, single, start
from test_reading import write_jsonl, write_parquet, write_separated

from auxtune.trials.batches import Collate
from auxtune.trials.data import SPLITS
from auxtune.trials.data.sources import TaskSource
from auxtune.trials.data.tasks import Task, load_tasks
from auxtune.trials.errors import DataError
from auxtune.trials.metrics import score
from auxtune.trials.model import MultiLabelHead
from auxtune.trials.tokens import EncodedSplit, EncodedTask, encode_tasks

pytestmark = pytest.mark.arithmetic

Row = Mapping[str, Any]
TOPICS = ("access", "billing", "product")
SETS = ([], ["billing"], ["access", "product"], ["product"])


def topical(rows: int = 80, prefix: str = "ticket") -> list[Row]:
    """Rows with none, one and two of three topics in turn."""
    return [{"sentence1": f"{prefix} {i}", "label": SETS[i % len(SETS)]} for i in range(rows)]


def in_columns(rows: Sequence[Row], yes: Any = 1, no: Any = 0) -> list[Row]:
    """The same rows with a column for each topic."""
    return [
        {"sentence1": row["sentence1"], **{topic: yes if topic in row["label"] else no for topic in TOPICS}}
        for row in rows
    ]


def load(**source: Any) -> Task:
    return load_tasks([TaskSource("one", **source)])["one"]


def message(**source: Any) -> str:
    with pytest.raises(DataError) as error:
        load(**source)
    [only] = error.value.messages
    return only


def test_every_source_gives_the_same_task(tmp_path: Path) -> None:
    rows = topical()
    write_jsonl(tmp_path / "folder" / "train.jsonl", rows)
    (tmp_path / "folder" / "meta.json").write_text(json.dumps({"kind": "multi_label", "labels": TOPICS}))
    names = datasets.Dataset.from_list([dict(row) for row in rows])
    names.save_to_disk(str(tmp_path / "names"))
    ids = [{**row, "label": [TOPICS.index(topic) for topic in row["label"]]} for row in rows]
    declared = datasets.Sequence(datasets.ClassLabel(names=list(TOPICS)))
    features = datasets.Features({"sentence1": datasets.Value("string"), "label": declared})
    datasets.Dataset.from_list(ids, features).save_to_disk(str(tmp_path / "ids"))
    flags = in_columns(rows, True, False)
    tasks = [
        load(path=tmp_path / "folder"),
        load(path=tmp_path / "names"),
        load(path=tmp_path / "ids"),
        load(path=write_jsonl(tmp_path / "lists.jsonl", rows)),
        load(path=write_parquet(tmp_path / "lists.parquet", rows), kind="multi_label"),
        load(path=write_separated(tmp_path / "flags.csv", in_columns(rows)), label=TOPICS),
        load(path=write_separated(tmp_path / "words.csv", flags), label=TOPICS, kind="multi_label"),
        load(path=write_separated(tmp_path / "decimals.csv", in_columns(rows, "1.0", "0.0")), label=TOPICS),
        load(path=write_parquet(tmp_path / "flags.parquet", flags), label=TOPICS),
    ]
    assert {task.digest for task in tasks} == {tasks[0].digest}
    assert {(task.kind, task.labels, task.metrics, task.notes) for task in tasks} == {
        ("multi_label", TOPICS, ("f1_micro",), ())
    }
    train = tasks[0].splits["train"]
    had = dict(zip(train.first, train.labels, strict=True))
    expected = [(0, 0, 0), (0, 1, 0), (1, 0, 1), (0, 0, 1)]
    assert all(had[f"ticket {i}"] == expected[i % 4] for i in range(80) if f"ticket {i}" in had)


def test_cuts_take_the_smallest_keys_whatever_the_labels(tmp_path: Path) -> None:
    task = load(path=write_jsonl(tmp_path / "one.jsonl", topical(400)))
    report = task.splits["test"].keys
    assert report.max() < min(task.splits[part].keys.min() for part in SPLITS if part != "test")


BAD_LISTS: dict[str, str] = {
    '{"sentence1": "a", "label": "access"}': "column `label`: expected a list of labels, empty where there is none, "
    "found 'access'",
    '{"sentence1": "a"}': "column `label`: the labels are missing; a row that has none has the empty list",
    '{"sentence1": "a", "label": ["acess"]}': "column `label`: 'acess' is not one of the labels access, billing",
    '{"sentence1": "a", "label": [null]}': "column `label`: the label is missing",
    '{"sentence1": "a", "label": [["access"]]}': "column `label`: expected one label, found the list ['access']",
    '{"sentence1": "a", "label": [0, 1, 0]}': "column `label`: expected a list of different labels, found [0, 1, 0]",
}


@pytest.mark.parametrize("line", BAD_LISTS)
def test_a_bad_list_is_named_by_file_row_and_column(tmp_path: Path, line: str) -> None:
    path = write_jsonl(tmp_path / "one.jsonl", topical())
    with path.open("a") as file:
        file.write(line + "\n")
    assert f"{path}, row 81, {BAD_LISTS[line]}" in message(path=path, kind="multi_label", labels=TOPICS)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("2", "expected 0 or 1, or false or true, found '2'"),
        ("", "the label is missing; expected 0 or 1"),
        ("-1", "the label is missing: -1 marks a row without one; expected 0 or 1"),
    ],
)
def test_a_bad_flag_is_named_by_file_row_and_column(tmp_path: Path, cell: str, said: str) -> None:
    rows = [*in_columns(topical()), {"sentence1": "a", "access": 0, "billing": cell, "product": 1}]
    path = write_separated(tmp_path / "one.csv", rows)
    assert f"{path}, row 81, column `billing`: {said}" in message(path=path, label=TOPICS)


def test_what_is_declared_wrongly_is_named(tmp_path: Path) -> None:
    lists = write_jsonl(tmp_path / "lists.jsonl", topical())
    flags = write_separated(tmp_path / "flags.csv", in_columns(topical()))
    assert "a list of columns under `label` makes a multi_label task; `kind` says regression" in message(
        path=flags, label=TOPICS, kind="regression"
    )
    assert "two or more labels, found access; a single column" in message(path=flags, label=("access",))
    assert "no column `acess` among sentence1, access" in message(path=flags, label=("acess", "billing"))
    assert "a column is named twice" in message(path=flags, label=("access", "access"))
    assert "name the labels, access, billing; remove a, b" in message(
        path=flags, label=("access", "billing"), labels=("a", "b")
    )
    assert "csv and tsv cannot hold lists: name a column of 0 and 1" in message(
        path=flags, label="access", kind="multi_label"
    )
    assert "expected one label, found the list []" in message(path=lists, kind="classification")
    assert "`f1` is not a metric of multi_label tasks; there are f1_micro, accuracy, f1_macro" in message(
        path=lists, metrics=("f1",)
    )
    numbers = write_jsonl(tmp_path / "numbers.jsonl", [{"sentence1": f"t {i}", "label": [0.5, i]} for i in range(60)])
    assert "row 1, column `label`: expected a list of labels, found [0.5, 0] (also row 2" in message(path=numbers)


def test_labels_that_do_not_vary_are_said_and_if_none_does_refused(tmp_path: Path) -> None:
    rows = [{"sentence1": row["sentence1"], "label": [*row["label"], "always"]} for row in topical()]
    path = write_jsonl(tmp_path / "one.jsonl", rows)
    task = load(path=path, labels=(*TOPICS, "always", "never", "nowhere"))
    assert task.notes == ("no training row has the labels never, nowhere", "every training row has the label always")
    constant = write_jsonl(tmp_path / "two.jsonl", [{**row, "label": ["b", "a"]} for row in rows])
    assert "training rows have the label a, b: nothing to learn" in message(path=constant)
    empty = write_jsonl(tmp_path / "three.jsonl", [{**row, "label": []} for row in rows])
    assert "training rows have the label none: nothing to learn" in message(path=empty, labels=TOPICS)


def test_a_test_file_without_labels_is_ignored_and_one_with_empty_sets_is_not(tmp_path: Path) -> None:
    held = {
        "train": write_separated(tmp_path / "train.csv", in_columns(topical())),
        "validation": write_separated(tmp_path / "validation.csv", in_columns(topical(20, "dev"))),
    }
    hidden = write_separated(tmp_path / "hidden.csv", in_columns(topical(20, "test"), -1, -1))
    shown = write_separated(tmp_path / "shown.csv", in_columns(topical(20, "test")))
    [note] = load(files={**held, "test": hidden}, label=TOPICS).notes
    assert "hidden.csv has no labels: ignored" in note
    task = load(files={**held, "test": shown}, label=TOPICS)
    assert (task.notes, task.splits["test"].labels[0]) == ((), (0, 0, 0))


def test_labels_are_kept_as_a_matrix(tmp_path: Path) -> None:
    task = load(path=write_jsonl(tmp_path / "one.jsonl", topical()))
    for _ in range(2):  # encoded, then read back
        split = encode_tasks({"one": task}, MODEL, tmp_path / "cache")["one"].splits["train"]
        assert isinstance(split.labels.base, np.memmap)
        assert (split.labels.dtype, split.labels.shape) == (np.uint8, (len(split), 3))
        assert [tuple(row) for row in split.labels.tolist()] == list(task.splits["train"].labels)


def words_task(rows: int = 240) -> EncodedTask:
    """Three labels: a word under 8 is there, one of 8 to 11, and one of 12 to 15."""
    rng, bounds = np.random.default_rng(0), ((3, 8), (8, 12), (12, 16))

    def split(count: int) -> EncodedSplit:
        bodies = rng.integers(3, 40, (count, 7))
        tokens = np.insert(bodies, 0, 1, axis=1).ravel().astype(np.int32)
        labels = np.stack([((bodies >= low) & (bodies < high)).any(axis=1) for low, high in bounds])
        offsets = np.arange(count + 1) * 8
        return EncodedSplit(tokens, np.zeros(len(tokens), np.uint8), offsets, labels.T.astype(np.uint8))

    splits = {part: split(rows if part == "train" else 60) for part in SPLITS}
    return EncodedTask("words", "multi_label", ("a", "b", "c"), ("f1_micro", "f1_macro", "accuracy"), splits, "w")


def test_the_loss_is_the_mean_cross_entropy_of_all_labels_of_a_step() -> None:
    task = words_task(8)
    batch = Collate(0, 16, torch.device("cpu"))(task, "train", np.array([5, 2]))
    assert batch.scored == 6
    assert batch.labels.tolist() == task.splits["train"].labels[[5, 2]].tolist()
    head = MultiLabelHead(4, task, 0.0)
    outputs = torch.tensor([[0.0, 2.0, -1.0], [3.0, 0.0, 0.5]])
    labels = torch.tensor([[1, 0, 0], [1, 1, 0]], dtype=torch.uint8)
    right = [0.5, 1 / (1 + np.exp(2.0)), 1 / (1 + np.exp(-1.0)), 1 / (1 + np.exp(-3.0)), 0.5, 1 / (1 + np.exp(0.5))]
    assert head.loss(outputs, labels).item() / labels.numel() == pytest.approx(-np.mean(np.log(right)), rel=1e-6)
    assert head.predict(outputs).tolist() == [[0, 1, 0], [1, 0, 1]]


def test_a_task_is_trained_scored_and_its_predictions_kept(tmp_path: Path) -> None:
    task = words_task()
    recipe = single("words", steps=200, batch_size=16, evaluate_every=100, checkpoint_every=60)
    recipe = replace(recipe, test=("words",), model=replace(MODEL, pooling="mean"))
    report = finish(start(recipe, tmp_path, tasks={"words": task}, base=BASE))
    with np.load(tmp_path / "predictions.npz", allow_pickle=False) as file:
        labels, predictions, rows, names = (file[f"words/{key}"] for key in ("labels", "predictions", "rows", "names"))
    assert (labels == task.splits["test"].labels).all() and predictions.shape == (60, 3)
    assert set(np.unique(predictions)) == {0, 1} and rows.tolist() == list(range(60)) and names.tolist() == list("abc")
    assert report.test["words"] == {metric: score(metric, labels, predictions) for metric in task.metrics}
    share = labels.mean(axis=0)  # what saying "yes" to all, the best constant, would score
    assert report.test["words"]["f1_micro"] > 2 * share.sum() / (share.sum() + 3)
