"""Blocks in Markdown, and the answer as a note of them for MLflow, in the words and numbers of the study's page.

A note has an end: a server keeps no more than some thousand characters. Long tables are cut; where it does not fit,
what the page folds is left out, then the last parts. The whole is in ``report.html``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from auxtune.orchestrator.answer.answer import Answer
from auxtune.orchestrator.answer.verdict import find_other_arm, write_verdict
from auxtune.orchestrator.report.blocks import Block, Cell, Listing, Number, Page, Paragraph, Points, Section, Table
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import quote_path

LONGEST = 5000  # characters of a tag that older servers take, too
_ROWS = 25  # of one table
_PARTS = ("answer", "selection", "lift", "contribution", "cost")


def write_note(page: Page | None, answer: Answer, folder: StoredPath) -> str:
    """The answer's sentence, selection, lift, contributions and cost, and the commands that continue in ``folder``.

    Without a ``page``, which may have failed, the sentence alone.
    """
    known = {section.anchor: section for section in page.sections} if page else {}
    sections = [known[name] for name in _PARTS if name in known]
    foot = _write_foot(folder, find_other_arm(answer))
    for folded, count in ((True, len(sections)), *((False, count) for count in range(len(sections), 0, -1))):
        parts = [_render_section(section, folded) for section in sections[:count]]
        parts = parts or [f"**{_escape_text(write_verdict(answer))}**"]
        text = "\n\n".join([*parts, foot])
        if len(text) <= LONGEST:
            break
    return text[:LONGEST]


def _write_foot(folder: StoredPath, control: str | None) -> str:
    """The commands that come next; ``control`` is better than the selection, if one is."""
    arm, trained = (f" --arm {control}", control) if control else ("", "on the selection")
    commands = {
        f"auxtune report {quote_path(folder)}": "writes its page again",
        f"auxtune export {quote_path(folder)} --to MODEL{arm}": f"trains {trained} and saves the model",
        f"auxtune resume {quote_path(folder)} --set budget.trials=N": "searches on",
    }
    lines = [f"- `{command}` {does}" for command, does in commands.items()]
    return "\n".join([f"All of it: `report.html` among the files here, and in `{folder}`.", "", *lines])


def _render_section(section: Section, folded: bool) -> str:
    """A section of the note, with or without what the page folds."""
    shown = [block for block in section.blocks if folded or not getattr(block, "folded", False)]
    title = "" if section.anchor == "answer" else section.title
    return render_markdown(title, shown, _ROWS)


def render_markdown(title: str, blocks: Iterable[Block], most_rows: int | None = None) -> str:
    """Blocks in Markdown below a heading, if there is one; of a table at most so many rows.

    Pictures are files of their own and left out.
    """
    heading = [f"## {title}"] if title else []
    return "\n\n".join([*heading, *filter(None, (_render_block(block, most_rows) for block in blocks))])


def _render_block(block: Block, most_rows: int | None) -> str:
    match block:
        case Paragraph(tone="answer"):
            return f"**{_escape_text(block.text)}**"
        case Paragraph():
            return _escape_text(block.text)
        case Table():
            return "\n".join(_render_table(block, most_rows))
        case Listing():
            caption = [f"{_escape_text(block.caption)}:\n"] if block.caption else []
            return "\n".join([*caption, f"```{block.language}", block.text, "```"])
        case Points():
            return "\n".join(f"- {_escape_text(text)}" for text in block.texts)
    return ""


def _render_table(table: Table, most_rows: int | None) -> Iterator[str]:
    if table.caption:
        yield f"{_escape_text(table.caption)}:\n"
    yield _join_cells(table.columns)
    yield _join_cells(["--:" if numeric else "---" for numeric in table.numeric])
    yield from (_join_cells([_render_cell(cell) for cell in row]) for row in table.rows[:most_rows])
    if most_rows is not None and len(table.rows) > most_rows:
        yield f"\n… and {len(table.rows) - most_rows} more."


def _join_cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _render_cell(cell: Cell) -> str:
    return _escape_text(cell.text if isinstance(cell, Number) else cell)


def _escape_text(text: str) -> str:
    """Text that is not read as HTML, in one line."""
    return " ".join(text.replace("<", "&lt;").split())
