"""Rows of files, one at a time: csv, tsv, JSON lines and parquet. A file may be longer than memory.

Tables to train on (``sources``) and rows to predict (``stream_inputs``) are read by the same code, so they hold the
same cells. A table reports all its bad rows at once, a stream ends at its first bad row.

Text files are read by the csv and json modules, not by ``datasets`` or pandas: only a reader that knows its position
can say which row is bad, and pandas turns words such as "NA" and "null" into missing values. Quotes follow the csv
rules in csv and tsv: a stray quote is an error, because guessing would join rows silently. A quotation that begins in
one row of a tsv file written without quoting and ends in a later one breaks no rule of csv; every line that it joins
then has all the cells of a row, which gives it away.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, TypeAlias

import numpy as np

from auxtune.trials.data.cells import SURROGATE, Words, parse_text, parse_words
from auxtune.trials.errors import DataError, join_names, suggest_name
from auxtune.trials.plain_json import parse_json

if TYPE_CHECKING:
    from pyarrow import Array
    from pyarrow.parquet import ParquetFile

SEPARATORS = {".csv": ",", ".tsv": "\t"}
ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")
STREAM = "standard input"
REMEDY = "put cells with quotes or line breaks in double quotes, and double the quotes inside"
LONGEST = 2**31 - 1  # characters of a cell: the most that fits csv's limit everywhere

Unit: TypeAlias = Literal["row", "line"]  # how rows of csv and tsv are numbered: a header is line 1, but not a row


class Row(NamedTuple):
    """A row of a file: its number, from 1, and its cells or what is wrong with it."""

    number: int
    cells: Mapping[str, Any]
    fault: str = ""


def stream_inputs(
    source: Path | BinaryIO, columns: Sequence[str], words: bool, notice: Callable[[str], None] | None = None
) -> Iterator[str | tuple[str, str] | Words]:
    """The inputs of a file, by its extension, or of JSON lines on a stream: texts, pairs, or with ``words`` word lists.

    ``notice`` is called at the end with warnings about the file. Raises ``DataError`` at the first row that cannot be
    used: every row gets a prediction, so one without text is an error here, whatever ``missing`` says for training.
    """
    if isinstance(source, Path):
        check_file(source, ", or - for JSON lines on the input")
    unit: Unit = "row" if isinstance(source, Path) and source.suffix.lower() == ".parquet" else "line"
    for row in read_rows(source, unit, notice, columns):
        place = f"{source if isinstance(source, Path) else STREAM}, {unit} {row.number}"
        if row.fault:
            raise DataError([f"{place}: {row.fault}"])
        missing = [column for column in columns if column not in row.cells]
        if missing:
            raise _explain_missing_column(place, missing[0], row.cells)
        values = [_parse_cell(place, column, row.cells[column], words) for column in columns]
        yield values[0] if len(values) == 1 else (values[0], values[1])


def _explain_missing_column(place: str, column: str, names: Iterable[str]) -> DataError:
    return DataError(
        [
            f"{place}: there is no column `{column}` among {join_names(names)}"
            f"{suggest_name(column, names)}; name those with the input as --text"
        ]
    )


def _parse_cell(place: str, column: str, cell: Any, words: bool) -> Any:
    try:
        return parse_words(cell) if words else parse_text(cell)
    except ValueError as error:
        raise DataError([f"{place}, column `{column}`: {error}"]) from error


def check_file(path: Path, otherwise: str = "") -> None:
    """Raise ``DataError`` for a file that does not exist or whose extension is not that of a known format."""
    if not path.is_file():
        raise DataError([f"{path}: there is no such file"])
    if path.suffix.lower() not in ENDINGS:
        raise DataError([f"{path}: expected a name ending in {join_names(ENDINGS)}{otherwise}"])


def read_rows(
    source: Path | BinaryIO, unit: Unit, notice: Callable[[str], None] | None = None, columns: Sequence[str] = ()
) -> Iterator[Row]:
    """The rows of a file, read by its extension, or of JSON lines on a stream. Blank lines at the end are not rows.

    A faulty row is yielded with its fault. Raises ``DataError`` if the rows after it cannot be told apart. For parquet
    only ``columns`` are read.
    """
    ending = source.suffix.lower() if isinstance(source, Path) else ".jsonl"
    if isinstance(source, Path) and ending == ".parquet":
        yield from _read_parquet_rows(source, columns)
        return
    with _open_bytes(source) as file:
        place = str(source) if isinstance(source, Path) else STREAM
        if ending == ".jsonl":
            yield from _read_json_rows(file, place)
        else:
            yield from _SeparatedRows(_split_lines(file, place, "\r\n"), SEPARATORS[ending], place, unit).read(notice)


def _open_bytes(source: Path | BinaryIO) -> Any:
    if not isinstance(source, Path):
        return nullcontext(source)
    try:
        return source.open("rb")
    except OSError as error:
        raise DataError([f"{source}: cannot be read: {error.strerror or error}"]) from error


def _split_lines(file: BinaryIO, place: str, blanks: str | None = None) -> Iterator[str]:
    """The lines of a UTF-8 file, without those at its end that hold only ``blanks``, by default any white space.

    A byte that is not UTF-8 stays visible in its cell, where it is reported. Other encodings are refused by their mark.
    """
    held: list[str] = []
    for number, raw in enumerate(file, start=1):
        if number == 1 and raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise DataError([f"{place}, line 1: not UTF-8 text (it begins as UTF-16 does); save the file as UTF-8"])
        line = raw.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape")
        # A lone carriage return ends a line as well, but not in JSON, where it is white space.
        held += io.StringIO(line, newline="") if blanks and "\r" in line[:-2] else [line]
        if line.strip(blanks):
            yield from held
            held.clear()


def _read_json_rows(file: BinaryIO, place: str) -> Iterator[Row]:
    for number, line in enumerate(_split_lines(file, place), start=1):
        try:
            row = parse_json(line.removesuffix("\n"))
        except json.JSONDecodeError as error:
            yield Row(number, {}, f"not JSON: {error.msg} at character {error.colno}")
            continue
        except ValueError as error:
            yield Row(number, {}, f"cannot be read: {error}")
            continue
        is_object = isinstance(row, dict)
        yield Row(number, row) if is_object else Row(number, {}, f"expected a JSON object, found {type(row).__name__}")


@dataclass
class _SeparatedRows:
    """The rows of csv or tsv lines; the first line names the columns."""

    lines: Iterable[str]
    delimiter: str
    place: str  # the file, in messages
    unit: Unit
    broken: int = 0  # cells that hold line breaks: legitimate in csv, or rows joined by mistake
    first_broken: str = ""  # the row of the first of them

    def read(self, notice: Callable[[str], None] | None) -> Iterator[Row]:
        """The rows; ``notice`` is called about line breaks at the end. Raises ``DataError`` at a malformed row."""
        header: list[str] | None = None
        for number, cells in self._read_records():
            if header is None:
                header = cells
            elif len(cells) != len(header):
                yield Row(number, {}, f"expected {len(header)} cells, found {len(cells)}")
            else:
                yield Row(number, dict(zip(header, cells, strict=True)))
        if header is None:
            raise DataError([f"{self.place}: the file is empty; its first line must name the columns"])
        if self.broken and notice is not None:
            is_one = self.broken == 1
            what = "1 quoted cell holds" if is_one else f"{self.broken} quoted cells hold"
            where = f"in {self.first_broken}" if is_one else f"the first in {self.first_broken}"
            notice(f"{self.place}: {what} line breaks, {where}; if these are rows joined by stray quotes, {REMEDY}")

    def _read_records(self) -> Iterator[tuple[int, list[str]]]:
        """Each record's number in ``unit``, and its cells; the header's first."""
        # The limit holds for the whole process and is checked while reading: restoring it would fail other threads.
        csv.field_size_limit(max(LONGEST, csv.field_size_limit()))
        recent: list[str] = []  # the lines of the record being read
        reader = csv.reader(self._note_lines(recent), delimiter=self.delimiter, strict=True)
        row, line = 0, 1
        while True:
            recent.clear()
            number = max(row, 1) if self.unit == "row" else line
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise DataError([f"{self.place}, {self.unit} {number}: {error}; {REMEDY}"]) from error
            if cells is None:
                return
            if row == 0:
                self._check_header(cells)
            elif len(recent) > 1:
                self._check_lines(f"{self.unit} {number}", cells, recent)
            yield number, cells
            row, line = row + 1, reader.line_num + 1

    def _note_lines(self, recent: list[str]) -> Iterator[str]:
        for line in self.lines:
            recent.append(line)
            yield line

    def _check_header(self, names: Sequence[str]) -> None:
        if any(SURROGATE.search(name) for name in names):
            raise DataError([f"{self.place}, line 1: not UTF-8 text; save the file as UTF-8"])
        if len(set(names)) < len(names):
            raise DataError([f"{self.place}: the first line names a column twice: {join_names(names)}"])

    def _check_lines(self, row: str, cells: Sequence[str], lines: Sequence[str]) -> None:
        """Refuse joined lines of a tsv file that are each a row; else count the cells that hold line breaks."""
        separators = len(cells) - 1
        if self.delimiter == "\t" and separators and all(line.count("\t") == separators for line in lines):
            raise DataError(
                [
                    f"{self.place}, {row}: a quote joins {len(lines)} lines that have {len(cells)} cells each, as in a "
                    "file written without quoting; double its quotes and put the cells that hold them in double "
                    "quotes, or save the rows as jsonl"
                ]
            )
        broken = sum("\n" in cell or "\r" in cell for cell in cells)
        if broken and not self.broken:
            self.first_broken = row
        self.broken += broken


def _read_parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    names, rows = read_parquet_shape(path)
    missing = [column for column in columns if column not in names]
    if missing and rows:
        raise _explain_missing_column(f"{path}, row 1", missing[0], names)
    number = 0
    for cells in read_parquet_batches(path, [] if missing else columns):
        for row in zip(*cells, strict=True):
            number += 1
            yield Row(number, dict(zip(columns, row, strict=True)))


def read_parquet_shape(path: Path) -> tuple[list[str], int]:
    """The names of a file's columns and the number of its rows. Raises ``DataError`` for a damaged file."""
    with _open_parquet(path) as file:
        return list(file.schema_arrow.names), file.metadata.num_rows


def read_parquet_batches(path: Path, columns: Sequence[str]) -> Iterator[list[list[Any]]]:
    """The cells of each of ``columns``, a batch of rows at a time. Raises ``DataError`` naming the bad row."""
    with _open_parquet(path) as file:
        before = 0
        for batch in file.iter_batches(columns=list(columns)):
            yield [_convert_batch(batch.column(name), path, name, before) for name in columns]
            before += batch.num_rows


def _convert_batch(cells: Array, path: Path, column: str, before: int) -> list[Any]:
    return convert_to_python_cells(
        cells.to_pylist, lambda row: cells[row].as_py(), len(cells), str(path), column, before
    )


@contextmanager
def _open_parquet(path: Path) -> Iterator[ParquetFile]:
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except (ArrowException, OSError) as error:
        raise DataError([f"{path}: not a parquet file that can be read: {error}"]) from error


def convert_to_python_cells(
    load: Callable[[], list[Any]], one: Callable[[int], Any], rows: int, place: str, column: str, before: int = 0
) -> list[Any]:
    """A column as Python values, numbers of every width as int or float. Raises ``DataError`` naming the bad row.

    ``load`` reads it whole, ``one`` reads a row by its number from 0, and ``before`` rows of the file were read before.
    """
    try:
        return _simplify_numbers(load())
    except (UnicodeDecodeError, ValueError, OverflowError) as whole:
        for row in range(rows):
            try:
                one(row)
            except (UnicodeDecodeError, ValueError, OverflowError) as error:
                if isinstance(error, UnicodeDecodeError):
                    fault = f"not UTF-8 text ({error.reason}); save it as UTF-8"
                else:
                    fault = f"cannot be read: {error}"
                raise DataError([f"{place}, row {before + row + 1}, column `{column}`: {fault}"]) from error
        raise DataError([f"{place}, column `{column}`: cannot be read: {whole}"]) from whole


def _simplify_numbers(cells: list[Any]) -> list[Any]:
    """Cells of one type, decimals and NumPy's numbers as Python's own."""
    first = next((cell for cell in cells if cell is not None), None)
    if isinstance(first, list):
        nested = next((each for cell in cells for each in cell or () if each is not None), None)
        return (
            [cell and _simplify_numbers(cell) for cell in cells] if isinstance(nested, (Decimal, np.generic)) else cells
        )
    if isinstance(first, Decimal):
        return [None if cell is None else float(cell) for cell in cells]
    return [None if cell is None else cell.item() for cell in cells] if isinstance(first, np.generic) else cells
