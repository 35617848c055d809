"""The answer in one sentence, and what takes away from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from auxtune.orchestrator.answer.verdict import other_arm, unanswered, verdict
from auxtune.orchestrator.report.blocks import Block, Paragraph, Section
from auxtune.orchestrator.report.material import Material


def answer_section(material: Material) -> Section:
    """What the terminal ends with; without an answer, where the study stands."""
    return Section("answer", "The answer", tuple(_blocks(material)))


def _sentence(material: Material) -> str:
    if material.answer is not None:
        return verdict(material.answer)
    return unanswered(material.accounts, material.state)


def _blocks(material: Material) -> Iterator[Block]:
    yield Paragraph(_sentence(material), "answer")
    if material.answer is not None and (control := other_arm(material.answer)) is not None:
        command = f"auxtune export {material.folder.name} --to MODEL --arm {control}"
        said = "in its storage trains and saves that model; without `--arm` it is what was chosen."
        yield Paragraph(f"`{command}` {said}", "note")
    if material.outdated:
        yield Paragraph(
            f"This is the answer of an earlier session; the study has gone on since and is {material.state}. "
            "Selection, lift and contributions are of then, all other sections of now.",
            "warning",
        )
    if material.answer is None and material.state in ("interrupted", "failed"):
        closed = material.accounts.sessions[-1].closed
        said = f" It said: {closed.message}" if closed and closed.message else ""
        yield Paragraph(f"`auxtune resume {material.folder.name}` in its storage goes on from here.{said}", "note")
    if material.answer is not None and (anew := material.anew):
        limit = material.options.budget.trials
        said = anew.describe(Path(material.folder.name), material.accounts.trained, limit)
        yield Paragraph(said, "warning" if anew.is_another else "note")
    search = material.accounts.of_selector
    failed = sum(trial.status == "failed" for trial in search)
    if 0 < failed < len(search):
        yield Paragraph(f"{failed} of {len(search)} search trials failed; the choice rests on the others.", "warning")
    if why := material.belief.get("why"):
        yield Paragraph(f"The selector: {why}.", "note")
