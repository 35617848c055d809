"""A study's page as tests look at it: of a simulated study, as values, and as a browser would read it."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from simulated_study import STUDY, simulated

from auxtune.orchestrator import cli
from auxtune.orchestrator.report.material import Material, read_material
from auxtune.orchestrator.study import Study

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "a & b's", "$x_1$ \\frac", "{{ 7 * 7 }}")
WITH_EACH = STUDY.replace("{seeds: 1}", "{seeds: 4, leave_one_out: true}")


def material_of(folder: Path) -> Material:
    return read_material(folder, Study.from_folder(folder).file)


def told(folder: Path) -> dict[str, dict[str, Any]]:
    """Section -> its tables, paragraphs and pictures, as ``auxtune report --json`` prints them."""
    run = CliRunner().invoke(cli.main, ["report", str(folder), "--json"])
    assert run.exit_code == 0, run.output
    found = {}
    for section in json.loads(run.stdout)["sections"]:
        blocks = section["blocks"]
        found[section["section"]] = {
            "tables": {block["table"]: block["rows"] for block in blocks if "table" in block},
            "said": " ".join(block["paragraph"] for block in blocks if "paragraph" in block),
            "pictures": [block["picture"] for block in blocks if "picture" in block],
        }
    return found


def finished(home: Path, selector: str, text: str = STUDY, **changes: object) -> Path:
    study = simulated(home, selector, text, **changes)
    return study.finish(study.session())


class Reader(HTMLParser):
    """What a browser would make of a page: elements with their attributes, text, and numbers in cells."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data
