"""A page as one HTML file: its style within it, nothing from elsewhere, no script.

Everything that is shown is escaped; only drawings are markup, and those are made here.
"""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from auxtune.orchestrator.report.blocks import Page

TEMPLATES = Path(__file__).parent / "templates"


def rendered(page: Page) -> str:
    """The page as HTML."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(page=page) + "\n"
