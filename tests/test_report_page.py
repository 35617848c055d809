"""A study's page is safe to open, asks nothing of anywhere, is the same whenever it is made, and can be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from reported import HOSTILE, WITH_EACH, Reader, finished, material_of
from simulated_study import GROUPS, STUDY

from auxtune.orchestrator.report.blocks import Picture
from auxtune.orchestrator.report.page import TEMPLATES, mark_code, render_html
from auxtune.orchestrator.report.study_page import build_study_page


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        ("{name: autosem, rounds: 12, samples: 4}", STUDY),
        ("gradts_trial", STUDY),
        ("tag", GROUPS),
        ("representation_gradient", GROUPS),
    ],
)
def test_names_that_look_like_markup_or_formulas_are_shown_as_they_are(
    selector: str, text: str, tmp_path: Path
) -> None:
    html = render_html(build_study_page(material_of(finished(tmp_path, selector, text, names=HOSTILE))))
    page = Reader(html)
    assert {tag for tag, _ in page.elements} & {"script", "img", "iframe", "object"} == set()
    assert [a for _, attributes in page.elements for a in attributes if a.startswith("on")] == []
    assert all(name in page.text for name in HOSTILE)
    assert mark_code("a `<b>` c ` d") == "a `&lt;b&gt;` c ` d"


def test_nothing_is_asked_of_anywhere(tmp_path: Path) -> None:
    html = render_html(build_study_page(material_of(finished(tmp_path, "gradts_trial", WITH_EACH))))
    assert "@import" not in html and "<script" not in html
    links = re.findall(r'(?:src|href|xlink:href)="([^"]*)"|url\(([^)]*)\)', html)
    assert links and all((a or b).startswith(("#", "data:,")) for a, b in links)


def test_the_same_study_gives_the_same_bytes(tmp_path: Path) -> None:
    material = material_of(finished(tmp_path, "{name: thompson, rounds: 12}"))
    assert render_html(build_study_page(material)) == render_html(build_study_page(material))


# Colours


def colours() -> tuple[dict[str, str], dict[str, str]]:
    """The style sheet's colours by name, in light and in dark."""
    style = (TEMPLATES / "style.css").read_text()
    light, dark = style.split("@media screen")[0], style.split("@media screen")[1].split("\n}\n")[0]
    found = [dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", part)) for part in (light, dark)]
    return found[0], found[1]


def contrast(one: str, other: str) -> float:
    """WCAG's ratio of two colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_what_is_written_and_drawn_can_be_seen(scheme: int) -> None:
    named = colours()[scheme]
    assert colours()[0].keys() == colours()[1].keys() and len(named) > 30
    cells = [name for name in named if name.startswith("diverging")]
    for ink, ground in [
        ("ink", "paper"),
        ("muted", "paper"),
        ("link", "paper"),
        ("ink", "raised"),
        ("warning", "warning-paper"),
        *((f"on-{cell}", cell) for cell in cells),
    ]:
        assert contrast(named[ink], named[ground]) >= 4.5, (ink, ground)
    for line in [name for name in named if name.startswith("series")]:
        assert contrast(named[line], named["paper"]) >= 3, line


def test_drawings_use_only_colours_that_the_style_explains(tmp_path: Path) -> None:
    page = build_study_page(material_of(finished(tmp_path, "representation_gradient", GROUPS)))
    drawings = [block.svg for section in page.sections for block in section.blocks if isinstance(block, Picture)]
    used = {name for svg in drawings for name in re.findall(r"var\(--([a-z0-9-]+)\)", svg)} - {"sans"}
    assert len(drawings) >= 6 and used <= colours()[0].keys() and {"ink", "series-0"} <= used
    assert not any(re.search(r"(?:fill|stroke): #(?!ffffff)", svg) for svg in drawings)
