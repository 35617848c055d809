"""Every task in a row: what it is, whether it was chosen, and what the search saw of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from auxtune.orchestrator.answer.answer import Answer, Group, groups_in
from auxtune.orchestrator.report.blocks import Block, Cell, Paragraph, Section, Table, number
from auxtune.orchestrator.report.material import Material
from auxtune.orchestrator.report.sections.trials import mean_scores
from auxtune.selectors.protocol import Selection, TaskInfo
from auxtune.trials.encoded import SPLITS


def tasks_section(material: Material) -> Section:
    """All tasks of the study, the primary first."""
    problem, primary = material.problem, material.problem.primary
    search_score = material.accounts.search_score
    told = [trial for trial in material.accounts.of_selector if trial.told is not None]
    means = mean_scores([trial for trial in told if primary in trial.proposal.tasks], search_score) if primary else {}
    tasks = sorted(problem.tasks, key=lambda task: task.name != primary)
    part = ["chosen"] if primary else ["trained in model", "served by"]
    columns = ["task", "kind", "train", "probe", "validation", *part, "trials", *(["mean"] if primary else [])]
    rows = []
    for task in tasks:
        trained = sum(task.name in trial.proposal.tasks for trial in told)
        mean = [number(means[task.name], ".4f") if task.name in means else "–"] if primary else []
        rows.append((*_facts(task), *_chosen(task.name, material), number(trained), *mean))
    note = "Rows are those left in each split after `rows` and leaks. Trials are the selector's that train the task."
    if primary:
        note += (
            f" Their mean is of {material.scored} on {primary}, validation split: no effect of the task, since the "
            "search picks what to try."
        )
    table = Table("Rows, part in the answer, and what the search saw", tuple(columns), tuple(rows))
    return Section("tasks", "Task by task", (table, *_origins(material), Paragraph(note, "note")))


def _origins(material: Material) -> Iterator[Block]:
    """Which file became which split; a session of an earlier version did not record it."""
    splits = material.accounts.sessions[-1].opened.splits
    if splits:
        _, *held_out = SPLITS
        rows = tuple((task, *(origins[part] for part in held_out)) for task, origins in splits.items())
        yield Table("Where the splits come from", ("task", *held_out), rows)


def _facts(task: TaskInfo) -> tuple[Cell, ...]:
    """Rows that an older version did not record are unknown."""
    recorded = task.probe_rows or task.validation_rows
    return (
        task.name,
        task.kind,
        number(task.train_rows, ","),
        number(task.probe_rows if recorded else None, ","),
        number(task.validation_rows if recorded else None, ","),
    )


def _chosen(task: str, material: Material) -> tuple[str, ...]:
    """The task's part in the answer: whether it was chosen, or the models that train it and the one that serves it."""
    primary, answer, leaning = material.problem.primary, material.answer, material.leaning
    if primary is None:
        groups = _groups(answer, leaning)
        trained = [str(place) for place, group in enumerate(groups, start=1) if task in group.tasks]
        serves = [str(place) for place, group in enumerate(groups, start=1) if task in group.serves]
        return ", ".join(trained) or "–", ", ".join(serves) or "–"
    if task == primary:
        return ("primary",)
    if answer is not None:
        return ("yes" if task in (answer.weights or {}) else "–",)
    return ("leans to it" if isinstance(leaning, Selection) and task in leaning.tasks else "–",)


def _groups(answer: Answer | None, leaning: object) -> Sequence[Group]:
    if answer is not None:
        return answer.groups or ()
    return groups_in(leaning) if isinstance(leaning, Selection) else ()
