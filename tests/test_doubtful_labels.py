"""Labels that say something else than their letters: hidden, missing, misspelt, or no classes at all."""

from __future__ import annotations

import doctest
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest
from written_rows import FORMATS, TYPED, labelled, task_of, write_jsonl

from auxtune.trials.data import IGNORED, cells
from auxtune.trials.data.sources import TaskSource
from auxtune.trials.data.tasks import load_tasks
from auxtune.trials.errors import DataError

NAMES = ("contra", "entail", "neutral")


def mess(folder: Path, form: str, parts: dict[str, Any], **source: Any) -> str:
    with pytest.raises(DataError) as error:
        task_of(folder, form, parts, **source)
    return str(error.value)


def shown(folder: Path, form: str, names: Sequence[Any], **source: Any) -> str:
    return "\n".join(task_of(folder, form, {"train": labelled(names)}, **source).warnings)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("ids", [(0, 1, 2), ("0", "1", "2"), (0.0, 1.0, 2.0)])
def test_an_id_means_a_class_only_where_an_order_is_declared(tmp_path: Path, form: str, ids: tuple[Any, ...]) -> None:
    parts = {"train": labelled(NAMES * 30), "validation": labelled(ids * 5, "held out")}
    said = mess(tmp_path, form, parts)
    assert "row 1, column `label`" in said and "validation" in said and "under `labels`" in said
    declared = ("neutral", "contra", "entail")
    task = task_of(tmp_path, form, parts, labels=declared)
    assert task.splits["test"].labels == (0, 1, 2) * 5
    assert task.splits["train"].labels[0] == declared.index(str(NAMES[int(task.splits["train"].first[0][5:]) % 3]))
    outside = {"train": labelled(NAMES * 30), "validation": labelled((*ids, type(ids[0])(3)) * 5, "held out")}
    assert "row 4, column `label`: 3" in mess(tmp_path, form, outside, labels=declared).replace("'", "")


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize("kind", [None, "classification"])
def test_ids_among_names_are_refused_by_row(tmp_path: Path, form: str, kind: Any) -> None:
    said = mess(tmp_path, form, {"train": labelled(("no", "yes", "no", "yes", 1) * 12)}, kind=kind)
    assert "row 5, column `label`: found the number 1 where other rows have" in said


def test_the_examples_in_the_docstrings_run() -> None:
    assert doctest.testmod(cells) == (0, 1)


def test_a_number_that_no_class_is_called_by_is_no_id(tmp_path: Path) -> None:
    parts = {"train": labelled((1, 2, 3) * 30), "validation": labelled((0, 1, 2) * 5, "held out")}
    said = mess(tmp_path, "jsonl", parts)
    assert "row 1, column `label`: 0 is not one of the labels 1, 2, 3; correct it" in said


def test_ids_and_flags_are_known_in_every_spelling(tmp_path: Path) -> None:
    parts = {"train": labelled(("0", "1") * 30), "validation": labelled(("0.0", "1.0") * 5, "held out")}
    assert task_of(tmp_path, "csv", parts).splits["test"].labels == (0, 1) * 5
    parts = {"train": labelled(("True", "False") * 30), "validation": labelled(("true", "FALSE") * 5, "held out")}
    assert task_of(tmp_path, "csv", parts).splits["test"].labels == (1, 0) * 5


@pytest.mark.parametrize("form", TYPED)
@pytest.mark.parametrize("tags", [(0, 1, IGNORED), ("O", "B-x", str(IGNORED)), (0.0, 1.0, float(IGNORED))])
def test_a_word_tagged_minus_100_is_not_scored(tmp_path: Path, form: str, tags: tuple[Any, ...]) -> None:
    rows = [{"tokens": [f"w{i}", "x", "y"], "tags": list(tags)} for i in range(80)]
    task = task_of(tmp_path, form, {"train": rows}, tokens="tokens", tags="tags")
    assert len(task.labels) == 2 and str(IGNORED) not in task.labels
    assert all(label[2] == IGNORED and label[0] != IGNORED for label in task.splits["train"].labels)
    [note] = [note for note in task.notes if "-100" in note]
    assert f"train {len(task.splits['train'])} of {3 * len(task.splits['train'])}" in note


def test_declared_tags_keep_the_mark_and_a_missing_tag_is_an_error(tmp_path: Path) -> None:
    tag = datasets.ClassLabel(names=["O", "B-x"])
    words = datasets.Sequence(datasets.Value("string"))
    features = datasets.Features({"tokens": words, "tags": datasets.Sequence(datasets.Value("int64"))})
    rows = [{"tokens": [f"w{i}", "x", "y"], "tags": [0, 1, IGNORED]} for i in range(80)]
    declared = datasets.Features({"tokens": words, "tags": datasets.Sequence(tag)})
    table = datasets.Dataset.from_list(rows, features).data.table
    datasets.Dataset(table, info=datasets.DatasetInfo(features=declared)).save_to_disk(str(tmp_path / "saved"))
    task = load_tasks([TaskSource("one", path=tmp_path / "saved")])["one"]
    assert task.labels == ("O", "B-x")
    assert set(task.splits["train"].labels) == {(0, 1, IGNORED)}
    for missing in (None, math.nan):
        said = mess(
            tmp_path,
            "jsonl",
            {"train": [*rows, {"tokens": ["a", "b"], "tags": [0, missing]}]},
            tokens="tokens",
            tags="tags",
        )
        assert "row 81, column `tags`: a word's tag is missing; -100 marks a word that is not scored" in said


def test_marks_are_no_labels_and_words_without_tags_teach_nothing(tmp_path: Path) -> None:
    rows = [{"tokens": [f"w{i}", "x"], "tags": ["O", IGNORED]} for i in range(80)]
    columns = {"tokens": "tokens", "tags": "tags"}
    assert "labels: -100 marks what is not scored" in mess(
        tmp_path, "jsonl", {"train": rows}, labels=("O", "B-x", "-100"), **columns
    )
    assert "labels: -100 marks what is not scored" in mess(
        tmp_path, "jsonl", {"train": rows}, labels=("O", "B-x", "-100.0"), **columns
    )
    assert "all words of 30 training rows have the tag O" in mess(
        tmp_path, "jsonl", {"train": rows}, labels=("O", "B-x"), **columns
    )
    bare = [{"tokens": [f"v{i}", "x"], "tags": [IGNORED, "O"] if i else [IGNORED, IGNORED]} for i in range(1)]
    good = [{"tokens": [f"w{i}", "x"], "tags": ["O", "B-x"]} for i in range(80)]
    parts = {"train": good, "validation": bare}
    assert "all words of test are tagged -100" in mess(tmp_path, "jsonl", parts, **columns)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("hidden", [-1, -1.0, "-1", "-1.0", None, "", math.nan, -100])
def test_a_test_file_without_labels_is_ignored_however_that_is_written(tmp_path: Path, form: str, hidden: Any) -> None:
    parts = {"train": labelled([0.5, 2.5, 4.0] * 40), "validation": labelled([1.5, 3.0] * 10, "dev")}
    hiding = parts | {"test": labelled([hidden] * 8, "test")}
    task = task_of(tmp_path, form, hiding, kind="regression")
    assert any("has no labels: ignored" in note for note in task.notes)
    assert task.digest == task_of(tmp_path, form, parts, kind="regression").digest


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("labels", "kind"), [([0.5, 2.5], "regression"), ([0, 1], None), (["no", "yes"], None)])
def test_a_test_file_with_some_labels_is_an_error_or_loses_the_others(
    tmp_path: Path, form: str, labels: list[Any], kind: Any
) -> None:
    hidden = -1 if not isinstance(labels[0], str) else "-1"
    parts = {"train": labelled(labels * 60), "test": labelled([*labels * 10, hidden, hidden], "test")}
    said = mess(tmp_path, form, parts, kind=kind)
    assert "row 21, column `label`: the label is missing: " in said and "(also row 22)" in said
    assert said.endswith("`missing: drop` leaves such rows out")
    task = task_of(tmp_path, form, parts, kind=kind, missing="drop")
    assert len(task.splits["test"]) == 20 and list(task.missing.values()) == [2]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", [None, "classification", "regression"])
@pytest.mark.parametrize("missing", [math.nan, None])
def test_nan_is_a_missing_label_and_never_a_class(tmp_path: Path, form: str, kind: Any, missing: Any) -> None:
    parts = {"train": labelled([0, 1, 1, missing, *[0, 1] * 40])}
    said = mess(tmp_path, form, parts, kind=kind)
    assert "row 4, column `label`: the label is missing; `missing: drop`" in said
    task = task_of(tmp_path, form, parts, kind=kind, missing="drop")
    assert task.labels == (() if kind == "regression" else ("0", "1"))
    assert sum(len(rows) for rows in task.splits.values()) == 83


@pytest.mark.parametrize("form", FORMATS)
def test_nan_as_text_is_missing_unless_it_is_declared(tmp_path: Path, form: str) -> None:
    parts = {"train": labelled(["no", "yes", "NaN", *["no", "yes"] * 40])}
    assert "row 3, column `label`: the label is missing" in mess(tmp_path, form, parts)
    assert task_of(tmp_path, form, parts, labels=("no", "yes", "NaN")).labels == ("no", "yes", "NaN")


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_no_number_among_fractions_is_named(tmp_path: Path, form: str) -> None:
    fractions = [f"{1 + i / 7:.2f}" for i in range(90)]
    parts = {"train": labelled([*fractions, "n/a", *fractions, "unknown"])}
    said = mess(tmp_path, form, parts)
    assert "row 91, column `label`: expected a number, as 180 rows have, found 'n/a'" in said
    assert "(also row 182)" in said and "`kind: classification`" in said
    assert "expected a number, found 'n/a'" in mess(tmp_path, form, parts, kind="regression") or form in TYPED
    assert "there are 92 classes in 182 rows" in shown(
        tmp_path, form, [*fractions, "n/a", *fractions, "unknown"], kind="classification"
    )


def test_text_among_numbers_of_jsonl_is_named_and_not_the_numbers(tmp_path: Path) -> None:
    said = mess(tmp_path, "jsonl", {"train": labelled([*range(1, 6)] * 12 + ["n/a"])})
    assert "row 61, column `label`: expected a number, as 60 rows have, found 'n/a'" in said


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([f"{i} kg" for i in range(5)], "row 1: the class '0 kg' looks like a number with a unit"),
        ([f"{i},5" for i in range(5)], "row 1: the class '0,5' looks like a number with a unit or a decimal comma"),
        ([f"${i}.50" for i in range(5)], "row 1: the class '$0.50' looks like a number with a unit"),
        ([f"{i} %" for i in range(5)], "row 1: the class '0 %' looks like a number with a unit"),
        ([*["1", "2", "3"] * 5, "lots"], "row 16: the class 'lots' is no number, as other rows have"),
        ([*["low", "high"] * 5, "7"], "row 11: the class '7' is a number where other rows have names"),
        ([f"user {i}" for i in range(120)], "there are 120 classes in 120 rows, such as 'user 0' in row 1"),
        ([f"{i}" for i in range(120)], "there are 120 classes in 120 rows, such as '0' in row 1"),
        (["no", "yes", "n/a"], "row 3: the class 'n/a' (40 rows) looks like a missing label"),
        (["yes", "no", "Yes", " no"], "the classes 'yes' (30), 'Yes' (30) differ only in letter case, spaces"),
        (["café", "tea", "cafe\u0301"], "differ only in letter case, spaces, hyphens or Unicode form"),
        (["not_so", "so", "not-so"], "the classes 'not_so' (40), 'not-so' (40) differ only"),
        (["['bad', 'late']", "['good']"], "row 1: the class \"['bad', 'late']\" looks like a list written as text"),
        (['["bad"]', "[]"], "row 1: the class '[\"bad\"]' looks like a list written as text"),
        (["good", "bad", "late", "bad, late"], "row 4: the class 'bad, late' looks like several of the other classes"),
        (["good", "bad", "bad|good"], "row 3: the class 'bad|good' looks like several of the other classes"),
    ],
)
def test_classes_that_were_hardly_meant_are_warned_of(tmp_path: Path, form: str, labels: list[str], said: str) -> None:
    repeated = labels * max(1, 120 // len(labels))
    assert said in shown(tmp_path, form, repeated)


@pytest.mark.parametrize(
    "labels",
    [
        ["no", "yes"],
        ["neutral", "none", "favor"],
        [str(i) for i in range(20)],
        ["O", "I-x", "I-y"],
        ["3D", "flat"] * 3 + ["flat"],
        ["USA", "UK"],
        ["not_a", "not_b"],
        ["1", "2", "10"],
    ],
)
def test_ordinary_classes_are_not_warned_of(tmp_path: Path, labels: list[str]) -> None:
    assert shown(tmp_path, "csv", labels * max(4, 120 // len(labels))) == ""


def test_declared_classes_are_meant_and_only_their_spelling_is_looked_at(tmp_path: Path) -> None:
    odd = ["n/a", "['x']", "7"]
    assert shown(tmp_path, "csv", odd * 40, labels=tuple(odd)) == ""
    assert "'n/a' (40), 'N/A' (40)" in shown(tmp_path, "csv", [*odd, "N/A"] * 40, labels=(*odd, "N/A"))
    assert shown(tmp_path, "csv", [f"{i} kg" for i in range(4)] * 30, kind="classification") == ""


def test_lists_of_labels_and_tags_are_looked_at_too(tmp_path: Path) -> None:
    rows = [{"text": f"t {i}", "label": [["late"], ["Late", "bad"], []][i % 3]} for i in range(90)]
    path = write_jsonl(tmp_path / "one.jsonl", rows)
    [warning] = load_tasks([TaskSource("one", path=path, text=("text",))])["one"].warnings
    assert "column `label`: the classes 'late' (30), 'Late' (30)" in warning
    tagged = [{"tokens": [f"w{i}", "x"], "tags": ["O", ["B-x", "b-x"][i % 2]]} for i in range(90)]
    task = task_of(tmp_path, "jsonl", {"train": tagged}, tokens="tokens", tags="tags")
    assert "column `tags`: the classes 'B-x' (45), 'b-x' (45)" in task.warnings[0]


@pytest.mark.parametrize("form", FORMATS)
def test_a_mark_among_values_is_warned_of_and_a_scale_below_zero_is_not(tmp_path: Path, form: str) -> None:
    [warning] = task_of(tmp_path, form, {"train": labelled([0.5, 2.5, -1.0] * 40)}).warnings
    assert "row 3: -1 (40 rows) is the only value below 0" in warning
    for scale in ([-1.0, 0.0, 1.0], [-0.5, -1.0, 0.5]):
        assert task_of(tmp_path, form, {"train": labelled(scale * 40)}, kind="regression").warnings == ()


@pytest.mark.parametrize("form", FORMATS)
def test_rows_without_text_or_label_are_dropped_where_that_is_asked_for(tmp_path: Path, form: str) -> None:
    train = [
        *labelled(["no", "yes"] * 60),
        {"text": "", "label": "no"},
        {"text": None, "label": "yes"},
        {"text": "   ", "label": "no"},
        {"text": "x", "label": None},
        {"text": None, "label": None},
    ]
    parts = {"train": train, "validation": [*labelled(["no", "yes"] * 10, "dev"), {"text": " ", "label": "no"}]}
    said = mess(tmp_path, form, parts)
    assert said.count("`missing: drop` leaves such rows out") == 3
    assert "row 121, column `text`: the text is empty (also row 122, 123, 125)" in said.replace("missing (", "empty (")
    task = task_of(tmp_path, form, parts, missing="drop")
    assert list(task.missing.values()) == [5, 1]
    assert sum(len(rows) for rows in task.splits.values()) == 140
    clean = {"train": train[:120], "validation": parts["validation"][:20]}
    assert task.digest == task_of(tmp_path, form, clean).digest
    assert sum("rows without text or label are left out" in note for note in task.notes) == 2


def test_dropping_does_not_hide_other_faults_nor_an_empty_file(tmp_path: Path) -> None:
    train = [*labelled(["no", "yes"] * 60), {"text": "", "label": "no"}]
    bad = [*train, {"text": 7, "label": "no"}]
    assert "row 122, column `text`: expected text, found 7" in mess(tmp_path, "jsonl", {"train": bad}, missing="drop")
    empty = {"train": train, "validation": [{"text": "", "label": "no"}]}
    assert "all 1 rows lack their text or their label" in mess(tmp_path, "jsonl", empty, missing="drop")
