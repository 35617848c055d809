"""Rows of csv and tsv text: quotes follow the csv rules in both.

A stray quote is an error, because guessing would join rows silently. A quotation that begins in one row of a tsv file
written without quoting and ends in a later one breaks no rule of csv; it is known by every line that it joins having
all the cells of a row.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from auxtune.trials.data.cells import SURROGATE
from auxtune.trials.errors import DataError, listed

REMEDY = "put cells with quotes or line breaks in double quotes, and double the quotes inside"
_LONGEST = 2**31 - 1  # characters of a cell: the most that fits csv's limit everywhere


@dataclass
class LineBreaks:
    """Cells that hold line breaks, counted while rows are read: legitimate in csv, or rows joined by mistake."""

    cells: int = 0
    first: str = ""

    def add(self, place: str, cells: Sequence[str]) -> None:
        """Count those of one row."""
        broken = sum("\n" in cell or "\r" in cell for cell in cells)
        if broken and not self.cells:
            self.first = place
        self.cells += broken

    def note(self, file: str) -> str | None:
        """What to say of the whole file, ``None`` where no cell holds a line break."""
        if not self.cells:
            return None
        what = (
            "1 quoted cell holds line breaks, in"
            if self.cells == 1
            else (f"{self.cells} quoted cells hold line breaks, the first in")
        )
        return f"{file}: {what} {self.first}; if these are rows joined by stray quotes, {REMEDY}"


@dataclass
class SeparatedRows:
    """The rows of csv or tsv lines, as (the line that a row begins in, its cells); the first names the columns.

    ``place`` names the file in messages, ``unit`` what they count: the ``row`` of a table, or the ``line`` of a file.
    Raises ``DataError`` at a row that breaks the rules. ``breaks`` counts as rows are taken.
    """

    lines: Iterable[str]
    delimiter: str
    place: str
    unit: str = "line"
    breaks: LineBreaks = field(default_factory=LineBreaks)

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        # The limit is one for the whole process and looked at while reading: set back, it would fail other threads.
        csv.field_size_limit(max(_LONGEST, csv.field_size_limit()))
        recent: list[str] = []
        reader = csv.reader(self._recorded(recent), delimiter=self.delimiter, strict=True)
        number, line = 0, 1
        while True:
            recent.clear()
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise DataError([f"{self._at(number, line)}: {error}; {REMEDY}"]) from error
            if cells is None:
                return
            if not number:
                self._check_header(cells)
            elif len(recent) > 1:
                self._check_lines(self._at(number, line), cells, recent)
            yield line, cells
            number, line = number + 1, reader.line_num + 1

    def _recorded(self, recent: list[str]) -> Iterator[str]:
        """The lines, those of the row being read also in ``recent``."""
        for line in self.lines:
            recent.append(line)
            yield line

    def _at(self, number: int, line: int) -> str:
        return f"{self.place}, {self.unit} {max(number, 1) if self.unit == 'row' else line}"

    def _check_header(self, names: Sequence[str]) -> None:
        if any(SURROGATE.search(name) for name in names):
            raise DataError([f"{self.place}, line 1: not UTF-8 text; save the file as UTF-8"])
        if len(set(names)) < len(names):
            raise DataError([f"{self.place}: the first line names a column twice: {listed(names)}"])

    def _check_lines(self, at: str, cells: Sequence[str], lines: Sequence[str]) -> None:
        """Refuse lines of a tsv file that are rows each; count the cells of others that hold line breaks."""
        separators = len(cells) - 1
        if self.delimiter == "\t" and separators and all(line.count("\t") == separators for line in lines):
            raise DataError(
                [
                    f"{at}: a quote joins {len(lines)} lines that have {len(cells)} cells each, as in a file written "
                    "without quoting; double its quotes and put the cells that hold them in double quotes, or save the "
                    "rows as jsonl"
                ]
            )
        self.breaks.add(at.removeprefix(f"{self.place}, "), cells)
