"""What each key of the study file expects, in words: for messages, for the documentation's table, for editors.

All of it is read off the JSON schema of the models, so that none of it can differ from what is accepted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, TypeAlias

from auxtune.orchestrator.study_file.models import StudyOptions
from auxtune.orchestrator.study_file.yaml_source import KeyPath

Schema: TypeAlias = Mapping[str, Any]
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "object": "a mapping",
    "null": "null",
}


@cache
def study_schema() -> Schema:
    """The JSON schema of a study file."""
    return StudyOptions.model_json_schema()


def find(path: KeyPath) -> tuple[KeyPath, Schema]:
    """The part of ``path`` that is a key of the study file, and that key's schema."""
    node = study_schema()
    for depth, step in enumerate(path):
        child = _child(node, step)
        if child is None:
            return path[:depth], node
        node = child
    return path, node


def resolved(node: Schema) -> Schema:
    """The schema that a reference, or a reference or null, stands for."""
    for choice in node.get("anyOf", (node,)):
        if "$ref" in choice:
            meant: Schema = study_schema()["$defs"][choice["$ref"].rpartition("/")[2]]
            return meant
    return node


def expected(node: Schema) -> str:
    """What values a key takes, as in ``a whole number ≥ 1 or null``."""
    if "anyOf" in node:
        return _either([expected(choice) for choice in node["anyOf"]])
    if "enum" in node:
        return _either([f"`{value}`" for value in node["enum"]])
    if "const" in node:
        return f"`{node['const']}`"
    node = resolved(node)
    if node["type"] == "array":
        least = f"at least {node['minItems']}: " if "minItems" in node else ""
        most = f"at most {node['maxItems']}: " if "maxItems" in node else ""
        return f"a list of {least}{most}{expected(node['items'])}"
    bounds = [f"{sign} {node[bound]:g}" for bound, sign in _BOUNDS.items() if bound in node]
    entries = "with at least one entry" if "minProperties" in node else ""
    if isinstance(amounts := node.get("additionalProperties"), Mapping) and amounts.get("type") == "number":
        entries = f"of names to {expected(amounts)}"
    return " ".join(filter(None, [_TYPES[node["type"]], " and ".join(bounds), entries]))


def key_table() -> str:
    """Every key with its values, default and meaning, as a Markdown table."""
    rows = [("key", "values", "default", "meaning"), ("---", "---", "---", "---"), *_rows(study_schema(), "")]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _rows(section: Schema, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    section = resolved(section)
    for key, node in section["properties"].items():
        inner = resolved(node)
        meaning = node.get("description") or inner["description"]
        default = "required" if key in section.get("required", ()) else _default(node)
        yield f"`{prefix}{key}`", expected(node), default, meaning.replace("\n", " ")
        if "properties" in inner:
            yield from _rows(inner, f"{prefix}{key}.")
        elif "properties" in resolved(inner.get("additionalProperties") or {}):
            yield from _rows(inner["additionalProperties"], f"{prefix}{key}.NAME.")


def _default(node: Schema) -> str:
    default = node.get("default")
    if isinstance(default, Mapping):
        return "" if default else "`{}`"
    if isinstance(default, list):
        return ", ".join(f"`{value}`" for value in default)
    return f"`{default}`" if isinstance(default, str) else f"`{json.dumps(default)}`"


def _child(node: Schema, step: str | int) -> Schema | None:
    node = resolved(node)
    if step in node.get("properties", ()):
        child: Schema = node["properties"][step]
        return child
    if isinstance(step, int):
        return node.get("items")
    entries = node.get("additionalProperties")
    return entries if isinstance(entries, Mapping) else None


def _either(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
