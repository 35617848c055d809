"""Reads a study file: text, overrides, environment → checked options, or every mistake at once with its line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from auxtune.orchestrator.errors import Mistake, StudyFileError
from auxtune.orchestrator.study_file.messages import explain, shown
from auxtune.orchestrator.study_file.models import StudyOptions
from auxtune.orchestrator.study_file.overrides import apply_override
from auxtune.orchestrator.study_file.rules import broken_rules
from auxtune.orchestrator.study_file.yaml_source import KeyPath, Tree, dotted, read_tree


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

    def told(self, messages: Mapping[KeyPath, Sequence[str]]) -> str:
        """``messages`` about what keys name, a line each, behind where the key stands."""
        tree = Tree(places={(): 1, **self.places})
        for path, several in messages.items():
            tree.mistakes += [Mistake(tree.place(path), dotted(path), message) for message in several]
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
    options = _checked(tree, overrides)
    if options is None or tree.mistakes:
        raise StudyFileError(origin, tree.mistakes)
    return StudyFile(options, text, Path(origin), folder, working_folder or Path.cwd(), tuple(overrides), tree.places)


def _checked(tree: Tree, overrides: Sequence[str]) -> StudyOptions | None:
    """The options, or ``None`` where they cannot be made; every mistake is noted in the tree."""
    if not isinstance(tree.data, dict):
        if not tree.mistakes:
            tree.add_mistake((), f"expected a mapping of keys, found {shown(tree.data)}")
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
    for path, message in broken_rules(tree.data):
        tree.add_mistake(path, message)
    return options
