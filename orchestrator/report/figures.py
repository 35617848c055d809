"""A page's drawings as files of their own, for viewers that know nothing of the page and its style sheet.

The colours are the page's light ones, on its ground: a viewer may be light while its machine asks for dark.
"""

from __future__ import annotations

import re
from functools import cache

from auxtune.orchestrator.report.blocks import Page, Picture
from auxtune.orchestrator.report.page import TEMPLATES

FOLDER = "figures"


def figures(page: Page) -> dict[str, str]:
    """File name -> SVG of each picture on the page: its section's name, with a number where there are several."""
    found = {}
    for section in page.sections:
        pictures = [block for block in section.blocks if isinstance(block, Picture)]
        for number, picture in enumerate(pictures, start=1):
            name = section.anchor if len(pictures) == 1 else f"{section.anchor}-{number}"
            found[f"{name}.svg"] = standalone(str(picture.svg))
    return found


def standalone(svg: str) -> str:
    """A drawing of the page as a file: with its size, its ground, and values in the place of the page's names."""
    _, _, width, height = re.findall(r"[\d.]+", svg.partition('viewBox="')[2].partition('"')[0])
    start, end, rest = svg.partition(">")
    size = f' width="{width}pt" height="{height}pt"'
    ground = '\n<rect width="100%" height="100%" fill="var(--paper)"/>'
    values = _values()
    return re.sub(r"var\(--([\w-]+)\)", lambda name: values[name[1]], f"{start}{size}{end}{ground}{rest}") + "\n"


@cache
def _values() -> dict[str, str]:
    """What the style sheet's names stand for on a light page; within an attribute quotes are single ones."""
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    light = style[style.index(":root") : style.index("}")]
    return {name: value.replace('"', "'") for name, value in re.findall(r"--([\w-]+):\s*([^;]+);", light)}
