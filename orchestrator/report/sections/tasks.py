"""Every task in a row: what it is, whether it was chosen, and what the search saw of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from auxtune.orchestrator.report.blocks import Cell, Paragraph, Section, Table, number
from auxtune.orchestrator.report.material import Material
from auxtune.orchestrator.report.sections.trials import mean_scores
from auxtune.selectors.protocol import Selection, TaskInfo


def tasks_section(material: Material) -> Section:
    """All tasks of the study, the primary first."""
    problem, primary = material.problem, material.problem.primary
    search = [trial for trial in material.accounts.in_phase("search") if trial.told is not None]
    means = mean_scores(search) if primary else {}
    tasks = sorted(problem.tasks, key=lambda task: task.name != primary)
    columns = ["task", "kind", "train rows", "probe rows", "selection rows", "chosen", "search trials with it"]
    if primary:
        columns.append(f"their mean {material.metric} of {primary}")
    rows = []
    for task in tasks:
        trained = sum(task.name in trial.proposal.tasks for trial in search)
        mean = [number(means.get(task.name), ".4f") if means.get(task.name) is not None else "–"] if primary else []
        rows.append((*_facts(task), _chosen(task.name, material), number(trained), *mean))
    note = (
        "Train rows are those left after `rows`, splits and leaks. A mean over "
        "the trials that happened to have a task is no effect of the task: the search picks what to try."
    )
    return Section("tasks", "Task by task", (
        Table("Tasks", tuple(columns), tuple(rows)),
        Paragraph(note if primary else note.partition(" A mean")[0], "note"),
    ))


def _facts(task: TaskInfo) -> tuple[Cell, ...]:
    """Rows that an older version did not record are unknown."""
    recorded = task.probe_rows or task.selection_rows
    return (
        task.name,
        task.kind,
        number(task.train_rows, ","),
        number(task.probe_rows if recorded else None, ","),
        number(task.selection_rows if recorded else None, ","),
    )


def _chosen(task: str, material: Material) -> str:
    """The task's part in the answer."""
    if material.selection is None:
        leaning = material.leaning
        return "leaning to it" if isinstance(leaning, Selection) and task in leaning.tasks else "–"
    if material.problem.primary is None:
        return ", ".join(_models_of(task, material.selection["groups"])) or "–"
    if task == material.problem.primary:
        return "primary"
    return "yes" if task in (material.selection["weights"] or {}) else "–"


def _models_of(task: str, groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """The models that train a task, and which of them serves it."""
    return [
        f"model {place}{' (serves it)' if task in group['serves'] else ''}"
        for place, group in enumerate(groups, start=1)
        if task in group["tasks"]
    ]
