"""What can be said of a study before anything is trained: its rows, its leaks, what it can show, what it takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt

from auxtune.orchestrator.planning.budget import confirm_trials
from auxtune.orchestrator.planning.context import count_fewest_trials, list_unread_options
from auxtune.orchestrator.planning.question import build_problem
from auxtune.orchestrator.planning.translate import describe_epochs
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.orchestrator.views.split_warnings import split_warnings
from auxtune.trials.data.tasks import Task, count_labels, find_value_range


@dataclass(frozen=True)
class InspectedTask:
    """One task: rows per split, train rows dropped because a held-out row has their input, and what it can show.

    ``smallest_lift`` is in units of the metric, ``None`` where it is unknown. ``classes`` says of each class how many
    rows (of a tag, how many words) of each split have it, ``values`` the lowest and highest of a regression. ``shared``
    counts validation and probe rows dropped because a test row has their input, ``missing`` by file those without text
    or label. ``origins`` say which file each held-out split is, or what share of which file was cut for it.
    """

    name: str
    kind: str
    metric: str
    rows: Mapping[str, int]
    dropped: Mapping[str, int]
    smallest_lift: float | None
    notes: tuple[str, ...]
    classes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    values: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    shared: Mapping[str, int] = field(default_factory=dict)
    missing: Mapping[str, int] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def left_out(self) -> int:
        """Rows of all splits that leakage took."""
        return sum(self.dropped.values()) + sum(self.shared.values())


@dataclass(frozen=True)
class Inspection:
    """A study that could be run. Trials: those the budget allows, confirm's, and the fewest of the search."""

    study: str
    tasks: tuple[InspectedTask, ...]
    warnings: tuple[str, ...]
    budget_trials: int | None
    confirm_trials: int
    fewest_search_trials: int
    epochs: str | None = None  # what they come to, where the study counts in them


def inspect_study(study: StudyFile, tasks: Mapping[str, Task], besides: Sequence[str] = ()) -> Inspection:
    """What can be said of ``study`` over its ``tasks``. Raises ``SelectorError`` where its selector cannot answer.

    ``besides`` are warnings of what is no task: the encoder, and limits.
    """
    options = study.options
    inspected = tuple(_inspected(task) for task in tasks.values())
    problem = build_problem(study, tasks)
    return Inspection(
        study=options.study,
        tasks=inspected,
        warnings=(*_of_tasks(tasks, inspected, options.primary), *list_unread_options(options), *besides),
        budget_trials=options.budget.trials,
        confirm_trials=confirm_trials(options),
        fewest_search_trials=count_fewest_trials(options, problem),
        epochs=describe_epochs(options.training, problem),
    )


def _of_tasks(tasks: Mapping[str, Task], inspected: Iterable[InspectedTask], primary: str | None) -> Iterator[str]:
    """What the rows give reason to warn of, task by task; most of it matters where the task's test split decides."""
    for task in inspected:
        for warning in (*tasks[task.name].warnings, *split_warnings(task, primary in (task.name, None))):
            yield f"{task.name}: {warning}"


def smallest_lift(kind: str, metric: str, rows: int) -> float | None:
    """Two standard errors of the difference of two models' accuracy over ``rows`` rows.

    Taken for two models that differ on a fifth of the rows; ``None``, unknown, for other metrics and for accuracy
    over words, which are not independent.
    """
    return 2 * sqrt(0.2 / rows) if (kind, metric) == ("classification", "accuracy") else None


def _inspected(task: Task) -> InspectedTask:
    rows = {part: len(examples) for part, examples in task.splits.items()}
    metric = task.metrics[0]
    lift = smallest_lift(task.kind, metric, rows["test"])
    return InspectedTask(
        task.name,
        task.kind,
        metric,
        rows,
        dict(task.dropped),
        lift,
        task.notes,
        _classes(task),
        _values(task),
        dict(task.shared),
        dict(task.missing),
        dict(task.origins),
    )


def _classes(task: Task) -> dict[str, dict[str, int]]:
    if task.kind == "regression":
        return {}
    counts = {part: count_labels(rows, task.kind, task.labels).tolist() for part, rows in task.splits.items()}
    return {name: {part: counts[part][label] for part in counts} for label, name in enumerate(task.labels)}


def _values(task: Task) -> dict[str, tuple[float, float]]:
    return {part: find_value_range(rows) for part, rows in task.splits.items()} if task.kind == "regression" else {}
