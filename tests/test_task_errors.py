"""What is said of rows that cannot be used: file, row, column, what was expected, what was found."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from auxtune.trials.data.sources import TaskSource
from auxtune.trials.data.tasks import load_tasks
from auxtune.trials.errors import DataError

META = {"kind": "classification", "labels": ["no", "yes"], "metric": "accuracy", "pair": False}


def plain(rows: int, labels: Sequence[Any] = (0, 1)) -> list[dict[str, Any]]:
    return [{"sentence1": f"plain {i}", "sentence2": None, "label": labels[i % len(labels)]} for i in range(rows)]


def tagged(rows: int) -> list[dict[str, Any]]:
    return [{"tokens": [f"w{i}", "x"], "tags": ["A", "X"]} for i in range(rows)]


def write_jsonl(path: Path, rows: Sequence[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def folder(path: Path, train: Sequence[Any], meta: Any = META) -> Path:
    write_jsonl(path / "train.jsonl", train)
    (path / "meta.json").write_text(json.dumps(meta))
    return path


def messages(**source: Any) -> tuple[str, ...]:
    with pytest.raises(DataError) as error:
        load_tasks([TaskSource("one", **source)])
    return error.value.messages


BAD_LINES: dict[str, tuple[str, ...]] = {
    '{"sentence1": "a", "label": ': ("row 61: not JSON",),
    "[1, 2]": ("row 61: expected a JSON object, found list",),
    '{"sentence1": "  ", "label": 0}': ("row 61, column `sentence1`: the text is empty",),
    '{"sentence1": null, "label": 0}': ("row 61, column `sentence1`: the text is missing",),
    '{"sentence1": 7, "label": 0}': ("row 61, column `sentence1`: expected text, found 7",),
    '{"sentence1": "\\ud800", "label": 0}': ("row 61, column `sentence1`", "surrogate"),
    '{"sentence1": "a", "label": 2}': ("row 61, column `label`: 2 is not one of the labels no, yes",),
    '{"sentence1": "a", "label": "maybe"}': ("row 61, column `label`: 'maybe' is not one of the labels no, yes",),
    '{"sentence1": "a", "label": null}': ("row 61, column `label`: the label is missing",),
    '{"sentence1": "a", "label": [0]}': ("row 61, column `label`: expected one label, found the list [0]",),
}


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_bad_row_is_named_by_file_row_and_column(tmp_path: Path, line: str) -> None:
    at = folder(tmp_path / "task", train=plain(60))
    with (at / "train.jsonl").open("a") as file:
        file.write(line + "\n")
    [message] = messages(path=at)
    assert message.startswith(f"task one: {at / 'train.jsonl'}, row 61")
    assert all(part in message for part in BAD_LINES[line])


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("NaN", "the label is missing"),
        ("null", "the label is missing"),
        ('"nan"', "the label is missing"),
        ("Infinity", "expected a finite"),
        ("1e300", "expected a finite"),
        ('"high"', "expected a number"),
        ("true", "expected a number"),
        ('"3,5"', "found '3,5'; write the decimal point as a point"),
    ],
)
def test_a_value_that_is_no_finite_number_is_named(tmp_path: Path, value: str, said: str) -> None:
    at = folder(tmp_path / "task", train=plain(60, (0.5, 1)), meta={"kind": "regression"})
    with (at / "train.jsonl").open("a") as file:
        file.write(f'{{"sentence1": "a", "label": {value}}}\n')
    [message] = messages(path=at)
    assert "train.jsonl, row 61, column `label`: " in message and said in message


BAD_TAGS: dict[str, str] = {
    '{"tokens": ["a", "b"], "tags": ["A"]}': "row 41, column `tags`: expected 2 tags, one per word, found 1",
    '{"tokens": [], "tags": []}': "row 41, column `tokens`: there are no words",
    '{"tokens": ["a", ""], "tags": ["A", "A"]}': "row 41, column `tokens`: the text is empty",
    '{"tokens": "a b", "tags": ["A", "A"]}': "row 41, column `tokens`: expected a list of words, found 'a b'",
    '{"tokens": ["a"], "tags": "A"}': "row 41, column `tags`: expected a list of tags, found 'A'",
    '{"tokens": ["a"], "tags": ["B"]}': "row 41, column `tags`: 'B' is not one of the labels A, X",
}


@pytest.mark.parametrize("line", BAD_TAGS)
def test_a_bad_row_of_words_is_named(tmp_path: Path, line: str) -> None:
    at = folder(tmp_path / "task", train=tagged(40), meta={"kind": "token", "labels": ["A", "X"]})
    with (at / "train.jsonl").open("a") as file:
        file.write(line + "\n")
    [message] = messages(path=at)
    assert BAD_TAGS[line] in message


def test_many_bad_rows_are_one_message_with_a_count(tmp_path: Path) -> None:
    at = folder(tmp_path / "task", train=[*plain(60), *plain(9, (7,))])
    [message] = messages(path=at)
    assert "row 61, column `label`: 7 is not" in message
    assert message.endswith("(also row 62, 63, 64 and 5 more)")


def test_problems_of_all_columns_files_and_tasks_are_shown_at_once(tmp_path: Path) -> None:
    bad = folder(tmp_path / "bad", train=[*plain(60), *plain(1, (7,))])
    (bad / "validation.jsonl").write_text('{"sentence1": " ", "label": 9}\n')
    with pytest.raises(DataError) as error:
        load_tasks([TaskSource("a", path=bad), TaskSource("b", path=tmp_path / "nowhere")])
    assert [message.split(": ")[0] for message in error.value.messages] == ["task a", "task a", "task a", "task b"]
    places = (
        "train.jsonl, row 61, column `label`",
        "validation.jsonl, row 1, column `sentence1`",
        "validation.jsonl, row 1, column `label`",
        "nowhere",
    )
    assert all(place in message for place, message in zip(places, error.value.messages, strict=True))
    assert str(error.value).count("\n") == 3
    assert pickle.loads(pickle.dumps(error.value)).messages == error.value.messages  # our own bytes


def test_two_tasks_of_one_name_are_refused(tmp_path: Path) -> None:
    source = TaskSource("a", path=folder(tmp_path / "task", train=plain(60)))
    with pytest.raises(DataError, match="expected different names, found a, a"):
        load_tasks([source, source])


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    at = folder(tmp_path / "task", train=plain(60))
    assert "nowhere" in messages(path=tmp_path / "nowhere")[0]
    assert "exactly one of path" in messages()[0]
    assert "exactly one of path" in messages(path=at, hub="glue")[0]
    assert "did you mean `validation`?" in messages(files={"train": at / "train.jsonl", "validaton": at / "x.csv"})[0]
    assert "no `train`" in messages(files={"test": at / "train.jsonl"})[0]
    assert "name ending in" in messages(path=at / "meta.json")[0]
    [unknown] = messages(path=at, label="lable")
    assert "no column `lable` among sentence1, sentence2, label; did you mean `label`?" in unknown
    (at / "meta.json").unlink()
    (at / "train.jsonl").rename(at / "dev.jsonl")
    both = messages(path=at)
    assert ["train.jsonl" in both[0], "meta.json" in both[1]] == [True, True]


def test_what_is_declared_wrongly_is_named(tmp_path: Path) -> None:
    def said(meta: Any, **source: Any) -> str:
        return "\n".join(messages(path=folder(tmp_path / "task", meta=meta, train=plain(60)), **source))

    assert "expected a JSON object, found list" in said([])
    kinds = "classification, regression, token, multi_label"
    assert f"`kind` must be one of {kinds}, found 'tree'" in said(META | {"kind": "tree"})
    assert "`labels` must be a list of names, found 'no'" in said(META | {"labels": "no"})
    assert "`metric` must be names separated by commas, found 3" in said(META | {"metric": 3})
    assert "`pair` must be true or false, found 'no'" in said(META | {"pair": "no"})
    assert "`bleu` is not a metric of classification tasks; there are accuracy" in said(META | {"metric": "bleu"})
    assert "a name occurs twice" in said(META | {"labels": ["no", "no"]})
    assert "a regression has no labels" in said(META | {"kind": "regression"})
    assert "a token task has" in said(META, tokens="sentence1", tags="label")
    assert "expected one or two columns" in said(META, text=("a", "b", "c"))
    assert "named twice" in said(META, text=("sentence1",), label="sentence1")
    assert "no column `tokens`" in said(META | {"kind": "token"})
    (tmp_path / "task" / "meta.json").write_text("{")
    assert "meta.json: not JSON" in messages(path=tmp_path / "task")[0]


def test_a_second_sentence_is_not_dropped_silently(tmp_path: Path) -> None:
    rows = [row | {"sentence2": "other"} for row in plain(60)]
    assert "`pair` is false" in messages(path=folder(tmp_path / "task", train=rows))[0]


def test_a_task_needs_rows_and_two_classes(tmp_path: Path) -> None:
    empty, single = tmp_path / "empty.jsonl", write_jsonl(tmp_path / "single.jsonl", plain(60, ("a",)))
    empty.write_text("")
    assert "empty.jsonl: there are no rows" in messages(path=empty)[0]
    assert "at least two different labels, found a" in messages(path=single)[0]
    assert "all 24 training rows have the label a" in messages(path=single, labels=("a", "b"))[0]
    good = write_jsonl(tmp_path / "good.jsonl", plain(60))
    assert "empty.jsonl: there are no rows" in messages(files={"train": good, "test": empty})[0]


def test_text_among_numbers_is_an_error_and_not_a_class(tmp_path: Path) -> None:
    at = write_jsonl(tmp_path / "one.jsonl", [*plain(60, ("a", "b")), *plain(1, (3,))])
    assert "row 61, column `label`: found the number 3 where other rows have text" in messages(path=at)[0]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("review,verdict\na,1\nb\n", "row 2: expected 2 cells, found 1"),
        ('review,verdict\na,1\n"b"x,0\n', "row 2: ',' expected after '\"'"),
        ("review,review\na,1\n", "names a column twice"),
        ("", "the file is empty"),
        ("review,verdict\n", "there are no rows"),
    ],
)
def test_a_broken_csv_file_is_named_by_row(tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "one.csv").write_text(content)
    [message] = messages(path=tmp_path / "one.csv", text=("review",), label="verdict")
    assert "one.csv" in message
    assert expected in message


def test_files_that_are_not_what_their_name_says_are_named(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("review,verdict\nna\xefve,1\n".encode("latin-1"))
    (tmp_path / "one.parquet").write_bytes(b"nothing")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "dataset_dict.json").write_text("{}")
    assert (
        "latin.csv, row 1, column `review`: the text holds a byte that is not UTF-8"
        in messages(path=tmp_path / "latin.csv", text=("review",), label="verdict", labels=("0", "1"))[0]
    )
    assert "one.parquet: not a parquet file" in messages(path=tmp_path / "one.parquet")[0]
    assert "saved: not a saved dataset that can be read" in messages(path=tmp_path / "saved")[0]
