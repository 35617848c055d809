"""Cells that formats hold differently: line breaks, long texts, bytes that are not UTF-8, decimals."""

from __future__ import annotations

import csv
import datetime
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from written_rows import FILES, FORMATS, labelled, task_of, write_separated

from auxtune.trials.data.rows import stream_inputs
from auxtune.trials.data.sources import TaskSource, read_table
from auxtune.trials.data.tasks import Task, load_tasks
from auxtune.trials.errors import DataError

UNQUOTED = "label\ttext\n" + "".join(f"{'no' if i % 2 else 'yes'}\tthe bird {i} sings\n" for i in range(60))
JOINED = 'yes\t"the bird sings\nno\tthe sky"\n'


def load(path: Path, **source: Any) -> Task:
    return load_tasks([TaskSource("one", path=path, **({"text": ("text",), "label": "label"} | source))])["one"]


def refusal(path: Path, **source: Any) -> str:
    with pytest.raises(DataError) as error:
        load(path, **source)
    return str(error.value)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("more", ["", "\tid"])  # a cell behind the one that the quotation ends in
def test_rows_of_a_tsv_file_joined_by_a_quotation_are_refused(tmp_path: Path, end: str, more: str) -> None:
    lines = (UNQUOTED + JOINED + UNQUOTED.split("\n", 1)[1]).splitlines()
    numbered = [line + more.replace("id", str(number)) for number, line in enumerate(lines)]
    path = write(tmp_path / "one.tsv", end.join(numbered) + end)
    said = refusal(path)
    cells = 3 if more else 2
    assert f"one.tsv, row 61: a quote joins 2 lines that have {cells} cells each" in said and "jsonl" in said
    with pytest.raises(DataError, match=r"one\.tsv, line 62: a quote joins 2 lines"):
        list(stream_inputs(path, ("text",), words=False))


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_cells_with_line_breaks_are_read_and_counted(tmp_path: Path, ending: str) -> None:
    rows = labelled(["no", "yes"] * 40)
    rows[4] = {"text": "two\nlines, and\ta tab", "label": "no"}
    rows[9] = {"text": "three\r\nmore\nlines", "label": "yes"}
    path = write_separated(tmp_path / f"one.{ending}", rows)
    task = load(path)
    assert sum(len(part) for part in task.splits.values()) == 80
    [note] = task.notes
    assert f"one.{ending}: 2 quoted cells hold line breaks, the first in row 5; if these are rows joined by" in note
    said: list[str] = []
    texts = list(stream_inputs(path, ("text",), words=False, notice=said.append))
    assert texts == [row["text"] for row in rows]
    assert len(said) == 1 and "2 quoted cells hold line breaks, the first in line 6" in said[0]


def test_rows_of_a_csv_file_joined_by_a_quotation_are_said(tmp_path: Path) -> None:
    path = write(tmp_path / "one.csv", (UNQUOTED + JOINED).replace("\t", ","))
    assert "1 quoted cell holds line breaks, in row 61" in load(path).notes[0]


@pytest.mark.parametrize("form", FORMATS)
def test_a_cell_may_be_as_long_as_it_is(tmp_path: Path, form: str) -> None:
    rows = labelled(["no", "yes"] * 40)
    rows[7] = {"text": "word " * 60_000, "label": "yes"}
    task = task_of(tmp_path, form, {"train": rows})
    assert max(len(text) for part in task.splits.values() for text in part.first) == 300_000
    if form in FILES:
        path = tmp_path / f"train.{form}"
        csv.field_size_limit(131_072)  # whatever another library has set meanwhile
        assert max(map(len, stream_inputs(path, ("text",), words=False))) == 300_000


def with_bad_byte(folder: Path, form: str, column: str) -> Path:
    """Rows with three columns of which one has a byte in row 11 that is not UTF-8."""
    rows = [{"text": f"text {i}", "label": ["no", "yes"][i % 2], "note": f"note {i}"} for i in range(80)]
    rows[10][column] = "caf@"
    if form in ("parquet", "saved"):
        arrays = {name: [row[name].encode().replace(b"@", b"\xe9") for row in rows] for name in rows[0]}
        table = pyarrow.table(
            {name: pyarrow.array(cells, pyarrow.binary()).view(pyarrow.string()) for name, cells in arrays.items()}
        )
        if form == "saved":
            datasets.Dataset(table).save_to_disk(str(folder / "saved"))
            return folder / "saved"
        parquet.write_table(table, folder / "one.parquet")
        return folder / "one.parquet"
    path = FILES[form](folder / f"one.{form}", rows)
    return write(path, path.read_bytes().replace(b"@", b"\xe9"))


@pytest.mark.parametrize("form", FORMATS)
def test_only_the_columns_that_a_study_names_must_be_utf8(tmp_path: Path, form: str) -> None:
    path = with_bad_byte(tmp_path, form, "note")
    assert load(path).labels == ("no", "yes")
    if form in FILES:
        assert len(list(stream_inputs(path, ("text",), words=False))) == 80


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("column", ["text", "label"])
def test_a_byte_that_is_not_utf8_is_named_by_file_row_and_column(tmp_path: Path, form: str, column: str) -> None:
    path = with_bad_byte(tmp_path, form, column)
    said = refusal(path)
    assert str(path) in said and f"row 11, column `{column}`" in said and "UTF-8" in said
    said.encode()  # can be printed
    if form in FILES and column == "text":
        with pytest.raises(DataError, match=r"(row 11|line 1[12]), column `text`: .*UTF-8"):
            list(stream_inputs(path, ("text",), words=False))


def test_other_encodings_and_bad_names_of_columns_are_told(tmp_path: Path) -> None:
    assert "line 1: not UTF-8 text (it begins as UTF-16 does)" in refusal(
        write(tmp_path / "one.csv", "text,label\na,b\n".encode("utf-16"))
    )
    assert "line 1: not UTF-8 text; save" in refusal(write(tmp_path / "two.csv", b"text,label,caf\xe9\na,b,c\n"))


NUMBERS: dict[str, Sequence[Any]] = {
    "decimal": [Decimal("13.80"), Decimal("2.50"), Decimal("7.25")],
    "half": np.array([13.8, 2.5, 7.25], np.float16),
    "single": np.array([13.8, 2.5, 7.25], np.float32),
}


@pytest.mark.parametrize("kind", [None, "regression"])
@pytest.mark.parametrize("form", ["parquet", "saved"])
@pytest.mark.parametrize("width", NUMBERS)
def test_numbers_of_every_width_are_values(tmp_path: Path, width: str, form: str, kind: Any) -> None:
    cells = [NUMBERS[width][i % 3] for i in range(90)]
    table = pyarrow.table({"text": [f"text {i}" for i in range(90)], "label": pyarrow.array([*cells[:89], None])})
    path = tmp_path / f"one.{form}"
    if form == "saved":
        datasets.Dataset(table).save_to_disk(str(path))
    else:
        parquet.write_table(table, path)
    assert "row 90, column `label`: the label is missing" in refusal(path, kind=kind)
    task = load(path, kind=kind, missing="drop")
    assert task.kind == "regression"
    values = {label for part in task.splits.values() for label in part.labels}
    assert sorted(values) == pytest.approx([2.5, 7.25, 13.8], abs=0.01)


def test_whole_decimals_are_classes_and_dates_are_neither(tmp_path: Path) -> None:
    path = tmp_path / "one.parquet"
    cells: list[Any] = [Decimal(i % 2) for i in range(80)]
    parquet.write_table(pyarrow.table({"text": [f"t {i}" for i in range(80)], "label": cells}), path)
    assert load(path).labels == ("0", "1")
    cells = [datetime.date(2024, 1, 1 + i % 2) for i in range(80)]
    parquet.write_table(pyarrow.table({"text": [f"t {i}" for i in range(80)], "label": cells}), path)
    assert "row 1, column `label`: expected text or a number, found date" in refusal(path)


def test_columns_of_parquet_are_made_when_they_are_asked_for(tmp_path: Path) -> None:
    table = read_table(with_bad_byte(tmp_path, "parquet", "note"))
    assert (len(table), list(table.columns), "note" in table.columns, "gone" in table.columns) == (
        80,
        ["text", "label", "note"],
        True,
        False,
    )
    assert table.columns["text"][79] == "text 79" and table.columns["text"] is table.columns["text"]
    with pytest.raises(KeyError):
        table.columns["gone"]
    with pytest.raises(DataError, match=r"one\.parquet, row 11, column `note`: not UTF-8 text"):
        table.columns["note"]
