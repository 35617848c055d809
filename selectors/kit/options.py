"""Options of a selector: a frozen pydantic dataclass whose errors say what to write instead.

A selector is a class whose fields are its options. ``Field`` gives each its default, its bounds and its meaning; the
method table, the generated docs and every error message are made from that one place.

    @options
    class Markov:
        gamma: float = Field(default=0.3, ge=0, le=1, description="share that is forgotten each round")

Every option has a default, so that leaving one out is always legal. Types are strict: no text for a number, no
fraction for an integer, no infinity.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from functools import wraps
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass, is_pydantic_dataclass
from pydantic.fields import FieldInfo

from auxtune.selectors.protocol import JSON

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:  # in the standard library from Python 3.11 on

    def dataclass_transform(**_: Any) -> Any:
        """Tell type checkers, and nobody else, that a decorator makes dataclasses."""
        return lambda decorator: decorator


Made = TypeVar("Made")

_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
_TYPES: dict[Any, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "text",
    NoneType: "null",
}
_BOUNDS = {"gt": "above", "ge": "of at least", "le": "of at most"}


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a method, for people to read."""

    name: str
    expected: str
    default: JSON
    meaning: str | None


@dataclass_transform(frozen_default=True, field_specifiers=(Field,))
def options(cls: type[Made]) -> type[Made]:
    """Make ``cls`` a frozen, strict pydantic dataclass.

    Illegal options raise ``ValueError`` with the option, what was expected, what was found and the default. The class
    attribute ``options_of`` says what they are options of: ``selector`` where there is none.
    """
    made: Any = dataclass(frozen=True, config=_STRICT)(cls)
    initialise = made.__init__

    @wraps(initialise)
    def initialise_or_explain(self: Any, *args: Any, **given: Any) -> None:
        try:
            initialise(self, *args, **given)
        except ValidationError as error:
            where = getattr(type(self), "options_of", "selector")
            raise ValueError(_explain(error, type(self), where)) from None

    made.__init__ = initialise_or_explain
    checked: type[Made] = made
    return checked


def describe_options(cls: type[Any]) -> tuple[Option, ...]:
    """The options of a selector class, in the order it declares them."""
    return tuple(
        Option(name, _expected_of(field), _default_of(field), field.description)
        for name, field in _fields_of(cls).items()
    )


def check_options(cls: type[Any], given: Mapping[str, JSON], where: str = "selector") -> None:
    """Raise ``ValueError``, naming ``where`` and the key, unless ``given`` are legal options of ``cls``."""
    try:
        _as_pydantic(cls)(**given)
    except ValidationError as error:
        raise ValueError(_explain(error, cls, where)) from None


def _as_pydantic(cls: type[Any]) -> type[Any]:
    """``cls`` or, of a plain dataclass, a subclass whose fields are checked by their annotations."""
    if is_pydantic_dataclass(cls):
        return cls
    twin = type(cls.__name__, (cls,), {"__module__": cls.__module__})
    return dataclass(frozen=True, config=_STRICT)(twin)


def _fields_of(cls: type[Any]) -> Mapping[str, FieldInfo]:
    fields: Mapping[str, FieldInfo] = _as_pydantic(cls).__pydantic_fields__
    return fields


def _explain(error: ValidationError, cls: type[Any], where: str) -> str:
    """The first error, in words that say what to write instead."""
    first, fields = error.errors()[0], _fields_of(cls)
    if first["type"] == "value_error" and not first["loc"]:  # what __post_init__ raised
        return str(first["ctx"]["error"])
    key = str(first["loc"][0])
    if key not in fields:
        return f"{where}.{key} must {_known(key, list(fields))}"
    return (
        f"{where}.{key} must be {_expected_of(fields[key])}, got {first['input']!r}; "
        f"omit it for the default {_default_of(fields[key])!r}"
    )


def _known(key: str, names: list[str]) -> str:
    if not names:
        return "be left out, this method has no options"
    near = difflib.get_close_matches(key, names, n=1)
    return f"be one of {', '.join(names)}" + (f"; did you mean {near[0]}?" if near else "")


def _default_of(field: FieldInfo) -> JSON:
    return field.get_default(call_default_factory=True)


def _expected_of(field: FieldInfo) -> str:
    return _expected(field.annotation, field.metadata)


def _expected(annotation: Any, metadata: list[Any]) -> str:
    """What an option of this type and with these bounds may be, in words."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _expected(parts[0], [bound for field in parts[1:] for bound in field.metadata])
    if origin in (Union, UnionType):
        return " or ".join(_expected(part, metadata) for part in parts)
    if origin is Literal:
        values = [repr(value) for value in parts]
        return f"one of {', '.join(values)}" if len(values) > 1 else f"{values[0]}, its only value so far"
    if origin is list:
        return f"a list of at least one, each {_expected(parts[0], metadata)}"
    limits = [] if annotation not in (int, float) else [_limit(bound) for bound in metadata]
    return " ".join([_TYPES.get(annotation, str(annotation)), " and ".join(limits)]).rstrip()


def _limit(bound: Any) -> str:
    return next(f"{words} {getattr(bound, name)}" for name, words in _BOUNDS.items() if hasattr(bound, name))
