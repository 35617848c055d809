"""Blocks as lines and tables that fit a terminal, and never break a name: names of tasks may have a hundred letters.

A line is wrapped between words. A table keeps its columns as wide as their longest word; where even that is too wide,
its rows are written below each other, each value on a line of its own. What goes into a file or a pipe is not wrapped.

Views that are drawn again and again need more of a terminal, and get a ``Terminal`` of their own.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import click
from rich.box import SIMPLE
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from auxtune.orchestrator.report import blocks
from auxtune.orchestrator.report.blocks import Block, Listing, Number, Paragraph, Points

UNLIMITED = 10_000  # columns: more than any line has
_STYLES = {"answer": "bold", "warning": "yellow"}
_RULES: dict[str, dict[str, Any]] = {
    "grid": {},
    "head": {"box": SIMPLE, "pad_edge": False},
    "tight": {"box": SIMPLE, "pad_edge": False, "collapse_padding": True},
    "none": {"box": None, "pad_edge": False, "padding": (0, 2, 0, 0)},
}


def render_terminal(page: Iterable[Block]) -> Group:
    """Blocks for a Rich console, one below the other; of pictures their captions."""
    return Group(*map(_render, page))


def print_blocks(page: Iterable[Block]) -> None:
    """Print blocks; what goes into a file or a pipe is not wrapped, tables apart."""
    for block in page:
        match block:
            case Paragraph():
                say(block.text)
            case Listing():
                click.echo(block.text)
            case Points():
                for text in block.texts:
                    say(f"- {text}")
            case blocks.Table(rules="none"):
                Console(width=count_terminal_columns() or UNLIMITED).print(
                    _render(block), overflow="ignore", crop=False
                )
            case _:
                Console().print(_render(block), overflow="ignore", crop=False)


def say(line: str) -> None:
    """Print ``line``; on a terminal, wrapped between words. What a script reads is one line."""
    click.echo(fit_line(line))


def _render(block: Block) -> RenderableType:
    match block:
        case Paragraph():
            return FittingLine(block.text, _STYLES.get(block.tone, ""))
        case blocks.Table():
            return _render_table(block)
        case Listing():
            return Text(block.text, overflow="ignore", no_wrap=True)
        case Points():
            return Group(*(FittingLine(f"- {text}") for text in block.texts))
    return FittingLine(block.caption)


def _render_table(block: blocks.Table) -> FittingTable:
    table = FittingTable(title=block.caption or None, title_justify="left", **_RULES[block.rules])
    table.caption = block.note or None
    for column, is_numeric in zip(block.columns, block.numeric, strict=True):
        style = "none" if block.rules == "none" else None
        table.add_column(column, justify="right" if is_numeric else "left", header_style=style)
    for row in block.rows:
        table.add_row(*(cell.text if isinstance(cell, Number) else cell for cell in row))
    return table


def count_terminal_columns() -> int | None:
    """Columns of the terminal that is printed to; ``None`` where it is none, whatever ``COLUMNS`` says.

    That is also in the environment of what an interactive Python starts, and of tests: readline puts it there.
    """
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def fit_line(line: str, columns: int | None = None) -> str:
    """``line`` in as many lines as a terminal of ``columns`` needs, by default this one, the later ones indented."""
    columns = columns or count_terminal_columns()
    if columns is None or cell_len(line) <= columns:
        return line
    begin = line[: len(line) - len(line.lstrip())]
    parts = textwrap.wrap(
        line.strip(), max(20, columns - len(begin)), subsequent_indent="    ", break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
    return "\n".join(f"{begin}{part}" for part in parts)


@dataclass(frozen=True)
class FittingLine:
    """A line of a page that is wrapped like ``fit_line``, unless the page is printed with ``no_wrap``."""

    text: str
    style: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """All of it."""
        said = self.text if options.no_wrap else fit_line(self.text, options.max_width)
        yield Text(said, self.style, overflow="ignore", no_wrap=True)


class FittingTable(Table):
    """A table of texts that breaks no word, whatever the width."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As a table where there is room, else row by row."""
        lines = [[line for cell in self._texts(place) for line in cell.split("\n")] for place in self._places]
        natural = [max(map(cell_len, column)) for column in lines]
        least = [max(cell_len(word) for line in column for word in line.split() or [""]) for column in lines]
        beside = Measurement.get(console, options.update(width=UNLIMITED), self).maximum - sum(natural)
        room = options.max_width - beside
        if sum(natural) <= room:
            yield from super().__rich_console__(console, options)
        elif sum(least) <= room:
            for column, width in zip(self.columns, _shrink_widths(natural, least, room), strict=True):
                column.width = width
            yield from list(super().__rich_console__(console, options))
            for column in self.columns:
                column.width = None
        else:
            yield from (Text(line, overflow="ignore", no_wrap=True) for line in self._stacked(options.max_width))

    @property
    def _places(self) -> range:
        return range(len(self.columns))

    def _texts(self, place: int) -> list[str]:
        """A column's header and cells, without styles."""
        column = self.columns[place]
        return [Text.from_markup(str(cell)).plain if isinstance(cell, str) else str(cell)
                for cell in (column.header, *column.cells)]  # fmt: skip

    def _stacked(self, columns: int) -> Iterator[str]:
        heads, *rows = zip(*map(self._texts, self._places), strict=True)
        yield from [str(self.title)] if self.title else []
        for name, *values in rows:
            yield from (fit_line(line, columns) for line in f"{heads[0]} {name}".strip().split("\n"))
            for head, value in zip(heads[1:], values, strict=True):
                yield fit_line(f"  {head}: {value}".replace("\n", ", "), columns)
        yield from [fit_line(str(self.caption), columns)] if self.caption else []


def _shrink_widths(natural: list[int], least: list[int], room: int) -> list[int]:
    """Widths that sum up to ``room``: the widest column that can gives way first."""
    widths = list(natural)
    while sum(widths) > room:
        widest = max((place for place, width in enumerate(widths) if width > least[place]), key=widths.__getitem__)
        widths[widest] -= 1
    return widths


class Terminal(Console):
    """A console that never hides the cursor, so that a terminal keeps it however this process ends, even by a kill."""

    def show_cursor(self, show: bool = True) -> bool:
        """Nothing to do."""
        return False


def has_live_view(console: Console) -> bool:
    """Whether lines can be drawn again: on a terminal that is not dumb, whatever the environment says of colours.

    Nor where its encoding lacks most of the letters that the view is drawn with.
    """
    written = (sys.stdout.encoding or "").lower().startswith("utf")
    return written and sys.stdout.isatty() and console.is_terminal and not console.is_dumb_terminal
