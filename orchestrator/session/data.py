"""Reads the data that a study file only names: the rows of its tasks and its encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from auxtune.orchestrator.errors import BudgetTooSmall, ResourceError, StudyDataError
from auxtune.orchestrator.planning.budget import check_limits, explain_unreachable_limits
from auxtune.orchestrator.planning.slots import allot, describe_this_machine
from auxtune.orchestrator.study_file.paths import list_task_sources, locate_tokens, resolve_model
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.orchestrator.study_file.yaml_source import KeyPath
from auxtune.trials.data.tasks import Task, load_tasks
from auxtune.trials.encoded import EncodedTask
from auxtune.trials.encoder import BaseEncoder, EncoderError, load_base
from auxtune.trials.errors import DataError
from auxtune.trials.recipe import ModelOptions
from auxtune.trials.token_checks import check_tokenizer, describe_missed_words
from auxtune.trials.tokens import encode_tasks

ENCODER: KeyPath = ("model", "name")


def load_study_data(study: StudyFile) -> tuple[dict[str, Task], BaseEncoder]:
    """The tasks, in the order of the file, and the encoder. Raises ``StudyDataError`` with all that is wrong."""
    wrong: dict[KeyPath, list[str]] = {}
    tasks: dict[str, Task] = {}
    options = resolve_model(study)
    try:
        tasks = load_tasks(list_task_sources(study))
    except DataError as error:
        for problem in error.problems:
            path = ("tasks",) if problem.task is None else ("tasks", problem.task)
            wrong.setdefault(path, []).append(problem.text)
    try:
        encoder = load_base(options)
        encoder = replace(encoder, notes=(*encoder.notes, *check_tokenizer(options, encoder, tasks)))
    except DataError as error:
        # Named as the study file names it: in quotes, behind its key.
        wrong[ENCODER] = [
            problem.text if problem.encoder is None else f"{problem.encoder!r}: {problem.text}"
            for problem in error.problems
        ]
    except EncoderError as error:
        wrong[tuple(error.key.split("."))] = [error.message + _suggest_folder(study, options, error)]
    if wrong:
        raise StudyDataError("\n".join([study.format_messages(wrong), *_explain_moved_folder(study)]))
    return tasks, encoder


def encode_study_data(study: StudyFile, tasks: Mapping[str, Task]) -> dict[str, EncodedTask]:
    """The tasks on token ids. Raises ``StudyDataError`` where the encoder cannot read them."""
    try:
        return encode_tasks(tasks, resolve_model(study), locate_tokens(study))
    except DataError as error:
        raise StudyDataError(study.format_messages({ENCODER: error.messages})) from error


def list_missed_words(study: StudyFile, tasks: Mapping[str, Task]) -> list[str]:
    """A line for each task with labelled words beyond the encoder's longest input. Raises ``StudyDataError``."""
    try:
        return describe_missed_words(tasks, resolve_model(study))
    except DataError as error:
        raise StudyDataError(study.format_messages({ENCODER: error.messages})) from error


def list_encoder_notes(study: StudyFile, base: BaseEncoder) -> list[str]:
    """Notes on the chosen encoder, each behind its key."""
    return [f"model.name {study.options.model.name!r}: {note}" for note in base.notes]


def describe_unreachable_limits(study: StudyFile) -> list[str]:
    """Why limits of the budget are out of reach on this machine; nothing where no trial could run on it."""
    try:
        slots = allot(study.options.resources, describe_this_machine())
    except ResourceError:  # it is meant for other machines
        return []
    try:
        check_limits(study.options, slots)
    except BudgetTooSmall as error:
        return [f"{error}; `auxtune run` refuses it"]
    return list(explain_unreachable_limits(study.options, slots).values())


def _suggest_folder(study: StudyFile, options: ModelOptions, error: EncoderError) -> str:
    """A hint that a name unknown to the hub is not a folder here either, where it may have been meant as one."""
    may_be_folder = error.is_unread and not Path(options.name).is_absolute()
    return f"; and on this machine there is no such folder: {study.folder / options.name}" if may_be_folder else ""


def _explain_moved_folder(study: StudyFile) -> list[str]:
    """The remedy where the folder is gone that paths of tasks and encoder are relative to."""
    if study.folder.is_dir():
        return []
    return [
        f"{study.folder}: the last session found tasks and encoder there, and there is no such folder now; if the "
        "project was moved, `auxtune run FILE`, with the study file beside its data and from the folder that holds "
        f"{study.options.storage}, resumes this study, and from then on all is found there"
    ]
