"""Reads a study file: text, overrides, environment → checked options, or every mistake at once with its line.

The file is read as a tree of values with their lines, overrides (``--set training.steps=200``) replace values in it,
and the models and rules check the result. Pydantic's complaints are put in plain words: what was expected, what was
found, what to do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from auxtune.orchestrator.errors import Mistake, StudyFileError
from auxtune.orchestrator.study_file.keys import Schema, describe_expected, find_key
from auxtune.orchestrator.study_file.models import StudyOptions
from auxtune.orchestrator.study_file.rules import check_rules
from auxtune.orchestrator.study_file.unknown_keys import explain_unknown_key
from auxtune.orchestrator.study_file.yaml_source import KeyPath, Tree, format_path, read_tree


@dataclass(frozen=True)
class StudyFile:
    """A study as written and as understood.

    ``text`` is the file as it stands, variables unexpanded: what is kept. Relative paths of tasks and encoder start
    at ``folder``, where the file is; those of storage and tracking start at ``working_folder``.
    """

    options: StudyOptions
    text: str
    path: Path
    folder: Path
    working_folder: Path
    overrides: tuple[str, ...] = ()
    places: Mapping[KeyPath, int | str] = field(default_factory=dict)  # of keys: a line, or an override

    def format_messages(self, messages: Mapping[KeyPath, Sequence[str]]) -> str:
        """Messages about the values of keys, one a line, each with the line or override that holds the key."""
        tree = Tree(places={(): 1, **self.places})
        for path, several in messages.items():
            tree.mistakes += [Mistake(tree.place(path), format_path(path), message) for message in several]
        return str(StudyFileError(str(self.path), tree.mistakes))


def read_study(path: Path, overrides: Sequence[str] = ()) -> StudyFile:
    """The study in the file ``path`` with ``overrides`` such as ``training.steps=200``.

    Raises ``StudyFileError`` with every mistake, also where the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise StudyFileError(str(path), [Mistake(1, "", f"cannot be read: {reason}")]) from error
    return parse_study(text, str(path), path.resolve().parent, overrides)


def parse_study(
    text: str, origin: str, folder: Path, overrides: Sequence[str] = (), working_folder: Path | None = None
) -> StudyFile:
    """The study in ``text``; messages name it by ``origin``. ``working_folder`` is the current one unless given.

    Raises ``StudyFileError`` with every mistake.
    """
    tree = read_tree(text)
    options = _check_options(tree, overrides)
    if options is None or tree.mistakes:
        raise StudyFileError(origin, tree.mistakes)
    return StudyFile(options, text, Path(origin), folder, working_folder or Path.cwd(), tuple(overrides), tree.places)


def _check_options(tree: Tree, overrides: Sequence[str]) -> StudyOptions | None:
    """The options, or ``None`` where they cannot be made; every mistake is noted in the tree."""
    if not isinstance(tree.data, dict):
        if not tree.mistakes:
            tree.add_mistake((), f"expected a mapping of keys, found {show_value(tree.data)}")
        return None
    for override in overrides:
        apply_override(tree, override)
    options = None
    try:
        # As JSON, because pydantic is strict there just as YAML is: lists are tuples, but "3" is not a number.
        options = StudyOptions.model_validate_json(json.dumps(tree.data))
    except ValidationError as error:
        for details in error.errors():
            for path, message in explain(details):
                tree.add_mistake(path, message)
    for path, message in check_rules(tree.data):
        tree.add_mistake(path, message)
    return options


_MEANT = {"model": "name", "budget": "trials", "tasks.NAME": "path", "confirm": "seeds", "tracking": "uri"}


def explain(error: ErrorDetails) -> Iterator[tuple[KeyPath, str]]:
    """The key that pydantic complains about and the complaint; for an unknown one also those inside it."""
    where = tuple(step for step in error["loc"] if step != "[key]")
    path, node = find_key(where)
    if error["type"] == "extra_forbidden":
        yield from explain_unknown_key(where, error["input"])
    elif error["type"] == "missing":
        yield path, f"missing; expected {describe_expected(node)}"
    elif error["type"] == "value_error":
        yield path, str(error["ctx"]["error"])
    else:
        remedy = _suggest_section(path, error["input"]) or _suggest_default(node)
        yield path, f"expected {describe_expected(node)}, found {show_value(error['input'])}{remedy}"


def show_value(value: Any) -> str:
    """A value as a message names it, at most some sixty characters long."""
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else f"{value[:57]}...") if value else "empty text"
    return json.dumps(value)


def _suggest_section(path: KeyPath, value: Any) -> str:
    """For one value in the place of a section: how it is written in the key of that section that it is meant for."""
    key = _MEANT.get("tasks.NAME" if len(path) == 2 and path[0] == "tasks" else format_path(path))
    plain = isinstance(value, str | int | float) and not isinstance(value, bool)
    return f"; write `{path[-1]}: {{{key}: {value}}}`" if key and plain and value != "" else ""


def _suggest_default(node: Schema) -> str:
    default = node.get("default")
    plain = default is not None and not isinstance(default, dict | list)
    return f"; omit it for the default {show_value(default)}" if plain else ""


def apply_override(tree: Tree, override: str) -> None:
    """Put the value of ``key.inside.key=value`` into the tree; from now on its place is the override.

    The value is YAML, and mistakes about the key in the file no longer count. An option of a selector that is only
    named (``selector: thompson``) makes a mapping of it. An override that cannot be applied is a mistake of the tree.
    """
    key, equals, text = override.partition("=")
    value = read_tree(text)
    if not equals or not all(key.split(".")):
        tree.mistakes.append(Mistake(override, "", "expected KEY=VALUE, as in training.steps=200"))
    elif value.mistakes:
        tree.mistakes += [Mistake(override, key, mistake.message) for mistake in value.mistakes]
    else:
        _put_value(tree, key, value.data, override)


def _put_value(tree: Tree, key: str, value: Any, override: str) -> None:
    path: KeyPath = ()
    inside = tree.data
    step, rest = _split_key(inside, key)
    while rest:
        path = (*path, step)
        if path == ("selector",) and isinstance(inside.get(step), str):
            inside[step] = {"name": inside[step]}
        elif inside.get(step) is None:
            inside[step] = {}
            tree.places.setdefault(path, override)
        inside = inside[step]
        if not isinstance(inside, dict):
            tree.mistakes.append(Mistake(override, key, f"`{format_path(path)}` has no keys inside"))
            return
        step, rest = _split_key(inside, rest)
    inside[step] = value
    _replace_key(tree, (*path, step), override)


def _split_key(inside: dict[str, Any], key: str) -> tuple[str, str]:
    """The first of the dotted keys, and the rest. Names may hold dots themselves: the longest known one counts."""
    parts = key.split(".")
    known = (length for length in range(len(parts), 1, -1) if ".".join(parts[:length]) in inside)
    length = next(known, 1)
    return ".".join(parts[:length]), ".".join(parts[length:])


def _replace_key(tree: Tree, path: KeyPath, override: str) -> None:
    replaced = format_path(path)
    tree.places = {known: place for known, place in tree.places.items() if known[: len(path)] != path}
    tree.places[path] = override
    tree.mistakes = [
        mistake for mistake in tree.mistakes if mistake.key != replaced and not mistake.key.startswith(f"{replaced}.")
    ]
