"""What each chosen task contributes: the selection against itself without that task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from auxtune.orchestrator.answer.answer import Contribution
from auxtune.orchestrator.report.blocks import Block, Paragraph, Picture, Section, Table, number
from auxtune.orchestrator.report.charts import draw_intervals
from auxtune.orchestrator.report.material import Material
from auxtune.orchestrator.report.sections.lift import bounds


def contribution_section(material: Material) -> Section:
    """Leave one out, or why it is not known."""
    return Section("contribution", "What each chosen task contributes", tuple(_blocks(material)))


def _blocks(material: Material) -> Iterator[Block]:
    answer = material.answer
    if answer is None:
        yield Paragraph("Known once the selection is confirmed.", "note")
    elif answer.primary is None:
        yield Paragraph(
            "Measured for a primary only: in groups every task counts, and each one's own lift is above.", "note"
        )
    elif not answer.auxiliaries:
        yield Paragraph("No auxiliary was chosen, so there is none to leave out.", "note")
    elif not answer.contribution:
        yield Paragraph(
            "Not measured. With `confirm.leave_one_out: true` the selection is also trained without each "
            "of its auxiliaries, as often as it has seeds.",
            "note",
        )
    else:
        yield from _measured(material.metric, answer.contribution)


def _measured(metric: str, contribution: Mapping[str, Contribution | None]) -> Iterator[Block]:
    known = [(task, gain) for task, gain in contribution.items() if gain is not None]
    if known:
        said = "; ".join(f"{task} {gain.mean:+.4f}" for task, gain in known)
        unit = f"lost without it on the test split, {metric}"
        svg = draw_intervals("contribution", known, unit, f"Contribution: {said}")
        yield Picture(
            svg,
            "The selection less the selection without the task, with 95 % intervals. What two tasks do "
            "alike neither seems to contribute: leaving out one, the other stands in.",
        )
    rows = [
        (task, number(gain.mean, "+.4f"), *bounds(gain), number(gain.seeds))
        if gain is not None
        else (task, "not measured", "–", "–", number(0))
        for task, gain in contribution.items()
    ]
    yield Table("Contribution on the test split", ("task", "contribution", "from", "to", "seeds"), tuple(rows))
