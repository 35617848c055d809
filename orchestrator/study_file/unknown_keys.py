"""What an unknown key was probably meant to be: a slip of the keyboard, another section's key, or another tool's.

What is surer is asked first. So ``eval_steps`` is Hugging Face's name of ``training.evaluate_every``, and not a
misspelt ``steps``; and ``batch_size`` outside of ``training`` is named with its section.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from auxtune.orchestrator.study_file.foreign_keys import FOREIGN, counterpart_of, plain
from auxtune.orchestrator.study_file.keys import Schema, find, resolved, study_schema
from auxtune.orchestrator.study_file.yaml_source import KeyPath
from auxtune.trials.errors import find_closest

_SLIP = 0.7  # how alike a misspelt key is to one beside it
_FAR_SLIP = 0.85  # and to one that belongs elsewhere: there are many of these


def unknown(path: KeyPath, value: Any) -> Iterator[tuple[KeyPath, str]]:
    """What to say of the unknown key at ``path``, and of keys inside its value that stand for something here."""
    known = list(resolved(find(path[:-1])[1]).get("properties", ()))
    hint = meant(path, known)
    yield path, f"unknown key; {hint or 'known are ' + ', '.join(known)}"
    if isinstance(value, Mapping):
        for key, inside in value.items():
            within = (*path, str(key))
            if inner := meant(within, []):
                yield within, f"unknown key; {inner}"
            elif isinstance(inside, Mapping):
                yield from list(unknown(within, inside))[1:]


def meant(path: KeyPath, known: list[str]) -> str | None:
    """What the key at ``path``, beside which there may be the ``known`` ones, was probably meant to be.

    ``None``: nothing is like it.
    """
    name, task = str(path[-1]), str(path[1]) if path[0] == "tasks" and len(path) > 2 else "NAME"
    same = [key for key in known if plain(key) == plain(name)]
    foreign = counterpart_of(str(path[0]) if len(path) > 1 else "top", name)
    elsewhere = own_keys().get(plain(name), ())
    if same:
        return f"did you mean `{same[0]}`?"
    if foreign is not None:
        return foreign.hint(task)
    if elsewhere:
        return _one_of(elsewhere, task)
    if slip := find_closest(name, known, _SLIP):
        return f"did you mean `{slip}`?"
    return _far_slip(plain(name), task)


def _far_slip(name: str, task: str) -> str | None:
    """For a misspelt key of another section or tool; short names are alike by chance."""
    foreign = {key[1:]: counterpart for key, counterpart in FOREIGN.items() if key.startswith(".")}
    found = find_closest(name, [*own_keys(), *foreign], _FAR_SLIP) if len(name) > 6 else None
    if found is None:
        return None
    return _one_of(own_keys()[found], task) if found in own_keys() else foreign[found].hint(task)


def _one_of(keys: tuple[str, ...], task: str) -> str:
    return f"did you mean {' or '.join(f'`{key}`' for key in keys).replace('TASK', task)}?"


@cache
def own_keys() -> Mapping[str, tuple[str, ...]]:
    """All keys of the study file, dotted, by their last part as ``plain`` has it."""
    found: dict[str, tuple[str, ...]] = {}
    for dotted in _dotted(study_schema(), ""):
        name = plain(dotted.rpartition(".")[2])
        found[name] = (*found.get(name, ()), dotted)
    return found


def _dotted(section: Schema, prefix: str) -> Iterator[str]:
    for key, node in resolved(section).get("properties", {}).items():
        yield f"{prefix}{key}"
        yield from _dotted(node, f"{prefix}{key}.")
        entries = resolved(node).get("additionalProperties")
        if isinstance(entries, Mapping):
            yield from _dotted(entries, f"{prefix}{key}.TASK.")
