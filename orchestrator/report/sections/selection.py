"""What was selected: tasks with their shares, or models with their tasks, and how it does on the test split."""

from __future__ import annotations

from collections.abc import Iterator

from auxtune.orchestrator.answer.answer import Answer
from auxtune.orchestrator.report.blocks import Block, Cell, Paragraph, Section, Table, number
from auxtune.orchestrator.report.material import Material
from auxtune.selectors.protocol import Selection


def selection_section(material: Material) -> Section:
    """The selection; before there is one, what the selector would choose now."""
    if material.answer is None:
        return Section("selection", "What it leans to so far", tuple(_leaning(material)))
    return Section("selection", "The selection", tuple(_selected(material.answer)))


def _selected(answer: Answer) -> Iterator[Block]:
    if answer.primary is None:
        models = tuple(
            (" + ".join(group.tasks), ", ".join(group.serves) or "nothing: others do better")
            for group in answer.groups or ()
        )
        yield Table("Models, each trained on all of its tasks", ("trained together", "serves"), models)
    else:
        yield from _shares(answer)
    for task, kept in (answer.instances or {}).items():
        yield Paragraph(f"Of {task} only {kept.kept} of {kept.rows} training rows.")
    if answer.ranking:
        rows = [(each.task, number(each.score, ".4f")) for each in answer.ranking]
        yield Table("The selector's ranking", ("task", "score"), tuple(rows))
    scores = [
        (task, metric, number(value, ".4f")) for task, each in answer.report.items() for metric, value in each.items()
    ]
    if scores:
        yield Table("On the test split, mean over the seeds of confirm", ("task", "metric", "value"), tuple(scores))


def _shares(answer: Answer) -> Iterator[Table]:
    weights, stability = answer.weights or {}, answer.stability or {}
    by_loss = answer.weighting == "loss"
    columns = ["task", "factor of the loss" if by_loss else "share of the steps"]
    columns += ["chosen by how many of the searches"] if stability else []
    rows: list[tuple[Cell, ...]] = []
    for task, share in weights.items():
        shown = number(share * len(weights), ".2f") if by_loss else number(share, ".1%", bar=share)
        rows.append((task, shown, *([number(stability.get(task), ".0%")] if stability else [])))
    yield Table("Trained together", tuple(columns), tuple(rows))
    left = {task: share for task, share in stability.items() if task not in weights and share > 0}
    if left:
        yield Table(
            "Chosen by some of the searches, but not by the one that answers",
            ("task", "share of the searches"),
            tuple((task, number(share, ".0%")) for task, share in left.items()),
        )


def _leaning(material: Material) -> Iterator[Block]:
    leaning = material.leaning
    if not isinstance(leaning, Selection):
        yield Paragraph(f"The selector cannot be asked: {leaning}", "note")
        return
    recorded = material.accounts.selected is not None
    asked = "Nothing of this is confirmed. Asked now, the selector answers:"
    yield Paragraph("The selector has chosen; its choice is not confirmed yet." if recorded else asked)
    if material.anew is not None and material.anew.is_another:
        yield Paragraph("It had chosen otherwise: this is what it now reads out of the same trials.", "note")
    if leaning.kind == "groups":
        rows = [(" + ".join(group["tasks"]), ", ".join(group["serves"])) for group in leaning.groups or ()]
        yield Table("Models", ("trained together", "serves"), tuple(rows))
        return
    shares = leaning.weights or {}
    share = {task: number(part, ".1%") for task, part in shares.items()}
    trained = tuple((task, share.get(task, "by the study's rule")) for task in leaning.tasks)
    yield Table("Trained together", ("task", "share"), trained)
