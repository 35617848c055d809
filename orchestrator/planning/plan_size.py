"""The question that a study asks, once its data is known, and the fewest trials that can answer it."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import Protocol

from auxtune.orchestrator.errors import BudgetTooSmall, SelectorError
from auxtune.orchestrator.planning.arms import EQUAL, RANDOM, most_models
from auxtune.orchestrator.planning.earlier import earlier_results
from auxtune.orchestrator.planning.selector import selector_of
from auxtune.orchestrator.study_file.models import StudyOptions
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.selectors.protocol import Problem, TaskInfo


class SplitTask(Protocol):
    """What the question needs of a task: ``splits`` have their rows as length."""

    @property
    def name(self) -> str:
        """The task's name."""

    @property
    def kind(self) -> str:
        """What is predicted, as `kind` of the study file says it."""

    @property
    def inputs(self) -> str:
        """A digest of the training inputs in their order."""

    @property
    def splits(self) -> Mapping[str, Sized]:
        """Train, probe, validation and test."""


def problem_of(study: StudyFile, tasks: Mapping[str, SplitTask]) -> Problem:
    """The question a study asks, with the sizes its data turned out to have.

    Raises ``StudyDataError`` where the table of earlier results that it names cannot be used.
    """
    options = study.options
    infos = tuple(
        TaskInfo(
            name=task.name,
            kind=task.kind,
            train_rows=len(task.splits["train"]),
            probe_rows=len(task.splits["probe"]),
            validation_rows=len(task.splits["validation"]),
            inputs=task.inputs,
        )
        for task in tasks.values()
    )
    return Problem(infos, options.primary, options.seed, options.models, earlier=earlier_results(study))


def fewest_search_trials(options: StudyOptions, problem: Problem) -> int:
    """The fewest trials the study's selector can answer from. Raises ``SelectorError`` where it cannot answer."""
    try:
        selector = selector_of(options)
        selector.start(problem)
        return selector.fewest(problem)
    except ValueError as error:
        raise SelectorError(f"selector {options.selector.name}: {error}") from error


def confirm_arms(options: StudyOptions) -> int:
    """The most arms confirm has: the selection, each control, and with leave-one-out each auxiliary left out."""
    left_out = len(options.tasks) - 1 if options.confirm.leave_one_out else 0
    return 1 + len(options.confirm.controls) + left_out


def confirm_models(options: StudyOptions) -> int:
    """The most models that confirm trains with each seed: with a primary one per arm."""
    if options.objective is None:
        return confirm_arms(options)
    tasks = len(options.tasks)
    groups = most_models(options.models, tasks)
    # Groups are trained by the sampling rule; where that is equal shares, equal shares are the same training.
    equal = 0 if options.training.sampling == "equal" else groups
    several = {"single_task": tasks, RANDOM: groups, EQUAL: equal}
    return groups + sum(several.get(control, 1) for control in options.confirm.controls)


def confirm_trials(options: StudyOptions) -> int:
    """The most trials confirm takes: one per seed and model."""
    return options.confirm.seeds * confirm_models(options)


def _levers(options: StudyOptions) -> list[str]:
    """The keys whose smaller values need fewer trials."""
    levers = ["confirm.seeds", "confirm.controls"]
    levers += ["confirm.leave_one_out"] if options.confirm.leave_one_out else []
    levers += ["models"] if options.objective else []
    return levers + (["search_seeds"] if options.search_seeds > 1 else [])


def check_budget(options: StudyOptions, fewest: int) -> None:
    """Raise ``BudgetTooSmall`` where a budget in trials cannot pay for confirm and ``fewest`` search trials."""
    limit, confirm = options.budget.trials, confirm_trials(options)
    if limit is not None and limit < confirm + fewest:
        arms, models = confirm_arms(options), confirm_models(options)
        each = f"{arms} arms" if models == arms else f"{models} models in {arms} arms"
        raise BudgetTooSmall(
            f"budget.trials: {limit}, but confirm takes {confirm} ({options.confirm.seeds} seeds × {each}) and "
            f"{options.selector.name} at least {fewest}; "
            f"set it to {confirm + fewest} or more, or lower {', '.join(_levers(options))}"
        )


def check_confirm(limit: int | None, trained: int, owed: int) -> None:
    """Raise ``BudgetTooSmall`` where an answer that stands is to be confirmed by more trials than there are left.

    That happens to a finished study whose ``confirm`` was changed.
    """
    if limit is not None and owed and trained + owed > limit:
        raise BudgetTooSmall(
            f"budget.trials: {limit}, of which {trained} were trained; what `confirm` now asks for takes {owed} more; "
            f"set it to {trained + owed} or more"
        )
