"""Rows to predict, from a file or a stream, one at a time: a file may be longer than memory.

The same formats and cells as for training (``tables``), but read as they come, so the first thing that is wrong ends
it, named by file, line and column. Only the columns that are asked for are looked at. Blank lines at the end are none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from auxtune.trials.data.examples import Words, text_of, words_of
from auxtune.trials.data.tables import decoded, python_cells
from auxtune.trials.errors import DataError, closest, listed
from auxtune.trials.separated import SeparatedRows

if TYPE_CHECKING:
    from pyarrow import Array

Row: TypeAlias = tuple[str, Mapping[str, Any]]  # where it is, for messages, and its cells
SEPARATORS = {".csv": ",", ".tsv": "\t"}
ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")


def stream_inputs(
    source: Path | BinaryIO, columns: Sequence[str], words: bool, notice: Callable[[str], None] | None = None
) -> Iterator[str | tuple[str, str] | Words]:
    """The inputs of a file, by its ending, or of JSON lines on a stream: texts, pairs, or with ``words`` lists of them.

    ``notice`` is told, at the end, what is doubtful about the file. Raises ``DataError`` at the first row that cannot
    be used: every row is answered, so one without text is an error here, whatever ``missing`` says of training.
    """
    for place, cells in _rows(source, columns, notice):
        missing = [column for column in columns if column not in cells]
        if missing:
            raise _no_column(place, missing[0], cells)
        values = [_cell(place, column, cells[column], words) for column in columns]
        yield values[0] if len(values) == 1 else (values[0], values[1])


def _no_column(place: str, column: str, names: Iterable[str]) -> DataError:
    return DataError(
        [
            f"{place}: there is no column `{column}` among {listed(names)}"
            f"{closest(column, names)}; name those with the input as --text"
        ]
    )


def _cell(place: str, column: str, cell: Any, words: bool) -> Any:
    try:
        return words_of(cell) if words else text_of(cell)
    except ValueError as error:
        raise DataError([f"{place}, column `{column}`: {error}"]) from error


def _rows(source: Path | BinaryIO, columns: Sequence[str], notice: Callable[[str], None] | None) -> Iterator[Row]:
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
            yield from _separated_rows(file, str(source), SEPARATORS[ending], notice)


def _lines(file: BinaryIO, place: str) -> Iterator[str]:
    """The lines of a UTF-8 file; blank ones at its end are left out."""
    blank: list[str] = []
    for number, raw in enumerate(file, start=1):
        line = decoded(raw, place) if number == 1 else raw.decode("utf-8", "surrogateescape")
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


def _separated_rows(file: BinaryIO, place: str, delimiter: str, notice: Callable[[str], None] | None) -> Iterator[Row]:
    reader = SeparatedRows(_lines(file, place), delimiter, place)
    header: list[str] | None = None
    for line, cells in reader:
        if header is None:
            header = cells
        elif len(cells) != len(header):
            raise DataError([f"{place}, line {line}: expected {len(header)} cells, found {len(cells)}"])
        else:
            yield f"{place}, line {line}", dict(zip(header, cells, strict=True))
    if header is None:
        raise DataError([f"{place}: the file is empty; its first line must name the columns"])
    note = reader.breaks.note(place)
    if note and notice is not None:
        notice(note)


def _parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            missing = [column for column in columns if column not in names]
            if missing and file.metadata.num_rows:
                raise _no_column(f"{path}, row 1", missing[0], names)
            number = 0
            for batch in file.iter_batches(columns=[] if missing else list(columns)):
                cells = [_batch_cells(batch.column(column), path, column, number) for column in columns]
                for row in zip(*cells, strict=True):
                    number += 1
                    yield f"{path}, row {number}", dict(zip(columns, row, strict=True))
    except (ArrowException, OSError) as error:
        raise DataError([f"{path}: not a parquet file that can be read: {error}"]) from error


def _batch_cells(cells: Array, path: Path, column: str, before: int) -> list[Any]:
    return python_cells(cells.to_pylist, lambda row: cells[row].as_py(), len(cells), str(path), column, before)
