"""Rows to predict are read as they come, and the first bad one is named by file, line and column."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from auxtune.trials.data.rows import stream_inputs
from auxtune.trials.errors import DataError


def read(path: Path, *columns: str, words: bool = False) -> list[Any]:
    return list(stream_inputs(path, columns, words))


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    rows = [("one, and", "2"), ('a "quoted" one', "x\ny"), ("NA", "null")]
    csv_text = 'b,a,c\n2,"one, and",9\n"x\ny","a ""quoted"" one",9\nnull,NA,9\n'
    table = pa.table({"a": [a for a, _ in rows], "b": [b for _, b in rows], "c": [1, 2, 3]})
    parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=1)
    lines = '{"a": "one, and", "b": "2"}\n{"b": "x\\ny", "a": "a \\"quoted\\" one"}\n{"a": "NA", "b": "null", "c": 1}\n'
    tabs = csv_text.replace("one, and", "one! and").replace(",", "\t").replace("one! and", "one, and")
    for path in (
        write(tmp_path, "rows.csv", csv_text),
        write(tmp_path, "marked.csv", b"\xef\xbb\xbf" + csv_text.replace("\n2,", "\r\n2,").encode()),
        write(tmp_path, "rows.tsv", tabs),
        write(tmp_path, "rows.jsonl", lines + "\n\n"),
        tmp_path / "rows.parquet",
    ):
        assert read(path, "a", "b") == rows, path.name
        assert read(path, "a") == [a for a, _ in rows], path.name
    assert list(stream_inputs(io.BytesIO(lines.encode()), ("a", "b"), words=False)) == rows


def test_words_are_lists(tmp_path: Path) -> None:
    path = write(tmp_path, "rows.jsonl", '{"tokens": ["a", "b"]}\n')
    assert read(path, "tokens", words=True) == [("a", "b")]
    with pytest.raises(DataError, match=r"line 2, column `tokens`: expected a list of words, .* csv and tsv cannot"):
        read(write(tmp_path, "rows.csv", "tokens\na b\n"), "tokens", words=True)


def test_no_more_is_read_than_is_asked_for() -> None:
    class Counted(io.BytesIO):
        lines = 0

        def __next__(self) -> bytes:
            Counted.lines += 1
            return super().__next__()

    rows = stream_inputs(Counted(b'{"a": "x"}\n' * 10_000), ("a",), words=False)
    assert [next(rows) for _ in range(10)] == ["x"] * 10
    assert Counted.lines == 10
    assert len(list(rows)) == 9_990


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("rows.csv", "a,b\nx,y\nx,\n", r"rows\.csv, line 3, column `b`: the text is empty"),
        ("rows.csv", 'a,b\n"x\nx",y\n"x\nx", \n', r"rows\.csv, line 4, column `b`: the text is empty"),
        ("rows.csv", "a,b\nx,y\nx\n", r"rows\.csv, line 3: expected 2 cells, found 1"),
        ("rows.csv", "a,b\nx,y\n\nx,y\n", r"rows\.csv, line 3: expected 2 cells, found 0"),
        ("rows.csv", 'a,b\nx,y\n"x"x,y\n', r"rows\.csv, line 3: .* put cells with quotes"),
        ("rows.csv", "a,a\nx,y\n", r"rows\.csv: the first line names a column twice: a, a"),
        ("rows.csv", "", r"rows\.csv: the file is empty"),
        ("rows.csv", "aa,b\nx,y\n", r"line 2: there is no column `a` among aa, b; did you mean `aa`\?; name .* --text"),
        ("rows.csv", b"a,b\nx,y\nx,\xff\n", r"rows\.csv, line 3, column `b`: the text holds a byte that is not UTF-8"),
        ("rows.jsonl", '{"a": "x", "b": "y"}\n{"a": 1\n', r"rows\.jsonl, line 2: not JSON: "),
        ("rows.jsonl", '{"a": "x", "b": "y"}\n[]\n', r"rows\.jsonl, line 2: expected a JSON object, found list"),
        ("rows.jsonl", '{"a": "x", "b": "y"}\n\n{"a": "x", "b": "y"}\n', r"rows\.jsonl, line 2: not JSON"),
        ("rows.jsonl", '{"a": "x", "b": null}\n', r"rows\.jsonl, line 1, column `b`: the text is missing"),
        ("rows.jsonl", '{"a": "x", "b": 7}\n', r"rows\.jsonl, line 1, column `b`: expected text, found 7"),
        ("rows.jsonl", '{"a": "x"}\n', r"rows\.jsonl, line 1: there is no column `b` among a"),
        ("rows.jsonl", '{"a": "\\ud800", "b": "y"}\n', "line 1, column `a`: the text holds half of a surrogate pair"),
        ("rows.parquet", "PAR1", r"rows\.parquet: not a parquet file"),
        ("rows.txt", "x", r"rows\.txt: expected a name ending in \.csv, .*, \.parquet, or - for JSON lines"),
    ],
)
def test_the_first_bad_row_is_named(tmp_path: Path, name: str, text: str | bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(write(tmp_path, name, text), "a", "b")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.csv: there is no such file"):
        read(tmp_path / "gone.csv", "a")


def test_a_bad_row_of_parquet_is_numbered(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"a": ["x", None]}), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"rows\.parquet, row 2, column `a`: the text is missing"):
        read(tmp_path / "rows.parquet", "a")
    with pytest.raises(DataError, match=r"rows\.parquet, row 1: there is no column `b` among a"):
        read(tmp_path / "rows.parquet", "b")
