"""The blocks of a page: values that say nothing of HTML or of a terminal, rendered as either, as Markdown or as JSON.

A number keeps its full value beside the text that shows it; what is not known has the value ``None`` and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from markupsafe import Markup

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Number:
    """A number in a table. With a ``bar`` in [0, 1] it is also shown as a length."""

    value: float | None
    text: str
    bar: float | None = None


Cell: TypeAlias = str | Number


@dataclass(frozen=True)
class Paragraph:
    """A few sentences; as ``answer`` the ones to read first, as ``warning`` those not to be missed."""

    kind: ClassVar[str] = "paragraph"

    text: str
    tone: Literal["plain", "answer", "note", "warning"] = "plain"


@dataclass(frozen=True)
class Table:
    """Rows under ``columns``; the first cell of each names it."""

    kind: ClassVar[str] = "table"

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    folded: bool = False
    """Whether a page shows it only once a reader opens it."""
    note: str = ""
    """Shown below it in a terminal; a page has a paragraph of its own."""
    rules: Literal["grid", "head", "tight", "none"] = "grid"
    """Its lines in a terminal: between all columns, below the head, the same with less space, or none."""

    def __post_init__(self) -> None:
        if wrong := [row for row in self.rows if len(row) != len(self.columns)]:
            raise ValueError(f"expected {len(self.columns)} cells in each row of {self.caption!r}, found {wrong[0]}")

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers in every row."""
        return tuple(
            bool(self.rows) and all(isinstance(row[place], Number) for row in self.rows)
            for place in range(len(self.columns))
        )


@dataclass(frozen=True)
class Picture:
    """A drawing with what it shows below it. ``svg`` is markup of our own making."""

    kind: ClassVar[str] = "picture"

    svg: Markup
    caption: str


@dataclass(frozen=True)
class Listing:
    """Text to be copied or looked up as it stands."""

    kind: ClassVar[str] = "listing"

    caption: str
    text: str
    folded: bool = False
    language: str = ""
    """The programming language it is written in, if it is one."""


@dataclass(frozen=True)
class Points:
    """Sentences of equal standing, one below the other."""

    kind: ClassVar[str] = "points"

    texts: tuple[str, ...]


Block: TypeAlias = Paragraph | Table | Picture | Listing | Points


@dataclass(frozen=True)
class Section:
    """A heading with its blocks; ``anchor`` is its place in the page's address."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """A whole page: ``about`` stands under its title, ``foot`` at its end."""

    title: str
    about: str
    sections: tuple[Section, ...]
    foot: str

    def as_json(self) -> dict[str, Any]:
        """Its text and numbers, without the pictures themselves."""
        return {
            "title": self.title,
            "about": self.about,
            "sections": [
                {
                    "section": section.anchor,
                    "title": section.title,
                    "blocks": [_describe_block(each) for each in section.blocks],
                }
                for section in self.sections
            ],
        }


def number(value: float | None, pattern: str = "g", bar: float | None = None) -> Number:
    """A number shown by a format ``pattern``.

    >>> number(0.25, ".1%").text, number(None).text
    ('25.0%', 'unknown')
    """
    return Number(value, UNKNOWN if value is None else format(value, pattern), bar)


def format_small(value: float | None, digits: int) -> Number:
    """An amount with ``digits`` decimals, or more where these would show it as 0.

    >>> format_small(1.5, 2).text, format_small(0.0004, 2).text, format_small(0.0, 2).text
    ('1.50', '0.0004', '0.00')
    """
    return number(value, ".2g" if value and abs(value) < 0.5 * 10**-digits else f".{digits}f")


def format_count(count: int, thing: str) -> str:
    """A count of things.

    >>> format_count(1, "trial"), format_count(2, "trial")
    ('1 trial', '2 trials')
    """
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def _describe_block(block: Block) -> dict[str, Any]:
    match block:
        case Paragraph():
            return {"paragraph": block.text}
        case Table():
            return {
                "table": block.caption,
                "columns": list(block.columns),
                "rows": [_list_values(r) for r in block.rows],
            }
        case Picture():
            return {"picture": block.caption}
        case Listing():
            return {"listing": block.caption, "text": block.text}
        case Points():
            return {"points": list(block.texts)}


def _list_values(row: Sequence[Cell]) -> list[str | float | None]:
    return [cell.value if isinstance(cell, Number) else cell for cell in row]
