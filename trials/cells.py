"""What a single cell of a file says, the same from every file format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any


def label_name(cell: Any) -> str | None:
    """A class as text, the same from every file format (1, 1.0 and "1" are one); ``None`` if missing."""
    if cell is None or cell == "":
        return None
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)


def flat(cells: Iterable[Any]) -> Iterator[Any]:
    """Cells, those of lists one by one."""
    for cell in cells:
        if isinstance(cell, list):
            yield from cell
        else:
            yield cell


def number(cell: Any, untyped: bool) -> float | None:
    """A cell as a number, ``None`` if it is not one; text counts as a number only in an untyped table."""
    if isinstance(cell, bool) or not isinstance(cell, (int, float, str) if untyped else (int, float)):
        return None
    try:
        return float(cell)
    except (ValueError, OverflowError):
        return None
