"""Drawings for a page: matplotlib's SVG, made part of it.

Text stays text, in the page's font. Colours are names that the page's style sheet explains (``templates/style.css``),
once for light and once for dark: matplotlib is given a number instead of each, and the SVG gets the name. The
ground is transparent. The same data give the same bytes. Names of tasks are never read as formulas.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 7.0  # inches: a page's column
MARKS = "osD^vPXph<>"  # distinct in shape too, for readers who see no colours

# Okabe and Ito's six; nine steps from against to for, and what is written on each; seven from little to much.
SERIES = tuple(map("series-{}".format, range(6)))
DIVERGING = tuple(map("diverging-{}".format, range(9)))
SEQUENTIAL = tuple(map("sequential-{}".format, range(7)))
_NAMES = ("ink", "muted", "rule", "paper", *SERIES, *DIVERGING, *map("on-{}".format, DIVERGING), *SEQUENTIAL)
_NUMBERS = dict(zip(_NAMES, map("#fe0d{:02x}".format, range(len(_NAMES))), strict=True))

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "none"),
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.labelcolor", "ytick.labelcolor"), _NUMBERS["ink"]
    ),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), _NUMBERS["muted"]),
    "grid.color": _NUMBERS["rule"],
}


def format_signed(value: float, pattern: str = "+.2f") -> str:
    """A number with its sign; a value that rounds to 0 has none.

    >>> format_signed(-0.001), format_signed(0.25)
    ('0.00', '+0.25')
    """
    text = format(value, pattern)
    return text if float(text) else text.lstrip("+-")


def encode_colour(name: str) -> str:
    """The number to give matplotlib for a colour of the style sheet."""
    return _NUMBERS[name]


def choose_step(value: float, largest: float) -> int:
    """Which of the nine steps of ``DIVERGING`` stands for a value in [-largest, largest].

    >>> choose_step(-1.0, 1.0), choose_step(0.0, 1.0), choose_step(1.0, 1.0)
    (0, 4, 8)
    """
    part = 0.0 if largest <= 0 else max(-1.0, min(1.0, value / largest))
    return round(4 + 4 * part)


def draw_svg(name: str, height: float, says: str, draw: Callable[[Figure], None]) -> Markup:
    """The SVG of what ``draw`` puts on a figure of ``height`` inches.

    ``name`` keeps its parts' ids apart from those of other drawings of the page; ``says`` is for screen readers.
    """
    import matplotlib  # slow to import, and only wanted where something is drawn
    from matplotlib.figure import Figure

    written = io.StringIO()
    style: Any = {**_STYLE, "svg.hashsalt": name}  # matplotlib types every single key
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # Signs that matplotlib's own font lacks; the page's font is another.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        draw(figure)
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return Markup(_inline_svg(written.getvalue(), name, says))


def _inline_svg(svg: str, name: str, says: str) -> str:
    svg = svg[svg.index("<svg ") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    view = re.search(r'viewBox="([^"]+)"', svg)
    start = f'<svg role="img" aria-label="{escape(says)}" viewBox="{view[1] if view else ""}" '
    start += 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    svg = re.sub(r"^<svg [^>]*>", lambda _: start, svg)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"(font: [\d.]+px) [^;\"]*", r"\1 var(--sans)", svg)
    for known, number in _NUMBERS.items():
        svg = svg.replace(number, f"var(--{known})")
    return re.sub(r"\n\s*", "\n", svg).strip()


def name_drawing(name: str, stage: str) -> str:
    """A name for a drawing that no other stage's has: letters, digits and hyphens.

    >>> name_drawing("ranking tau", "gradts_trial")
    'ranking-tau-gradts-trial'
    """
    return re.sub(r"[^a-z0-9]+", "-", f"{name} {stage}".lower()).strip("-")
