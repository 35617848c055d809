"""Options of a selector: typed, bounded, explained, and refused with words that say what to write instead.

A selector is a frozen dataclass whose fields are its options. ``option`` gives a field its default, its meaning and
its bounds; the method table and every error message come from that one place.

    gamma: float = option(0.3, "how much is forgotten each round", least=0, most=1)

Every option has a default, so that leaving one out is always legal.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import operator
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from auxtune.selectors.protocol import JSON

_TYPES: dict[Any, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "text",
    NoneType: "null",
}
_BOUNDS = {
    "above": ("above", operator.gt),
    "least": ("of at least", operator.ge),
    "most": ("of at most", operator.le),
}


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a method, for people to read."""

    name: str
    expected: str
    default: JSON
    meaning: str | None


def option(
    default: JSON,
    meaning: str,
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
) -> Any:
    """A dataclass field with a meaning; a number must exceed ``above`` and lie in ``[least, most]``."""
    given = {"above": above, "least": least, "most": most}
    bounds = {name: bound for name, bound in given.items() if bound is not None}
    return dataclasses.field(default=default, metadata={"meaning": meaning, "bounds": bounds})


def options_of(cls: type[Any]) -> tuple[Option, ...]:
    """The options of a selector class, in the order it declares them."""
    hints = get_type_hints(cls)
    return tuple(
        Option(
            name=field.name,
            expected=_expected(hints[field.name], field.metadata.get("bounds", {})),
            default=_default(field),
            meaning=field.metadata.get("meaning"),
        )
        for field in dataclasses.fields(cls)
    )


def check(cls: type[Any], values: Mapping[str, JSON], where: str = "selector") -> None:
    """Raise ``ValueError``, naming ``where`` and the key, unless ``values`` are legal options of ``cls``."""
    fields = {field.name: field for field in dataclasses.fields(cls)}
    hints = get_type_hints(cls)
    for key, value in values.items():
        if key not in fields:
            raise ValueError(f"{where}.{key} must {_known(key, list(fields))}")
        bounds = fields[key].metadata.get("bounds", {})
        if not _fits(hints[key], bounds, value):
            raise ValueError(
                f"{where}.{key} must be {_expected(hints[key], bounds)}, got {value!r}; "
                f"omit it for the default {_default(fields[key])!r}"
            )


def _default(field: dataclasses.Field[Any]) -> JSON:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _known(key: str, names: list[str]) -> str:
    if not names:
        return "be left out, this method has no options"
    near = difflib.get_close_matches(key, names, n=1)
    return f"be one of {', '.join(names)}" + (f"; did you mean {near[0]}?" if near else "")


def _fits(hint: Any, bounds: Mapping[str, float], value: JSON) -> bool:
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(part, bounds, value) for part in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is list:
        return type(value) is list and bool(value) and all(_fits(get_args(hint)[0], bounds, each) for each in value)
    if hint is float and type(value) in (int, float):
        return math.isfinite(value) and _within(bounds, value)
    if hint is int and type(value) is int:
        return _within(bounds, value)
    return hint is Any or type(value) is (get_origin(hint) or hint)


def _within(bounds: Mapping[str, float], value: float) -> bool:
    return all(_BOUNDS[name][1](value, bound) for name, bound in bounds.items())


def _expected(hint: Any, bounds: Mapping[str, float]) -> str:
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_expected(part, bounds) for part in get_args(hint))
    if get_origin(hint) is Literal:
        values = [repr(value) for value in get_args(hint)]
        return f"one of {', '.join(values)}" if len(values) > 1 else f"{values[0]}, its only value so far"
    if get_origin(hint) is list:
        return f"a list of at least one, each {_expected(get_args(hint)[0], bounds)}"
    limits = [f"{_BOUNDS[name][0]} {bound}" for name, bound in bounds.items()] if hint in (int, float) else []
    return " ".join([_TYPES.get(hint, str(hint)), " and ".join(limits)]).rstrip()
