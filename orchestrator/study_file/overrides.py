"""Changes of single keys from the command line: ``--set training.steps=200``."""

from __future__ import annotations

from typing import Any

from auxtune.orchestrator.errors import Mistake
from auxtune.orchestrator.study_file.yaml_source import KeyPath, Tree, dotted, read_tree


def apply_override(tree: Tree, override: str) -> None:
    """Puts the value of ``key.inside.key=value`` into the tree, where it stands in the override from now on.

    The value is YAML, and whatever was wrong with the key in the file no longer counts. An option of a selector that
    is only named (``selector: thompson``) makes a mapping of it. What cannot be applied is a mistake of the tree.
    """
    key, equals, text = override.partition("=")
    value = read_tree(text)
    if not equals or not all(key.split(".")):
        tree.mistakes.append(Mistake(override, "", "expected KEY=VALUE, as in training.steps=200"))
    elif value.mistakes:
        tree.mistakes += [Mistake(override, key, mistake.message) for mistake in value.mistakes]
    else:
        _put(tree, key, value.data, override)


def _put(tree: Tree, key: str, value: Any, override: str) -> None:
    path: KeyPath = ()
    inside = tree.data
    step, rest = _next_key(inside, key)
    while rest:
        path = (*path, step)
        if path == ("selector",) and isinstance(inside.get(step), str):
            inside[step] = {"name": inside[step]}
        elif inside.get(step) is None:
            inside[step] = {}
            tree.places.setdefault(path, override)
        inside = inside[step]
        if not isinstance(inside, dict):
            tree.mistakes.append(Mistake(override, key, f"`{dotted(path)}` has no keys inside"))
            return
        step, rest = _next_key(inside, rest)
    inside[step] = value
    _stands_in(tree, (*path, step), override)


def _next_key(inside: dict[str, Any], key: str) -> tuple[str, str]:
    """The first of the dotted keys, and the rest. Names may hold dots themselves: the longest known one counts."""
    parts = key.split(".")
    known = (length for length in range(len(parts), 1, -1) if ".".join(parts[:length]) in inside)
    length = next(known, 1)
    return ".".join(parts[:length]), ".".join(parts[length:])


def _stands_in(tree: Tree, path: KeyPath, override: str) -> None:
    replaced = dotted(path)
    tree.places = {known: place for known, place in tree.places.items() if known[: len(path)] != path}
    tree.places[path] = override
    tree.mistakes = [
        mistake for mistake in tree.mistakes if mistake.key != replaced and not mistake.key.startswith(f"{replaced}.")
    ]
