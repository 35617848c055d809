"""The values that each key of the study file takes, in words: for messages and for the documentation's table.

They are read off the JSON schema of the models, so they cannot differ from what is accepted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, TypeAlias

from auxtune.orchestrator.study_file.models import KeyPath, StudyOptions

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
def build_study_schema() -> Schema:
    """The JSON schema of a study file."""
    return StudyOptions.model_json_schema()


def find_key(path: KeyPath) -> tuple[KeyPath, Schema]:
    """The longest part of ``path`` that is a key of the study file, and that key's schema."""
    node = build_study_schema()
    for depth, step in enumerate(path):
        child = _find_child(node, step)
        if child is None:
            return path[:depth], node
        node = child
    return path, node


def resolve_schema(node: Schema) -> Schema:
    """The schema that a reference, or a reference or null, stands for; of other choices the one that has keys."""
    for choice in node.get("anyOf", (node,)):
        if "properties" in choice:
            keyed: Schema = choice
            return keyed
        if "$ref" in choice:
            meant: Schema = build_study_schema()["$defs"][choice["$ref"].rpartition("/")[2]]
            return meant
    return node


def describe_expected(node: Schema) -> str:
    """The values of a key in words, as in ``a whole number ≥ 1 or null``."""
    if "anyOf" in node:
        return _join_choices([describe_expected(choice) for choice in node["anyOf"]])
    if "enum" in node:
        return _join_choices([f"`{value}`" for value in node["enum"]])
    if "const" in node:
        return f"`{node['const']}`"
    node = resolve_schema(node)
    if node["type"] == "array":
        least = f"at least {node['minItems']}: " if "minItems" in node else ""
        most = f"at most {node['maxItems']}: " if "maxItems" in node else ""
        return f"a list of {least}{most}{describe_expected(node['items'])}"
    bounds = [f"{sign} {node[bound]:g}" for bound, sign in _BOUNDS.items() if bound in node]
    entries = "with at least one entry" if "minProperties" in node else ""
    if isinstance(amounts := node.get("additionalProperties"), Mapping) and amounts.get("type") == "number":
        entries = f"of names to {describe_expected(amounts)}"
    return " ".join(filter(None, [_TYPES[node["type"]], " and ".join(bounds), entries]))


def write_key_table() -> str:
    """Every key with its values, default and meaning, as a Markdown table."""
    rows = [
        ("key", "values", "default", "meaning"),
        ("---", "---", "---", "---"),
        *_list_rows(build_study_schema(), ""),
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _list_rows(section: Schema, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    section = resolve_schema(section)
    for key, node in section["properties"].items():
        inner = resolve_schema(node)
        meaning = node.get("description") or inner["description"]
        default = "required" if key in section.get("required", ()) else _describe_default(node)
        yield f"`{prefix}{key}`", describe_expected(node), default, meaning.replace("\n", " ")
        if "properties" in inner:
            yield from _list_rows(inner, f"{prefix}{key}.")
        elif "properties" in resolve_schema(inner.get("additionalProperties") or {}):
            yield from _list_rows(inner["additionalProperties"], f"{prefix}{key}.NAME.")


def _describe_default(node: Schema) -> str:
    default = node.get("default")
    if isinstance(default, Mapping):
        return "" if default else "`{}`"
    if isinstance(default, list):
        return ", ".join(f"`{value}`" for value in default)
    return f"`{default}`" if isinstance(default, str) else f"`{json.dumps(default)}`"


def _find_child(node: Schema, step: str | int) -> Schema | None:
    node = resolve_schema(node)
    if step in node.get("properties", ()):
        child: Schema = node["properties"][step]
        return child
    if isinstance(step, int):
        return next((choice["items"] for choice in node.get("anyOf", (node,)) if "items" in choice), None)
    entries = node.get("additionalProperties")
    return entries if isinstance(entries, Mapping) else None


def _join_choices(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
