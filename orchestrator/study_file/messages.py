"""Says in plain words what is wrong with a value of a study file: expectation, finding, remedy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic_core import ErrorDetails

from auxtune.orchestrator.study_file.keys import Schema, expected, find
from auxtune.orchestrator.study_file.unknown_keys import unknown
from auxtune.orchestrator.study_file.yaml_source import KeyPath, dotted

_MEANT = {"model": "name", "budget": "trials", "tasks.NAME": "path", "confirm": "seeds", "tracking": "uri"}


def explain(error: ErrorDetails) -> Iterator[tuple[KeyPath, str]]:
    """The key that pydantic complains about and the complaint; for an unknown one also those inside it."""
    where = tuple(step for step in error["loc"] if step != "[key]")
    path, node = find(where)
    if error["type"] == "extra_forbidden":
        yield from unknown(where, error["input"])
    elif error["type"] == "missing":
        yield path, f"missing; expected {expected(node)}"
    elif error["type"] == "value_error":
        yield path, str(error["ctx"]["error"])
    else:
        remedy = _inside(path, error["input"]) or _remedy(node)
        yield path, f"expected {expected(node)}, found {shown(error['input'])}{remedy}"


def shown(value: Any) -> str:
    """A value as a message names it, at most some sixty characters long."""
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else f"{value[:57]}...") if value else "empty text"
    return json.dumps(value)


def _inside(path: KeyPath, value: Any) -> str:
    """For one value in the place of a section: how it is written in the key of that section that it is meant for."""
    key = _MEANT.get("tasks.NAME" if len(path) == 2 and path[0] == "tasks" else dotted(path))
    plain = isinstance(value, str | int | float) and not isinstance(value, bool)
    return f"; write `{path[-1]}: {{{key}: {value}}}`" if key and plain and value != "" else ""


def _remedy(node: Schema) -> str:
    default = node.get("default")
    plain = default is not None and not isinstance(default, dict | list)
    return f"; omit it for the default {shown(default)}" if plain else ""
