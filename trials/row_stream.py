"""Rows to predict, from a file or a stream, one at a time: a file may be longer than memory.

The same formats and cells as for training (``tables``), but read as they come, so the first thing that is wrong ends
it, named by file, line and column. Blank lines at the end are none.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from auxtune.trials.examples import Words, text_of, words_of
from auxtune.trials.problems import DataError, closest, listed

Row: TypeAlias = tuple[str, Mapping[str, Any]]         # where it is, for messages, and its cells
SEPARATORS = {".csv": ",", ".tsv": "\t"}
ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")


def stream_inputs(
    source: Path | BinaryIO, columns: Sequence[str], words: bool
) -> Iterator[str | tuple[str, str] | Words]:
    """The inputs of a file, by its ending, or of JSON lines on a stream: texts, pairs, or with ``words`` lists of them.

    Raises ``DataError`` at the first row that cannot be used.
    """
    for place, cells in _rows(source, columns):
        missing = [column for column in columns if column not in cells]
        if missing:
            raise DataError([f"{place}: there is no column `{missing[0]}` among {listed(cells)}"
                             f"{closest(missing[0], cells)}; name those with the input as --text"])
        values = [_cell(place, column, cells[column], words) for column in columns]
        yield values[0] if len(values) == 1 else (values[0], values[1])


def _cell(place: str, column: str, cell: Any, words: bool) -> Any:
    try:
        return words_of(cell) if words else text_of(cell)
    except ValueError as error:
        raise DataError([f"{place}, column `{column}`: {error}"]) from error


def _rows(source: Path | BinaryIO, columns: Sequence[str]) -> Iterator[Row]:
    if not isinstance(source, Path):
        yield from _json_rows(source, "standard input")
        return
    ending = source.suffix.lower()
    if ending not in ENDINGS:
        raise DataError([f"{source}: expected a name ending in {listed(ENDINGS)}, or - for JSON lines on the input"])
    if not source.is_file():
        raise DataError([f"{source}: there is no such file"])
    if ending == ".parquet":
        yield from _parquet_rows(source, columns)
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(source.open("rb"))
        except OSError as error:
            raise DataError([f"{source}: cannot be read: {error.strerror or error}"]) from error
        if ending == ".jsonl":
            yield from _json_rows(file, str(source))
        else:
            yield from _separated_rows(file, str(source), SEPARATORS[ending])


def _lines(file: BinaryIO, place: str) -> Iterator[str]:
    """The lines of a UTF-8 file; blank ones at its end are left out."""
    blank: list[str] = []
    for number, raw in enumerate(file, start=1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError([f"{place}, line {number}: not UTF-8 text ({error.reason}); save the file as UTF-8"]
                            ) from error
        blank.append(line)
        if line.strip("\r\n"):
            yield from blank
            blank.clear()


def _json_rows(file: BinaryIO, place: str) -> Iterator[Row]:
    for number, line in enumerate(_lines(file, place), start=1):
        here = f"{place}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError([f"{here}: not JSON: {error.msg} at character {error.colno}"]) from error
        if not isinstance(row, dict):
            raise DataError([f"{here}: expected a JSON object, found {type(row).__name__}"])
        yield here, row


def _separated_rows(file: BinaryIO, place: str, delimiter: str) -> Iterator[Row]:
    reader = csv.reader(_lines(file, place), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            remedy = "put cells with quotes or line breaks in double quotes, and double the quotes inside"
            raise DataError([f"{place}, line {line}: {error}; {remedy}"]) from error
        if cells is None:
            break
        if header is None:
            header = cells
            if len(set(header)) < len(header):
                raise DataError([f"{place}: the first line names a column twice: {listed(header)}"])
        elif len(cells) != len(header):
            raise DataError([f"{place}, line {line}: expected {len(header)} cells, found {len(cells)}"])
        else:
            yield f"{place}, line {line}", dict(zip(header, cells, strict=True))
    if header is None:
        raise DataError([f"{place}: the file is empty; its first line must name the columns"])


def _parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(path) as file:
            names = set(file.schema_arrow.names)
            # One that is not there is found missing in the first row, among all that are.
            wanted = list(columns) if names.issuperset(columns) else None
            number = 0
            for batch in file.iter_batches(columns=wanted):
                for cells in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", cells
    except (ArrowException, OSError) as error:
        raise DataError([f"{path}: not a parquet file that can be read: {error}"]) from error
