"""A page as one HTML file: its style within it, nothing from elsewhere, no script.

Everything that is shown is escaped; only drawings are markup, and those are made here.
"""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from auxtune.orchestrator.report.blocks import Page

TEMPLATES = Path(__file__).parent / "templates"


def coded(text: str) -> Markup:
    """Escaped text, with what stands in backticks as code.

    >>> print(coded("set `a<b`"))
    set <code>a&lt;b</code>
    """
    parts = text.split("`")
    if len(parts) % 2 == 0:  # one is without its other
        return escape(text)
    code = Markup("<code>{}</code>")
    return Markup("").join(code.format(part) if place % 2 else escape(part) for place, part in enumerate(parts))


def render_html(page: Page) -> str:
    """The page as HTML."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["coded"] = coded
    return environment.get_template("page.html").render(page=page) + "\n"
