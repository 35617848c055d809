"""Reads a study file: text, overrides, environment → checked options, or every mistake at once with its line.

The file is read as a tree of values with their lines, overrides (``--set training.steps=200``) replace values in it,
and the models and rules check the result. Pydantic's complaints are put in plain words: what was expected, what was
found, what to do.

Every value keeps its line, nothing is lost and nothing is executed. PyYAML alone silently keeps the last of two equal
keys, reads ``no`` as false and ``5e-5`` as text, and forgets where things stood. So its nodes are read here: equal keys
are mistakes, keys are always text, plain values follow YAML 1.2's core schema (and are resolved after variables are
expanded, so ``${N:-3}`` is a number), tags are refused.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from auxtune.orchestrator.errors import Mistake, StudyFileError
from auxtune.orchestrator.study_file.keys import Schema, describe_expected, find_key
from auxtune.orchestrator.study_file.models import KeyPath, StudyOptions
from auxtune.orchestrator.study_file.rules import check_rules
from auxtune.orchestrator.study_file.unknown_keys import explain_unknown_key
from auxtune.orchestrator.uri_secrets import has_literal_secret, hide_secrets

_MEANT = {"model": "name", "budget": "trials", "tasks.NAME": "path", "confirm": "seeds", "tracking": "uri"}
_MOST_VALUES = 100_000
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
_WHOLE = re.compile(r"[-+]?[0-9]{1,18}")  # anything longer is a float, which counts nothing
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_BEYOND = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_REFERENCE = re.compile(r"(?P<escape>\$\$\{)|\$\{(?:(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\})?", re.ASCII)


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
            tree.add_mistake((), f"expected a mapping of keys, found {_show_value(tree.data)}")
        return None
    for override in overrides:
        _apply_override(tree, override)
    options = None
    try:
        # As JSON, because pydantic is strict there just as YAML is: lists are tuples, but "3" is not a number.
        options = StudyOptions.model_validate_json(json.dumps(tree.data))
    except ValidationError as error:
        for details in error.errors():
            for path, message in _explain(details):
                tree.add_mistake(path, message)
    for path, message in check_rules(tree.data):
        tree.add_mistake(path, message)
    return options


@dataclass
class Tree:
    """The values of a document, where each one stands (a line, or an override) and what was wrong on the way."""

    data: Any = None
    places: dict[KeyPath, int | str] = field(default_factory=lambda: {(): 1})
    mistakes: list[Mistake] = field(default_factory=list)
    values: int = 0  # read so far

    def place(self, path: KeyPath) -> int | str:
        """The line or override of ``path`` or, if it is missing, of the nearest key around it."""
        around = (path[:length] for length in range(len(path), -1, -1))
        return next(self.places[outer] for outer in around if outer in self.places)

    def add_mistake(self, path: KeyPath, message: str) -> None:
        """Record a mistake, unless this key has one already: the first one tells the cause."""
        mistake = Mistake(self.place(path), format_path(path), message)
        if not any((known.place, known.key) == (mistake.place, mistake.key) for known in self.mistakes):
            self.mistakes.append(mistake)


def format_path(path: KeyPath) -> str:
    """The path as people write it: ``tasks.cr.rows``."""
    return ".".join(str(step) for step in path)


def read_tree(text: str) -> Tree:
    """The document in ``text``, with variables from the environment expanded in values.

    Text that is not YAML gives a tree without data and one mistake.
    """
    tree = Tree()
    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)
        tree.data = None if node is None else _read_value(node, (), tree)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line if error.problem_mark else 0
        variable = any("${" in shown for shown in text.splitlines()[line : line + 1])
        hint = "; inside { } or [ ], a value with ${ needs quotes" if variable else ""
        tree.mistakes.append(Mistake(line + 1, "", f"not YAML: {error.problem or error}{hint}"))
    except yaml.YAMLError as error:
        tree.mistakes.append(Mistake(1, "", f"not YAML: {error}"))
    except RecursionError:
        tree.mistakes.append(Mistake(1, "", "nested too deeply; a study file has at most four levels"))
    return tree


def _read_value(node: yaml.Node, path: KeyPath, tree: Tree) -> Any:
    tree.places.setdefault(path, node.start_mark.line + 1)
    tree.values += 1
    if tree.values > _MOST_VALUES:  # aliases of aliases would go on for hours
        raise yaml.YAMLError(f"more than {_MOST_VALUES:,} values, those behind aliases (*name) counted each time")
    if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.split(":")[-1] not in ("str", "seq", "map"):
        tree.add_mistake(path, f"tags such as {node.tag} are not read; write the plain value")
        return None
    if isinstance(node, yaml.MappingNode):
        return {key: _read_value(child, (*path, key), tree) for key, child in _read_entries(node, path, tree)}
    if isinstance(node, yaml.SequenceNode):
        return [_read_value(child, (*path, index), tree) for index, child in enumerate(node.value)]
    text = _expand_value(node.value, path, tree)
    unquoted = isinstance(node, yaml.ScalarNode) and node.style is None
    return _parse_scalar(text) if unquoted else text


def _read_entries(node: yaml.MappingNode, path: KeyPath, tree: Tree) -> Iterator[tuple[str, yaml.Node]]:
    first: dict[str, int] = {}
    for key_node, child in node.value:
        line, key = key_node.start_mark.line + 1, key_node.value
        if not isinstance(key_node, yaml.ScalarNode):
            tree.mistakes.append(Mistake(line, format_path(path), "expected a plain key, found a list or mapping"))
        elif key in first:
            message = f"given twice, first on line {first[key]}; keep one"
            tree.mistakes.append(Mistake(line, format_path((*path, key)), message))
        else:
            inside = (*path, key)
            first[key] = tree.places[inside] = line
            yield key, child


def _expand_value(written: str, path: KeyPath, tree: Tree) -> str:
    if has_literal_secret(written):
        tree.add_mistake(path, "holds a password or a token; write ${VARIABLE} in its place and set that variable")
        return written
    try:
        return expand_variables(written, os.environ)
    except ValueError as error:
        tree.add_mistake(path, str(error))
        return written


def _parse_scalar(text: str) -> Any:
    """The value of an unquoted scalar in YAML 1.2's core schema."""
    if _NULL.fullmatch(text):
        return None
    if _BOOLEAN.fullmatch(text):
        return text.lower() == "true"
    if _WHOLE.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    if _BEYOND.fullmatch(text):
        return float(text.lower().replace(".", ""))
    return text


def expand_variables(text: str, environment: Mapping[str, str]) -> str:
    """The text with variables filled in. ``$${`` stands for a literal ``${``.

    A default counts where the variable is unset or empty. Raises ``ValueError`` for a variable that is neither set
    nor given a default, and for ``${`` that no variable follows.

    >>> expand_variables("${DATA:-/data}/rte", {})
    '/data/rte'
    """

    def value(match: re.Match[str]) -> str:
        if match["escape"]:
            return "${"
        name, default = match["name"], match["default"]
        if name is None:
            raise ValueError("expected ${NAME} or ${NAME:-default}; write $${ for a literal ${")
        if default is not None:
            return environment.get(name) or default
        if name not in environment:
            raise ValueError(f"the environment variable {name} is not set; set it or write ${{{name}:-default}}")
        return environment[name]

    return _REFERENCE.sub(value, text)


def _apply_override(tree: Tree, override: str) -> None:
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


def _explain(error: ErrorDetails) -> Iterator[tuple[KeyPath, str]]:
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
        yield path, f"expected {describe_expected(node)}, found {_show_value(error['input'])}{remedy}"


def _show_value(value: Any) -> str:
    """A value as a message names it, at most some sixty characters long."""
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, str):
        value = hide_secrets(value)
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
    return f"; omit it for the default {_show_value(default)}" if plain else ""
