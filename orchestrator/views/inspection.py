"""A study inspected before anything is trained: its rows, its leaks, the lift it can show, the trials it takes.

Most warnings are of splits on which a score says little: too few rows, a single class, a class that is not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt

from auxtune.orchestrator.planning.arms import EQUAL_COST
from auxtune.orchestrator.planning.budget import confirm_trials, has_equal_cost
from auxtune.orchestrator.planning.context import (
    build_problem,
    count_fewest_trials,
    find_max_epochs,
    list_unread_options,
    list_unread_runs,
)
from auxtune.orchestrator.planning.earlier import describe_runs
from auxtune.orchestrator.planning.translate import describe_epochs
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.selectors.protocol import Problem
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
    """A study that could be run. Trials: those the budget allows, confirm's, and the fewest of the search.

    ``control`` names the control that searches by itself, at the price of the search, if there is one.
    """

    study: str
    tasks: tuple[InspectedTask, ...]
    warnings: tuple[str, ...]
    budget_trials: int | None
    confirm_trials: int
    fewest_search_trials: int
    epochs: str | None = None  # what they come to, where the study counts in them
    control: str | None = None


def inspect_study(study: StudyFile, tasks: Mapping[str, Task], besides: Sequence[str] = ()) -> Inspection:
    """An inspection of ``study`` over its ``tasks``. Raises ``SelectorError`` where its selector cannot answer.

    ``besides`` are warnings about other things than tasks: the encoder and limits.
    """
    options = study.options
    inspected = tuple(_inspect_task(task) for task in tasks.values())
    problem = build_problem(study, tasks)
    return Inspection(
        study=options.study,
        tasks=inspected,
        warnings=(
            *_inspect_tasks(tasks, inspected, options.primary),
            *list_repeated(problem, find_max_epochs(options)),
            *list_unread_options(options),
            *describe_runs(study),
            *list_unread_runs(options),
            *besides,
        ),
        budget_trials=options.budget.trials,
        confirm_trials=confirm_trials(options),
        fewest_search_trials=count_fewest_trials(options, problem),
        epochs=describe_epochs(options.training, problem),
        control=EQUAL_COST if has_equal_cost(options) else None,
    )


def _inspect_tasks(tasks: Mapping[str, Task], inspected: Iterable[InspectedTask], primary: str | None) -> Iterator[str]:
    """Warnings about the rows, task by task; most of it matters where the task's test split decides."""
    for task in inspected:
        for warning in (*tasks[task.name].warnings, *list_split_warnings(task, primary in (task.name, None))):
            yield f"{task.name}: {warning}"


MOST_REPEATS = 10  # passes over a task's rows that nobody means to make


def list_repeated(problem: Problem, limits: Sequence[float | None]) -> Iterator[str]:
    """A warning for each auxiliary of few rows that a training of all tasks alike passes over more than ten times.

    ``limits`` are the ``max_epochs`` of the selectors that have one: who has set one has thought of it. A small primary
    is what people come with, and no reason to warn.
    """
    examples = problem.primary_examples
    if problem.examples is not None:
        examples = problem.examples // len(problem.tasks)
    if problem.primary is None or examples is None or any(limit is not None for limit in limits):
        return
    remedy = "take fewer steps, give the selector `max_epochs`" if limits else "take fewer steps"
    for task in problem.tasks:
        passes = examples / max(task.train_rows, 1)
        if task.name != problem.primary and passes > MOST_REPEATS:
            yield (
                f"{task.name}: a training of all tasks in equal shares passes {passes:.0f} times over its "
                f"{task.train_rows} training rows, and what is learned by heart helps no one; {remedy} or the task "
                "more rows"
            )


def estimate_smallest_lift(kind: str, metric: str, rows: int) -> float | None:
    """Two standard errors of the difference of two models' accuracy over ``rows`` rows.

    Taken for two models that differ on a fifth of the rows; ``None``, unknown, for other metrics and for accuracy
    over words, which are not independent.
    """
    return 2 * sqrt(0.2 / rows) if (kind, metric) == ("classification", "accuracy") else None


def _inspect_task(task: Task) -> InspectedTask:
    rows = {part: len(examples) for part, examples in task.splits.items()}
    metric = task.metrics[0]
    lift = estimate_smallest_lift(task.kind, metric, rows["test"])
    return InspectedTask(
        task.name,
        task.kind,
        metric,
        rows,
        dict(task.dropped),
        lift,
        task.notes,
        _count_classes(task),
        _find_range(task),
        dict(task.shared),
        dict(task.missing),
        dict(task.origins),
    )


def _count_classes(task: Task) -> dict[str, dict[str, int]]:
    if task.kind == "regression":
        return {}
    counts = {part: count_labels(rows, task.kind, task.labels).tolist() for part, rows in task.splits.items()}
    return {name: {part: counts[part][label] for part in counts} for label, name in enumerate(task.labels)}


def _find_range(task: Task) -> dict[str, tuple[float, float]]:
    return {part: find_value_range(rows) for part, rows in task.splits.items()} if task.kind == "regression" else {}


FEW_TESTED = 500  # test rows under which most lifts drown in noise
FEW_COMPARED = 200  # rows of a cut that had rows enough to cut from
COMPARED = ("validation", "probe")
TYPICAL = 0.8  # the score that standard errors are told of
_SHOWN = 10  # classes that a warning names


def list_split_warnings(task: InspectedTask, is_tested: bool) -> Iterator[str]:
    """Doubts about a task's splits; sizes and absent classes only of one that the study is tested on."""
    for part, lost in task.shared.items():
        yield (
            f"{lost} of {lost + task.rows[part]} {part} rows have an input that occurs in test rows and are left "
            "out: the search must not see what confirm tests on"
        )
    for part in ("test", *COMPARED):
        yield from _find_constant(task, part)
        if is_tested:
            yield from _find_absent(task, part)
    if is_tested:
        if task.rows["test"] < FEW_TESTED:
            yield _describe_few_tested(task)
        yield from _describe_few_compared(task)


def _find_constant(task: InspectedTask, part: str) -> Iterator[str]:
    rows = task.rows[part]
    if task.kind == "regression":
        low, high = task.values[part]
        if low == high:
            yield f"all {rows} {part} rows have the value {low:g}: every model scores alike by a correlation"
    elif task.kind == "multi_label":
        for name, counts in task.classes.items():
            if counts[part] == rows and counts["train"] < task.rows["train"]:
                yield f"every {part} row has the label {name}: a model that always says so is right on all of them"
    else:
        present = [name for name, counts in task.classes.items() if counts[part]]
        if len(present) == 1:
            what = f"words of the {part} rows" if task.kind == "token" else f"{rows} {part} rows"
            others = [name for name, counts in task.classes.items() if name != present[0] and counts["train"]]
            none = f" and none the {_name_classes(task, others)}" if others else ""
            yield (
                f"all {what} have the {_name_classes(task)} {present[0]}{none}: a model that always says so is right "
                "on all of them"
            )


def _find_absent(task: InspectedTask, part: str) -> Iterator[str]:
    """Classes that training knows and a part lacks, and the other way round."""
    lacking = [name for name, counts in task.classes.items() if counts["train"] and not counts[part]]
    present = sum(bool(counts[part]) for counts in task.classes.values())
    if lacking and (present > 1 or task.kind == "multi_label"):
        yield (
            f"no {part} row has the {_name_classes(task, lacking)}: how well "
            f"{'it is' if len(lacking) == 1 else 'they are'} learned is not seen there"
        )
    unknown = [name for name, counts in task.classes.items() if counts[part] and not counts["train"]]
    if unknown:
        rows = sum(task.classes[name][part] for name in unknown)
        yield f"no training row has the {_name_classes(task, unknown)}, but {rows} {part} {_name_unit(task)} have"


def _name_classes(task: InspectedTask, names: Sequence[str] = ()) -> str:
    word = {"token": "tag", "multi_label": "label"}.get(task.kind, "class")
    if not names:
        return word
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    plural = word if len(names) == 1 else word + ("es" if word == "class" else "s")
    return f"{plural} {', '.join(names[:_SHOWN])}{more}"


def _name_unit(task: InspectedTask) -> str:
    return "words" if task.kind == "token" else "rows"


def _describe_few_tested(task: InspectedTask) -> str:
    shown = "" if task.smallest_lift is None else f"; a lift below {task.smallest_lift:.3f} will look like noise"
    return f"only {task.rows['test']} test rows{shown}"


def _describe_few_compared(task: InspectedTask) -> Iterator[str]:
    """One warning for validation and probe if they are alike, as cuts are."""
    few = {part: task.rows[part] for part in COMPARED if task.rows[part] < FEW_COMPARED}
    for rows in dict.fromkeys(few.values()):
        parts = " and ".join(part for part in few if few[part] == rows)
        each = " each" if parts.count(" and ") else ""
        yield f"only {rows} {parts} rows{each}: {_describe_error(task, rows)}"


def _describe_error(task: InspectedTask, rows: int) -> str:
    points = 100 * estimate_standard_error(task.kind, rows)
    if task.kind == "regression":
        return f"a correlation of {TYPICAL} has a standard error of {points:.1f} points"
    if task.kind == "token":
        return f"a score of {TYPICAL} has a standard error of up to {points:.1f} points, as words of a row are alike"
    return f"one row is {100 / rows:.1f} points, and a score of {TYPICAL} has a standard error of {points:.1f} points"


def estimate_standard_error(kind: str, rows: int) -> float:
    """The standard error of a score of ``TYPICAL`` over ``rows`` rows.

    Of a share of right answers p it is √(p(1−p)/n); of a correlation r (1−r²)/√(n−1), by Fisher's transform to first
    order.
    """
    if kind == "regression":
        return (1 - TYPICAL**2) / sqrt(max(rows - 1, 1))
    return sqrt(TYPICAL * (1 - TYPICAL) / rows)
