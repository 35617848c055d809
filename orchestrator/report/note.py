"""The answer as a note in Markdown, for MLflow: parts of the page, in the page's own words and numbers.

A note has an end: a server keeps no more than some thousand characters. Long tables are cut; where it does not fit,
what the page folds is left out, then the last parts. The whole is in ``report.html``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from auxtune.orchestrator.answer.answer import Answer
from auxtune.orchestrator.answer.verdict import other_arm, verdict
from auxtune.orchestrator.report.blocks import Block, Cell, Number, Page, Paragraph, Section, Table
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.typed import quote_path

LONGEST = 5000  # characters of a tag that also older servers take
_ROWS = 25  # of one table
_PARTS = ("answer", "selection", "lift", "contribution", "cost")


def note_of(page: Page | None, answer: Answer, folder: StoredPath) -> str:
    """The answer's sentence, selection, lift, contributions and cost, and how to go on from the study's ``folder``.

    Without a ``page``, which may have failed, the sentence alone.
    """
    known = {section.anchor: section for section in page.sections} if page else {}
    sections = [known[name] for name in _PARTS if name in known]
    foot = _foot(folder, other_arm(answer))
    for folded, count in ((True, len(sections)), *((False, count) for count in range(len(sections), 0, -1))):
        parts = [_markdown(section, folded) for section in sections[:count]] or [f"**{_plain(verdict(answer))}**"]
        text = "\n\n".join([*parts, foot])
        if len(text) <= LONGEST:
            break
    return text[:LONGEST]


def _foot(folder: StoredPath, control: str | None) -> str:
    """How to go on; ``control`` is better than the selection, if there is such a one."""
    arm, trained = (f" --arm {control}", control) if control else ("", "on the selection")
    commands = {
        f"auxtune report {quote_path(folder)}": "writes its page again",
        f"auxtune export {quote_path(folder)} --to MODEL{arm}": f"trains {trained} and saves the model",
        f"auxtune resume {quote_path(folder)} --set budget.trials=N": "searches on",
    }
    lines = [f"- `{command}` {does}" for command, does in commands.items()]
    return "\n".join([f"All of it: `report.html` among the files here, and in `{folder}`.", "", *lines])


def _markdown(section: Section, folded: bool) -> str:
    """A section, with or without what the page folds."""
    shown = [_shown(block) for block in section.blocks if folded or not getattr(block, "folded", False)]
    heading = [] if section.anchor == "answer" else [f"## {section.title}"]
    return "\n\n".join([*heading, *filter(None, shown)])


def _shown(block: Block) -> str:
    """A block in Markdown; pictures are files of their own."""
    match block:
        case Paragraph(tone="answer"):
            return f"**{_plain(block.text)}**"
        case Paragraph():
            return _plain(block.text)
        case Table():
            return "\n".join(_table(block))
    return ""


def _table(table: Table) -> Iterator[str]:
    yield f"{_plain(table.caption)}:\n"
    yield _row(table.columns)
    yield _row(["--:" if numeric else "---" for numeric in table.numeric])
    yield from (_row([_text(cell) for cell in row]) for row in table.rows[:_ROWS])
    if len(table.rows) > _ROWS:
        yield f"\n… and {len(table.rows) - _ROWS} more."


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _text(cell: Cell) -> str:
    return _plain(cell.text if isinstance(cell, Number) else cell)


def _plain(text: str) -> str:
    """Text that is not read as HTML, in one line."""
    return " ".join(text.replace("<", "&lt;").split())
