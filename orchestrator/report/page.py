"""A page as one HTML file, its style within it, and its drawings as files of their own.

The page needs nothing from elsewhere and has no script. Everything that is shown is escaped; only drawings are markup,
and those are made here. As files, drawings are for viewers that know nothing of the page and its style sheet: they have
the page's light colours, on its ground, since a viewer may be light while its machine asks for dark.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from auxtune.orchestrator.report.blocks import Page, Picture

TEMPLATES = Path(__file__).parent / "templates"
FIGURES = "figures"  # the folder that drawings are in


def mark_code(text: str) -> Markup:
    """Escaped text, with what stands in backticks as code.

    >>> print(mark_code("set `a<b`"))
    set <code>a&lt;b</code>
    """
    parts = text.split("`")
    if len(parts) % 2 == 0:  # a backtick without its partner
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
    environment.filters["coded"] = mark_code
    return environment.get_template("page.html").render(page=page) + "\n"


def draw_figures(page: Page) -> dict[str, str]:
    """File name -> SVG of each picture on the page: its section's name, with a number where there are several."""
    found = {}
    for section in page.sections:
        pictures = [block for block in section.blocks if isinstance(block, Picture)]
        for number, picture in enumerate(pictures, start=1):
            name = section.anchor if len(pictures) == 1 else f"{section.anchor}-{number}"
            found[f"{name}.svg"] = detach_svg(str(picture.svg))
    return found


def detach_svg(svg: str) -> str:
    """A drawing of the page as a file: with its size, its ground, and values instead of the page's names."""
    _, _, width, height = re.findall(r"[\d.]+", svg.partition('viewBox="')[2].partition('"')[0])
    start, end, rest = svg.partition(">")
    size = f' width="{width}pt" height="{height}pt"'
    ground = '\n<rect width="100%" height="100%" fill="var(--paper)"/>'
    values = _read_light_colours()
    return re.sub(r"var\(--([\w-]+)\)", lambda name: values[name[1]], f"{start}{size}{end}{ground}{rest}") + "\n"


@cache
def _read_light_colours() -> dict[str, str]:
    """The values of the style sheet's names on a light page; within an attribute quotes are single ones."""
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    light = style[style.index(":root") : style.index("}")]
    return {name: value.replace('"', "'") for name, value in re.findall(r"--([\w-]+):\s*([^;]+);", light)}
