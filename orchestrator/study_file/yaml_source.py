"""Reads YAML so that every value keeps its line, nothing is lost and nothing is executed.

PyYAML alone silently keeps the last of two equal keys, reads ``no`` as false and ``5e-5`` as text, and forgets
where things stood. So its nodes are read here: equal keys are mistakes, keys are always text, plain values follow
YAML 1.2's core schema (and are resolved after variables are expanded, so ``${N:-3}`` is a number), tags are refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml

from auxtune.orchestrator.errors import Mistake

KeyPath: TypeAlias = tuple[str | int, ...]

_PASSWORD = re.compile(r"://[^/\s:@]*:(?!\$\{\w+\}@)[^@/\s]+@")
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
_WHOLE = re.compile(r"[-+]?[0-9]{1,18}")  # anything longer is a float, which counts nothing
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_BEYOND = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass
class Tree:
    """The values of a document, where each one stands (a line, or an override) and what was wrong on the way."""

    data: Any = None
    places: dict[KeyPath, int | str] = field(default_factory=lambda: {(): 1})
    mistakes: list[Mistake] = field(default_factory=list)

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
    if _PASSWORD.search(written):
        tree.add_mistake(path, "holds a password; write ${VARIABLE} in its place and set that variable")
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


_REFERENCE = re.compile(r"(?P<escape>\$\$\{)|\$\{(?:(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\})?", re.ASCII)


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
