"""The value of a single cell of a file, the same from every file format."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from auxtune.trials.encoded import IGNORED

Words: TypeAlias = tuple[str, ...]  # of one row of a token task
NOT_SCORED = str(IGNORED)  # the tag of a word that is neither trained on nor scored
SURROGATE = re.compile("[\ud800-\udfff]")  # half a character: no tokenizer takes it
_BAD_BYTE = re.compile("[\udc80-\udcff]")  # Python's stand-in for a byte that is not UTF-8
_WHOLE = re.compile(r"[+-]?(0|[1-9]\d*)(\.0*)?")  # a whole number, with or without zeros after its point


class MissingCell(ValueError):
    """A cell that holds nothing, whose row ``missing: drop`` leaves out; says the reason in words."""


def is_missing(cell: Any) -> bool:
    """Whether a cell is absent, not a number (NaN) or blank text."""
    if isinstance(cell, str):
        return not cell or cell.isspace()
    return cell is None or cell != cell  # NaN alone differs from itself


def is_nan_text(name: str) -> bool:
    """Whether a text is that of a missing number (NaN) written as text."""
    return name.strip().lower() == "nan"


def name_label(cell: Any) -> str | None:
    """A class as text, the same from every file format (1, 1.0 and "1" are one); ``None`` if missing."""
    if is_missing(cell):
        return None
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)


def canonicalise(name: str) -> str:
    """The one spelling of a whole number or truth value, as "1" for "1.0" and "true" for "True"; other names unchanged.

    >>> canonicalise("+1.0"), canonicalise("-1.0"), canonicalise("TRUE"), canonicalise("007"), canonicalise("1.5")
    ('1', '-1', 'true', '007', '1.5')
    """
    if _WHOLE.fullmatch(name):
        return str(int(name.partition(".")[0]))
    return name.lower() if name.lower() in ("true", "false") else name


def is_whole_number(name: str) -> bool:
    """Whether a class is named by a whole number, however that is written."""
    return _WHOLE.fullmatch(name) is not None or re.fullmatch(r"[+-]?\d+", name) is not None


def flatten_cells(cells: Iterable[Any]) -> Iterator[Any]:
    """The cells, with lists flattened."""
    for cell in cells:
        if isinstance(cell, list):
            yield from cell
        else:
            yield cell


def parse_number(cell: Any, untyped: bool) -> float | None:
    """A cell as a number, ``None`` if it is not one; text counts as a number only in an untyped table."""
    if isinstance(cell, bool) or not isinstance(cell, (int, float, str) if untyped else (int, float)):
        return None
    try:
        return float(cell)
    except (ValueError, OverflowError):
        return None


def find_encoding_fault(text: str) -> str | None:
    """What is wrong with the characters of a text, ``None`` if nothing is."""
    if not SURROGATE.search(text):
        return None
    if _BAD_BYTE.search(text):
        return "holds a byte that is not UTF-8; save the file as UTF-8"
    return "holds half of a surrogate pair; save it as valid Unicode"


def parse_text(cell: Any) -> str:
    """A cell's text. Raises ``MissingCell`` or ``ValueError`` saying what is wrong with it."""
    if is_missing(cell):
        raise MissingCell("the text is empty" if isinstance(cell, str) else "the text is missing")
    if not isinstance(cell, str):
        raise ValueError(f"expected text, found {cell!r:.80}")
    if SURROGATE.search(cell):
        raise ValueError(f"the text {find_encoding_fault(cell)}")
    return cell


def parse_words(cell: Any) -> Words:
    """A cell's words. Raises ``MissingCell`` or ``ValueError`` saying what is wrong with it."""
    if is_missing(cell):
        raise MissingCell("the words are missing")
    if not isinstance(cell, list):
        raise ValueError(f"expected a list of words, found {cell!r:.80}; csv and tsv cannot hold lists")
    if not cell:
        raise MissingCell("there are no words")
    return tuple(parse_text(word) for word in cell)
