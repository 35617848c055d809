"""Options of a selector: a frozen pydantic dataclass whose errors say what to write instead.

A selector is a class whose fields are its options. ``Field`` gives each its default, its bounds and its meaning; the
method table, the generated docs and every error message come from that one place.

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
        """Tell type checkers that a decorator makes dataclasses; does nothing at run time."""
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

    Illegal options raise ``ValueError`` with the option, its legal values, the value found and the default. The class
    attribute ``options_of`` names their owner in errors: ``selector`` if there is none.
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
        Option(name, _describe_field(field), _read_default(field), field.description)
        for name, field in _read_fields(cls).items()
    )


def check_options(cls: type[Any], given: Mapping[str, JSON], where: str = "selector") -> None:
    """Raise ``ValueError``, naming ``where`` and the key, unless ``given`` are legal options of ``cls``."""
    try:
        _convert_to_pydantic(cls)(**given)
    except ValidationError as error:
        raise ValueError(_explain(error, cls, where)) from None


def _convert_to_pydantic(cls: type[Any]) -> type[Any]:
    """``cls`` or, of a plain dataclass, a subclass whose fields are checked by their annotations."""
    if is_pydantic_dataclass(cls):
        return cls
    twin = type(cls.__name__, (cls,), {"__module__": cls.__module__})
    return dataclass(frozen=True, config=_STRICT)(twin)


def _read_fields(cls: type[Any]) -> Mapping[str, FieldInfo]:
    fields: Mapping[str, FieldInfo] = _convert_to_pydantic(cls).__pydantic_fields__
    return fields


def _explain(error: ValidationError, cls: type[Any], where: str) -> str:
    """The first error, in words that say what to write instead."""
    first, fields = error.errors()[0], _read_fields(cls)
    if first["type"] == "value_error" and not first["loc"]:  # raised by __post_init__
        return str(first["ctx"]["error"])
    key = str(first["loc"][0])
    if key not in fields:
        return f"{where}.{key} must {_suggest_names(key, list(fields))}"
    return (
        f"{where}.{key} must be {_describe_field(fields[key])}, got {first['input']!r}; "
        f"omit it for the default {_read_default(fields[key])!r}"
    )


def _suggest_names(key: str, names: list[str]) -> str:
    if not names:
        return "be left out, this method has no options"
    near = difflib.get_close_matches(key, names, n=1)
    return f"be one of {', '.join(names)}" + (f"; did you mean {near[0]}?" if near else "")


def _read_default(field: FieldInfo) -> JSON:
    return field.get_default(call_default_factory=True)


def _describe_field(field: FieldInfo) -> str:
    return _describe_type(field.annotation, field.metadata)


def _describe_type(annotation: Any, metadata: list[Any]) -> str:
    """The legal values of an option of this type and with these bounds, in words."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _describe_type(parts[0], [bound for field in parts[1:] for bound in field.metadata])
    if origin in (Union, UnionType):
        return " or ".join(_describe_type(part, metadata) for part in parts)
    if origin is Literal:
        values = [repr(value) for value in parts]
        return f"one of {', '.join(values)}" if len(values) > 1 else f"{values[0]}, its only value so far"
    if origin is list:
        return f"a list of at least one, each {_describe_type(parts[0], metadata)}"
    limits = [] if annotation not in (int, float) else [_describe_bound(bound) for bound in metadata]
    return " ".join([_TYPES.get(annotation, str(annotation)), " and ".join(limits)]).rstrip()


def _describe_bound(bound: Any) -> str:
    return next(f"{words} {getattr(bound, name)}" for name, words in _BOUNDS.items() if hasattr(bound, name))
