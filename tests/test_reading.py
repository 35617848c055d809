"""Rows from every kind of source, and what is said when they are wrong."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest
from written_rows import Row, write_jsonl, write_parquet, write_saved, write_separated

from auxtune.trials.data.sources import TaskSource
from auxtune.trials.data.tasks import Task, load_tasks
from auxtune.trials.errors import DataError

AWKWARD = ('say "cheese", please', "tab\there", "two\nlines", "NA", "naïve ½ ﬁsh", "'quoted'", "back\\slash")


def sentences(rows: int = 60, labels: Sequence[Any] = ("no", "yes")) -> list[Row]:
    return [
        {"review": f"{AWKWARD[i % len(AWKWARD)]} number {i}", "verdict": labels[i % len(labels)]} for i in range(rows)
    ]


WRITERS: dict[str, Callable[[Path, Sequence[Row]], Path]] = {
    "one.jsonl": write_jsonl,
    "one.csv": write_separated,
    "one.tsv": write_separated,
    "one.parquet": write_parquet,
    "saved": write_saved,
}
META = {"kind": "classification", "labels": ["no", "yes"], "metric": "accuracy", "pair": False}


def folder(path: Path, *, meta: Any = META, **files: Sequence[Row]) -> Path:
    for name, rows in files.items():
        write_jsonl(path / f"{name}.jsonl", rows)
    (path / "meta.json").write_text(json.dumps(meta))
    return path


def plain(rows: int, labels: Sequence[Any] = (0, 1), text: str = "plain") -> list[Row]:
    return [{"sentence1": f"{text} {i}", "sentence2": None, "label": labels[i % len(labels)]} for i in range(rows)]


def load(**source: Any) -> Task:
    return load_tasks([TaskSource("one", **source)])["one"]


def messages(**source: Any) -> tuple[str, ...]:
    with pytest.raises(DataError) as error:
        load(**source)
    return error.value.messages


def all_rows(task: Task) -> list[tuple[Any, ...]]:
    return [row for part in task.splits.values() for row in zip(part.first, part.labels, strict=True)]


@pytest.mark.parametrize("labels", [("no", "yes"), (0, 1), (1, 2, 10), (0.1, 2.5, 3.0), (True, False)])
def test_every_file_format_gives_the_same_task(tmp_path: Path, labels: tuple[Any, ...]) -> None:
    rows = sentences(labels=labels)
    typed = [row | {"verdict": str(row["verdict"]).lower()} for row in rows] if labels[0] is True else rows
    tasks = [
        load(path=write(tmp_path / name, typed if name.endswith("sv") else rows), text=("review",), label="verdict")
        for name, write in WRITERS.items()
    ]
    assert len(tasks) == 5
    assert {task.digest for task in tasks} == {tasks[0].digest}
    assert {task.kind for task in tasks} == {"regression" if labels[0] == 0.1 else "classification"}
    assert sorted(text for text, _ in all_rows(tasks[0])) == sorted(row["review"] for row in rows)


def test_named_files_and_a_folder_of_the_same_rows_are_the_same_task(tmp_path: Path) -> None:
    files = {"train": plain(60), "validation": plain(20, text="held out")}
    at = folder(tmp_path / "task", **files)
    named = load(files={part: at / f"{part}.jsonl" for part in files}, labels=("no", "yes"))
    assert named.digest == load(path=at).digest
    assert named.labels == ("no", "yes")


def test_a_hub_dataset_is_read_by_its_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    hub = tmp_path / "hub"
    for part, rows in {"train": plain(60), "validation": plain(20, text="held out")}.items():
        write_jsonl(hub / f"{part}.jsonl", [{key: row[key] for key in ("sentence1", "label")} for row in rows])
    task = load(hub=str(hub), labels=("no", "yes"))
    at = folder(tmp_path / "task", train=plain(60), validation=plain(20, text="held out"))
    assert task.digest == load(path=at).digest
    assert "train" in messages(hub=str(hub), split="trian")[0]


def test_a_saved_dataset_declares_its_classes_and_hides_its_test_labels(tmp_path: Path) -> None:
    features = datasets.Features(
        {"sentence1": datasets.Value("string"), "label": datasets.ClassLabel(names=["5", "3", "1"])}
    )
    splits = {
        "train": [{"sentence1": f"train {i}", "label": i % 3} for i in range(60)],
        "validation": [{"sentence1": f"validation {i}", "label": i % 3} for i in range(12)],
        "test": [{"sentence1": f"test {i}", "label": -1} for i in range(12)],
        "extra": [{"sentence1": "extra", "label": 0}],
    }
    saved = datasets.DatasetDict({part: datasets.Dataset.from_list(rows, features) for part, rows in splits.items()})
    saved.save_to_disk(str(tmp_path / "saved"))
    task = load(path=tmp_path / "saved")
    assert task.labels == ("5", "3", "1")
    assert ("train 4", 1) in all_rows(task)
    assert task.splits["test"].first[0] == "validation 0"
    assert any("test has no labels: ignored" in note for note in task.notes)
    assert any("extra" in note for note in task.notes)


def test_tags_of_a_saved_dataset_are_its_declared_classes(tmp_path: Path) -> None:
    tag = datasets.ClassLabel(names=["X", "A"])
    words = datasets.Sequence(datasets.Value("string"))
    features = datasets.Features({"tokens": words, "tags": datasets.Sequence(tag)})
    rows = [{"tokens": [f"w{i}", "x"], "tags": [1, 0]} for i in range(40)]
    datasets.Dataset.from_list(rows, features).save_to_disk(str(tmp_path / "saved"))
    task = load(path=tmp_path / "saved")
    assert (task.kind, task.labels) == ("token", ("X", "A"))
    assert (("w7", "x"), (1, 0)) in all_rows(task)


@pytest.mark.parametrize(
    ("labels", "kind", "names", "is_said"),
    [
        (("b", "a"), "classification", ("a", "b"), False),
        ((10, 9, 1), "classification", ("1", "9", "10"), True),
        ((1.0, 2.0), "classification", ("1", "2"), True),
        ((1, 2.5), "regression", (), False),
    ],
)
def test_the_kind_is_read_off_the_labels(
    tmp_path: Path, labels: tuple[Any, ...], kind: str, names: tuple[str, ...], is_said: bool
) -> None:
    task = load(path=write_jsonl(tmp_path / "one.jsonl", plain(60, labels)))
    assert (task.kind, task.labels) == (kind, names)
    assert any("integers" in note for note in task.notes) == is_said


def test_the_study_wins_over_meta_json_which_wins_over_the_rows(tmp_path: Path) -> None:
    meta = {"kind": "classification", "labels": ["no", "yes"], "metric": "accuracy, f1", "pair": False}
    at = folder(tmp_path / "task", meta=meta, train=plain(60))
    assert (load(path=at).labels, load(path=at).metrics) == (("no", "yes"), ("accuracy", "f1"))
    values = load(path=at, kind="regression", metrics=("pearson",))
    assert (values.labels, values.metrics, values.splits["train"].labels[0]) == ((), ("pearson",), 0.0)
    renamed = load(path=at, labels=("bad", "good"), metrics=("matthews",))
    assert (renamed.labels, renamed.metrics) == (("bad", "good"), ("matthews",))


def test_integers_are_names_where_labels_are_called_by_integers(tmp_path: Path) -> None:
    at = write_jsonl(tmp_path / "one.jsonl", plain(60, (1, 2)))
    assert set(load(path=at, labels=("2", "1")).splits["train"].labels) == {0, 1}
    assert ("plain 0", 1) in all_rows(load(path=at, labels=("2", "1")))
    assert "0" in messages(path=write_jsonl(tmp_path / "two.jsonl", plain(60)), labels=("1", "2"))[0]


def test_a_pair_needs_both_sentences(tmp_path: Path) -> None:
    rows = [row | {"sentence2": "other"} for row in plain(60)]
    at = write_jsonl(tmp_path / "pairs.jsonl", rows)
    task = load(path=at)
    assert task.pair
    assert task.splits["train"].second is not None
    [message] = messages(path=write_jsonl(at, [*rows, *plain(1)]))
    assert "row 61, column `sentence2`: the text is missing" in message


def test_an_unlabelled_test_file_is_ignored_and_said(tmp_path: Path) -> None:
    files = {"train": plain(60), "validation": plain(10, text="dev")}
    without = load(path=folder(tmp_path / "a", **files))
    hidden = load(path=folder(tmp_path / "b", **files, test=plain(10, (-1,), text="test")))
    absent = load(path=folder(tmp_path / "c", **files, test=[{"sentence1": "test"}]))
    assert without.digest == hidden.digest == absent.digest
    assert without.notes == ()
    assert all("test.jsonl has no labels: ignored" in task.notes[0] for task in (hidden, absent))


def test_ten_thousand_rows_are_read_in_a_second_or_two(tmp_path: Path) -> None:
    words = "a sentence of about the usual length, with some twenty words in it, to make the reader work as it must"
    at = folder(tmp_path / "task", train=plain(10_000, text=words), validation=plain(1_000, text="held out"))
    start = time.process_time()
    load(path=at)
    assert time.process_time() - start < 3


def test_every_built_in_task_loads() -> None:
    from auxtune.trials.builtin import BUILTIN

    tasks = load_tasks([TaskSource(name, builtin=name) for name in BUILTIN])
    assert tuple(tasks) == BUILTIN
    assert BUILTIN[0] in messages(builtin=BUILTIN[0] + "x")[0]


@pytest.mark.skipif("AUXTUNE_DATA" not in os.environ, reason="AUXTUNE_DATA names no folder of real tasks")
def test_real_tasks_keep_every_row_that_does_not_leak() -> None:
    folders = sorted(path for path in Path(os.environ["AUXTUNE_DATA"]).iterdir() if path.is_dir())
    tasks = load_tasks([TaskSource(path.name, path=path) for path in folders])
    assert len(tasks) >= 10
    for path in folders:
        meta = json.loads((path / "meta.json").read_text())
        task = tasks[path.name]
        rows = {part: len(examples) for part, examples in task.splits.items()}
        assert task.kind == meta["kind"]
        assert rows["test"] == meta["rows"]["validation"]
        left_out = sum(task.dropped.values()) + sum(task.shared.values())
        assert sum(rows.values()) + left_out == meta["rows"]["train"] + meta["rows"]["validation"]
