"""Reads what a study file only names: the rows of its tasks and its encoder."""

from __future__ import annotations

from auxtune.orchestrator.errors import StudyDataError
from auxtune.orchestrator.study_file.paths import model_options, task_sources
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.trials.data import Task, load_tasks
from auxtune.trials.encoder import BaseEncoder, load_base
from auxtune.trials.problems import Problems


def load_study_data(study: StudyFile) -> tuple[dict[str, Task], BaseEncoder]:
    """The tasks, in the order of the file, and the encoder. Raises ``StudyDataError`` with all that is wrong."""
    problems = Problems()
    with problems.collected():
        tasks = load_tasks(task_sources(study))
    try:
        encoder = load_base(model_options(study))
    except ValueError as error:
        problems.messages.append(str(error))
    if problems.messages:
        raise StudyDataError("\n".join(f"{study.path}: {message}" for message in problems.messages))
    return tasks, encoder
