"""``auxtune predict``: lines for rows, in both formats, of every kind, and errors that say what to do."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from saved_models import Saved, inputs_of, save_trained

from auxtune.orchestrator import cli
from auxtune.trials import load_model

TASKS = ("single", "pair", "value", "tags", "sets")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    return save_trained(tmp_path_factory.mktemp("model"), "bert")


def predict(saved: Saved, *arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(cli.main, ["predict", str(saved.folder), *arguments], input=given)


def rows_of(saved: Saved, task: str, folder: Path) -> Path:
    """A file of the task's test rows, named as in training, with a column more."""
    columns = saved.tasks[task].text
    path = folder / f"{task}.jsonl"
    rows = ([each] if len(columns) == 1 else each for each in inputs_of(saved.tasks[task]))
    path.write_text("".join(json.dumps({**dict(zip(columns, row, strict=True)), "more": 1}) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("task", TASKS)
def test_json_lines_are_what_python_says(saved: Saved, tmp_path: Path, task: str) -> None:
    kind = saved.tasks[task].kind
    asked = ["--probabilities"] if kind != "regression" else []
    result = predict(saved, "--task", task, str(rows_of(saved, task, tmp_path)), "--device", "cpu", *asked)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    said = list(load_model(saved.folder, "cpu").predict(task, inputs_of(saved.tasks[task])))
    assert len(lines) == len(said) > 40
    for line, one in zip(lines, said, strict=True):
        assert line["prediction"] == (list(one.value) if isinstance(one.value, tuple) else one.value)
        if asked:
            known: Any = one.probabilities
            assert line["probabilities"] == (list(known) if isinstance(known, tuple) else known)


def test_csv_has_a_column_for_what_is_said(saved: Saved, tmp_path: Path) -> None:
    path = rows_of(saved, "single", tmp_path)
    said = list(load_model(saved.folder, "cpu").predict("single", inputs_of(saved.tasks["single"])))
    result = predict(saved, "--task", "single", str(path), "--format", "csv", "--probabilities")
    table = list(csv.DictReader(io.StringIO(result.stdout)))
    assert list(table[0]) == ["prediction", "probability few", "probability many"]
    assert [row["prediction"] for row in table] == [one.value for one in said]
    assert all(0 <= float(row["probability few"]) <= 1 for row in table)


def test_csv_of_sets_is_as_such_tasks_are_given_and_numbers_are_numbers(saved: Saved, tmp_path: Path) -> None:
    said = list(load_model(saved.folder, "cpu").predict("sets", inputs_of(saved.tasks["sets"])))
    result = predict(saved, "--task", "sets", str(rows_of(saved, "sets", tmp_path)), "--format", "csv")
    table = list(csv.DictReader(io.StringIO(result.stdout)))
    assert list(table[0]) == ["low", "high"]
    assert [tuple(label for label in row if row[label] == "1") for row in table] == [one.value for one in said]
    values = predict(saved, "--task", "value", str(rows_of(saved, "value", tmp_path)), "--format", "csv")
    assert [float(line) for line in values.stdout.splitlines()[1:]]


def test_other_names_of_columns_and_standard_input(saved: Saved, tmp_path: Path) -> None:
    pairs = list(inputs_of(saved.tasks["pair"]))
    given = "".join(json.dumps({"first": a, "last": b}) + "\n" for a, b in pairs)
    result = predict(saved, "--task", "pair", "--text", "first,last", "-", given=given)
    whole = predict(saved, "--task", "pair", str(rows_of(saved, "pair", tmp_path)))
    assert result.exit_code == 0 and result.stdout == whole.stdout
    refused = predict(saved, "--task", "pair", "--text", "first", "-", given=given)
    assert refused.exit_code == 2 and "expected as many columns as in training (a and b), found 1" in refused.stderr


def test_the_file_is_there_whole_or_not_at_all(saved: Saved, tmp_path: Path) -> None:
    path, out = tmp_path / "rows.csv", tmp_path / "out" / "said.csv"
    out.parent.mkdir()
    path.write_text("said\n" + "w1 w2\n" * 30 + "  \n")
    result = predict(saved, "--task", "single", str(path), "--out", str(out), "--batch-size", "8")
    assert result.exit_code == 2 and "rows.csv, line 32, column `said`: the text is empty" in result.stderr
    assert list(out.parent.iterdir()) == []
    path.write_text("said\n" + "w1 w2\n" * 30)
    assert predict(saved, "--task", "single", str(path), "--out", str(out), "--batch-size", "8").exit_code == 0
    assert len(out.read_text().splitlines()) == 31 and list(out.parent.iterdir()) == [out]


def test_ten_thousand_rows_are_answered_in_order(saved: Saved, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("said\n" + "".join(f"w{row % 30} w{row % 7}\n" for row in range(10_000)))
    result = predict(saved, "--task", "value", str(path), "--format", "csv")
    values = [float(line) for line in result.stdout.splitlines()[1:]]
    assert len(values) == 10_000
    assert values[:210] == pytest.approx(values[9_450:9_660], abs=1e-5)  # 210 is where the rows repeat
    assert len({round(value, 3) for value in values[:210]}) > 20


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--task", "sngle", "rows.csv"], "no head for a task 'sngle', it has single, pair"),
        (["rows.csv"], "the model has heads for single, pair, value, tags, sets; say which as --task"),
        (["--task", "value", "--probabilities", "rows.csv"], "a regression has no probabilities"),
        (["--task", "tags", "--format", "csv", "rows.jsonl"], "csv cannot hold; say --format jsonl"),
        (["--task", "single", "gone.csv"], "gone.csv: there is no such file"),
        (["--task", "single", "rows.csv", "--out", "no/such/folder.csv"], "cannot be written: No such file"),
        (["--task", "single", "--batch-size", "0", "rows.csv"], "0 is not in the range x>=1"),
    ],
)
def test_what_cannot_be_done_is_said(
    saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text("said\nw1\n")
    Path("rows.jsonl").write_text('{"tokens": ["w1"]}\n')
    result = predict(saved, *arguments)
    assert result.exit_code == 2 and said in result.stderr
    assert "Traceback" not in result.output


def test_a_folder_without_a_model_ends_with_2(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.main, ["predict", str(tmp_path), "rows.csv"])
    assert result.exit_code == 2 and "expected a folder that `auxtune export` wrote" in result.stderr


def test_doubtful_rows_are_told_beside_the_predictions(saved: Saved, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'said,more\n"w1\nw2",1\n' + b"w1 w2," + b"\xff\n" + b"w3 " * 50_000 + b",3\n")
    result = predict(saved, "--task", "single", str(path), "--format", "csv")
    assert result.exit_code == 0 and len(result.stdout.splitlines()) == 4
    assert "note: " in result.stderr and "1 quoted cell holds line breaks, in line 2" in result.stderr
    joined = tmp_path / "rows.tsv"
    joined.write_text('more\tsaid\n1\t"w1 w2\n2\tw3"\n')
    refused = predict(saved, "--task", "single", str(joined))
    assert refused.exit_code == 2 and "line 2: a quote joins 2 lines that have 2 cells each" in refused.stderr
