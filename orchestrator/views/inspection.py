"""What can be said of a study before anything is trained: its rows, its leaks, what it can show, what it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

from auxtune.orchestrator.planning.lengths import epochs_in_words
from auxtune.orchestrator.planning.plan_size import confirm_trials, fewest_search_trials, problem_of
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.trials.data import Task

FEW = 500                                              # report rows under which most lifts drown in noise


@dataclass(frozen=True)
class InspectedTask:
    """One task: rows per split, train rows dropped because a held-out row has their input, and what it can show.

    ``smallest_lift`` is in units of the metric, ``None`` where it is unknown.
    """

    name: str
    kind: str
    metric: str
    rows: Mapping[str, int]
    dropped: Mapping[str, int]
    smallest_lift: float | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Inspection:
    """A study that could be run. Trials: those the budget allows, confirm's, and the fewest of the search."""

    study: str
    tasks: tuple[InspectedTask, ...]
    warnings: tuple[str, ...]
    budget_trials: int | None
    confirm_trials: int
    fewest_search_trials: int
    epochs: str | None = None                          # what they come to, where the study counts in them


def inspect_study(study: StudyFile, tasks: Mapping[str, Task]) -> Inspection:
    """What can be said of ``study`` over its ``tasks``. Raises ``SelectorError`` where its selector cannot answer."""
    options = study.options
    inspected = tuple(_inspected(task) for task in tasks.values())
    reported = [task for task in inspected if options.primary in (task.name, None)]
    problem = problem_of(study, tasks)
    return Inspection(
        study=options.study,
        tasks=inspected,
        warnings=tuple(_few(task) for task in reported if task.rows["report"] < FEW),
        budget_trials=options.budget.trials,
        confirm_trials=confirm_trials(options),
        fewest_search_trials=fewest_search_trials(options, problem),
        epochs=epochs_in_words(options.training, problem),
    )


def smallest_lift(kind: str, metric: str, rows: int) -> float | None:
    """Two standard errors of the difference of two models' accuracy over ``rows`` rows.

    Taken for two models that differ on a fifth of the rows; ``None``, unknown, for other metrics and for accuracy
    over words, which are not independent.
    """
    return 2 * sqrt(0.2 / rows) if (kind, metric) == ("classification", "accuracy") else None


def _inspected(task: Task) -> InspectedTask:
    rows = {part: len(examples) for part, examples in task.splits.items()}
    metric = task.metrics[0]
    lift = smallest_lift(task.kind, metric, rows["report"])
    return InspectedTask(task.name, task.kind, metric, rows, dict(task.dropped), lift, task.notes)


def _few(task: InspectedTask) -> str:
    shown = "" if task.smallest_lift is None else f"; a lift below {task.smallest_lift:.3f} will look like noise"
    return f"{task.name}: only {task.rows['report']} report rows{shown}"
