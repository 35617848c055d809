"""Reads what a study file only names: the rows of its tasks and its encoder."""

from __future__ import annotations

from collections.abc import Mapping

from auxtune.orchestrator.errors import StudyDataError
from auxtune.orchestrator.study_file.paths import model_options, task_sources
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.orchestrator.study_file.yaml_source import KeyPath
from auxtune.trials.data import Task, load_tasks
from auxtune.trials.encoder import BaseEncoder, load_base
from auxtune.trials.problems import DataError
from auxtune.trials.truncation import missed_words

ENCODER: KeyPath = ("model", "encoder")


def load_study_data(study: StudyFile) -> tuple[dict[str, Task], BaseEncoder]:
    """The tasks, in the order of the file, and the encoder. Raises ``StudyDataError`` with all that is wrong."""
    wrong: dict[KeyPath, list[str]] = {}
    try:
        tasks = load_tasks(task_sources(study))
    except DataError as error:
        for message in error.messages:
            path, rest = _key_of(message, study)
            wrong.setdefault(path, []).append(rest)
    try:
        encoder = load_base(model_options(study))
    except ValueError as error:
        key, _, rest = str(error).partition(" ")       # it says itself which key it is about
        wrong[tuple(key.rstrip(":").split("."))] = [rest]
    if wrong:
        raise StudyDataError(study.told(wrong))
    return tasks, encoder


def missed_words_of(study: StudyFile, tasks: Mapping[str, Task]) -> list[str]:
    """What is to be said of the labelled words that the encoder is not shown. Raises ``StudyDataError``."""
    try:
        return missed_words(tasks, model_options(study))
    except DataError as error:
        raise StudyDataError(study.told({ENCODER: error.messages})) from error


def _key_of(message: str, study: StudyFile) -> tuple[KeyPath, str]:
    """The key that a message on a task's data is about, and what is left to say."""
    for name in study.options.tasks:
        if message.startswith(f"task {name}: "):
            return ("tasks", name), message.removeprefix(f"task {name}: ")
    return ("tasks",), message
