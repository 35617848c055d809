"""The value of a cell, the same from every file format, and the names in a column of labels, with warnings about them.

A task file does not usually declare its classes, so whatever is in the label column becomes one. Each check of the
names gives a warning that names a row and says what to do, before they are trained on; a class that ``labels`` declares
is taken as intended.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from auxtune.trials.data import IGNORED
from auxtune.trials.errors import join_names

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


_SHOWN = 3  # groups, or classes of a group, that a warning names
_MANY = 10  # classes below which the counts themselves show too few rows of each
_FEW_ROWS = 3  # rows of a class on average below which it is more likely an id
_LIKE_MISSING = frozenset(("NA", "N/A", "n/a", "#N/A", "<NA>", "NULL", "null", "None", "NaT", "?"))
_LIST = re.compile(r"\s*(\[.*\]|\{.*\}|\(.*,.*\))\s*", re.DOTALL)
_SEPARATOR = re.compile(r"[,;|]")
_AMOUNT = r"[+-]?\d+([.,]\d+)*"
_BEHIND = r"[^\W\d_]+(/[^\W\d_]+)?|[%‰°€$£¥]\w?|/\s*\d+"
_UNIT = re.compile(rf"\s*({_AMOUNT}\s*({_BEHIND})|[€$£¥]\s*{_AMOUNT}|[+-]?\d+,\d+)\s*")
_JOINT = re.compile(r"(?<=\w)[-_](?=\w)")


@dataclass
class Occurrences:
    """How often a name occurs in a column, and the first row that has it."""

    count: int
    row: int


def count_names(cells: Iterable[Any]) -> dict[str, Occurrences]:
    """The classes in a column, those of lists one by one, in the order of first occurrence."""
    distinct: dict[tuple[type, Any], Occurrences] = {}  # by type: 1, 1.0 and true are one key of a mapping
    for row, cell in enumerate(cells, start=1):
        for each in cell if isinstance(cell, list) else (cell,):
            key = (type(each), each if each.__hash__ else str(each))
            found = distinct.get(key)
            if found is None:
                distinct[key] = Occurrences(1, row)
            else:
                found.count += 1
    names: dict[str, Occurrences] = {}
    for (_, cell), found in distinct.items():
        name = name_label(cell)
        if name in names:
            names[name].count += found.count
        elif name is not None:
            names[name] = found
    return names


def find_class_warnings(
    names: Mapping[str, Occurrences], rows: int, is_class_of_row: bool, is_kind_said: bool
) -> list[str]:
    """Warnings about classes that are read off the training rows.

    ``is_class_of_row`` says that a row has one of them; ``is_kind_said`` that the study or meta.json calls them
    classes, so that numbers among them are intended.
    """
    warnings = [*find_spelling_warnings(names), *_warn_of_missing(names), *_warn_of_lists(names)]
    if is_class_of_row:
        warnings += [
            *(() if is_kind_said else _warn_of_values(names)),
            *_warn_of_mixture(names),
            *_warn_of_ids(names, rows),
        ]
    return warnings


def find_spelling_warnings(names: Mapping[str, Occurrences]) -> list[str]:
    """Warnings about classes that differ in nothing that a reader would see."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[_normalise_spelling(name)].append(name)
    # Spellings of one number are read as one class already.
    groups = [group for group in alike.values() if len({canonicalise(name) for name in group}) > 1]
    warnings = [
        f"the classes {_join_counts(names, group)} differ only in letter case, spaces, hyphens or Unicode form; spell "
        "them alike if they are one class"
        for group in groups[:_SHOWN]
    ]
    return [*warnings, f"so do {len(groups) - _SHOWN} more groups of classes"] if len(groups) > _SHOWN else warnings


def _normalise_spelling(name: str) -> str:
    """A name without case, outer and repeated spaces, hyphens, invisible characters and compatibility forms."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    visible = "".join(each for each in plain if unicodedata.category(each) != "Cf")
    return " ".join(_JOINT.sub(" ", canonicalise(visible)).split())


def _warn_of_missing(names: Mapping[str, Occurrences]) -> list[str]:
    return [
        f"row {found.row}: the class {name!r} ({found.count} rows) looks like a missing label; if it is one, leave its "
        "cells empty and say `missing: drop`, else name all classes under `labels`"
        for name, found in names.items()
        if name.strip() in _LIKE_MISSING
    ][:_SHOWN]


def _warn_of_lists(names: Mapping[str, Occurrences]) -> list[str]:
    remedy = (
        "rows with several labels need a column of 0 and 1 for each label, as `label: [column, column]`, or "
        "lists in jsonl or parquet"
    )
    for name, found in names.items():
        if _LIST.fullmatch(name):
            return [f"row {found.row}: the class {name!r} looks like a list written as text; {remedy}"]
        parts = [part.strip() for part in _SEPARATOR.split(name)]
        if len(parts) > 1 and all(part in names for part in parts):
            return [f"row {found.row}: the class {name!r} looks like several of the other classes; {remedy}"]
    return []


def _warn_of_values(names: Mapping[str, Occurrences]) -> list[str]:
    """Warnings about numbers with a unit or a decimal comma, and fractions written as text."""
    united = [name for name in names if _UNIT.fullmatch(name)]
    values = [parse_number(name, untyped=True) for name in names]
    if united and 2 * _sum_rows(names, united) >= _sum_rows(names, list(names)):
        name, what = united[0], "looks like a number with a unit or a decimal comma"
    elif all(value is not None for value in values) and any(value is not None and value % 1 for value in values):
        name, what = next(iter(names)), "is a number written as text, as all others are"
    else:
        return []
    return [
        f"row {names[name].row}: the class {name!r} {what}; for values, write plain numbers and "
        "`kind: regression`; `kind: classification` says that these are classes"
    ]


def _warn_of_mixture(names: Mapping[str, Occurrences]) -> list[str]:
    """A warning about numbers among names, or names among numbers: the fewer of the two."""
    numbers = [name for name in names if parse_number(name, untyped=True) is not None]
    texts = [name for name in names if name not in set(numbers)]
    if not numbers or not texts:
        return []
    odd = min(numbers, texts, key=lambda group: _sum_rows(names, group))
    what = "a number where other rows have names" if odd is numbers else "no number, as other rows have"
    return [f"row {names[odd[0]].row}: the class {odd[0]!r} is {what}; correct it, or name all classes under `labels`"]


def _warn_of_ids(names: Mapping[str, Occurrences], rows: int) -> list[str]:
    if len(names) < _MANY or len(names) * _FEW_ROWS <= rows:
        return []
    name, found = next(iter(names.items()))
    return [
        f"there are {len(names)} classes in {rows} rows, such as {name!r} in row {found.row}: ids and values "
        "cannot be learned as classes; `kind: regression` makes numbers values"
    ]


def find_ids_among_names(names: Mapping[str, Occurrences]) -> list[tuple[int, str]]:
    """(row, what is wrong) for whole numbers that could be ids of the other names, whose order is not declared."""
    numbers = {name: canonicalise(name) for name in names if parse_number(name, untyped=True) is not None}
    others = len(names) - len(numbers)
    if not numbers or not all(value.isdecimal() and int(value) < others for value in numbers.values()):
        return []
    wrong = sorted((names[name].row, name) for name in numbers)
    return [
        (
            row,
            f"found the number {name} where other rows have names; correct it, or name the classes in their "
            "order under `labels`",
        )
        for row, name in wrong
    ]


def _join_counts(names: Mapping[str, Occurrences], group: Sequence[str]) -> str:
    return join_names(f"{name!r} ({names[name].count})" for name in group)


def _sum_rows(names: Mapping[str, Occurrences], group: Sequence[str]) -> int:
    return sum(names[name].count for name in group)
