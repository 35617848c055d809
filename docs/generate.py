"""Writes the parts of the documentation that the code already says: keys of the study file, schema, commands, methods.

python docs/generate.py            write them
python docs/generate.py --check    name those that are out of date; exit code 1 if there are any
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from auxtune.orchestrator.cli import main as auxtune
from auxtune.orchestrator.study_file.keys import build_study_schema, write_key_table
from auxtune.selectors.registry import describe

DOCS = Path(__file__).parent
BEGIN, END = "<!-- generated: make docs -->\n", "<!-- end -->\n"


def pages() -> dict[Path, str]:
    """Each generated file and what it should hold."""
    return {
        DOCS / "selectors.md": _between_marks(DOCS / "selectors.md", "\n".join(_methods())),
        DOCS / "study-file.md": _between_marks(DOCS / "study-file.md", write_key_table()),
        DOCS / "study.schema.json": json.dumps(build_study_schema(), indent=2, ensure_ascii=False) + "\n",
        DOCS / "commands.md": _between_marks(DOCS / "commands.md", "\n".join(_help(auxtune, "auxtune"))),
    }


def _between_marks(page: Path, text: str) -> str:
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def _methods() -> Iterator[str]:
    """The method table: what to know of each selector, its name a link to how it works."""
    headings = re.findall(r"^## (.+)$", (DOCS / "selectors.md").read_text(encoding="utf-8"), re.MULTILINE)
    anchors = {name: "-".join(heading.split(", ")) for heading in headings for name in heading.split(", ")}
    yield "| selector | answers with | costs | needs | not where | paper |"
    yield "|---|---|---|---|---|---|"
    for method in describe():
        paper = re.sub(r"^(.*?)[,:]? (https://\S+)$", r"[\1](\2)", method.paper or "")
        known = (method.answers, method.costs, method.needs, method.avoid, paper)
        linked = f"[`{method.name}`](#{anchors[method.name]})"
        yield f"| {linked} | {' | '.join(text or '–' for text in known)} |"


def _help(command: click.Command, name: str) -> Iterator[str]:
    """The help of a command and of all its subcommands, as Markdown."""
    context = click.Context(command, info_name=name, terminal_width=100)
    yield f"## {name}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            subcommand = command.get_command(context, inner)
            if subcommand is not None:
                yield from _help(subcommand, f"{name} {inner}")


def main() -> None:
    """Write the pages, or check them."""
    stale = [page for page, text in pages().items() if not page.exists() or page.read_text(encoding="utf-8") != text]
    if sys.argv[1:] == ["--check"]:
        if stale:
            names = ", ".join(page.name for page in stale)
            sys.exit(f"out of date in docs/: {names}; run `make docs` and commit the result")
        return
    for page in stale:
        page.write_text(pages()[page], encoding="utf-8")


if __name__ == "__main__":
    main()
