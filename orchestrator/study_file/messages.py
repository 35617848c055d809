"""Says in plain words what is wrong with a value of a study file: expectation, finding, remedy."""

from __future__ import annotations

import json
from difflib import get_close_matches
from typing import Any

from pydantic_core import ErrorDetails

from auxtune.orchestrator.study_file.keys import Schema, expected, find, resolved
from auxtune.orchestrator.study_file.yaml_source import KeyPath


def explain(error: ErrorDetails) -> tuple[KeyPath, str]:
    """The key that pydantic complains about, and the complaint."""
    where = tuple(step for step in error["loc"] if step != "[key]")
    path, node = find(where)
    if error["type"] == "extra_forbidden":
        return where, _unknown(where)
    if error["type"] == "missing":
        return path, f"missing; expected {expected(node)}"
    if error["type"] == "value_error":
        return path, str(error["ctx"]["error"])
    return path, f"expected {expected(node)}, found {shown(error['input'])}{_remedy(node)}"


def shown(value: Any) -> str:
    """A value as a message names it, at most some sixty characters long."""
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else f"{value[:57]}...") if value else "empty text"
    return json.dumps(value)


def _unknown(path: KeyPath) -> str:
    siblings = list(resolved(find(path[:-1])[1])["properties"])
    closest = get_close_matches(str(path[-1]), siblings, n=1)
    return f"unknown key; did you mean `{closest[0]}`?" if closest else f"unknown key; known are {', '.join(siblings)}"


def _remedy(node: Schema) -> str:
    default = node.get("default")
    plain = default is not None and not isinstance(default, dict | list)
    return f"; omit it for the default {shown(default)}" if plain else ""
