"""Our pages in a real browser: drawings, widths, light and dark, print, and no request to anywhere.

It needs Chromium and chromedriver on the path, and is skipped without them.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from chromium import BROWSER, DRIVER, asked_for, opened
from click.testing import CliRunner
from reported import HOSTILE, WITH_EACH, finished, material_of
from simulated_study import GROUPS, STUDY, SimulatedStudy

from auxtune.orchestrator.cli import main
from auxtune.orchestrator.report.blocks import Picture
from auxtune.orchestrator.report.study_page import build_study_page, write_page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs Chromium and chromedriver on the path"),
]
STUDIES = {
    "bandit": ("{name: thompson, rounds: 30}", WITH_EACH, {"broken": {1: "ValueError: <i>x</i> " + "long" * 80}}),
    "mixing": ("{name: autosem, rounds: 20, samples: 6}", STUDY, {}),
    "heads": ("gradts_trial", STUDY, {"names": HOSTILE}),
    "groups": ("representation_gradient", GROUPS.replace("{seeds: 1}", "{seeds: 4}"), {}),
}

# Boxes of drawings and of the text within them, on the page as it lies.
BOXES = """return [...document.querySelectorAll('figure svg')].map(svg => {
  const box = svg.getBoundingClientRect(), texts = [...svg.querySelectorAll('text')];
  return {width: box.width, height: box.height, says: svg.getAttribute('aria-label'),
    texts: texts.length, empty: texts.filter(t => t.textContent.trim() && !t.getBoundingClientRect().width).length};
})"""
# The contrast of every text that is shown with what lies under it; cells of heat maps are checked by their palette.
CONTRAST = """
const part = c => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4 };
const parsed = s => s.match(/[\\d.]+/g).map(Number);
const light = s => { const [r, g, b] = parsed(s); return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b) };
const ground = e => { for (; e; e = e.parentElement) { const c = parsed(getComputedStyle(e).backgroundColor);
  if (c.length < 4 || c[3] > 0) return getComputedStyle(e).backgroundColor } return 'rgb(255, 255, 255)' };
const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement, box = element.getBoundingClientRect();
  if (!walker.currentNode.textContent.trim() || !box.width) continue;
  if (/--on-/.test(element.getAttribute('style') || '')) continue;
  const style = getComputedStyle(element), ink = element.closest('svg') ? style.fill : style.color;
  const [high, low] = [light(ink), light(ground(element))].sort((a, b) => b - a);
  found.push([(high + 0.05) / (low + 0.05), element.tagName, walker.currentNode.textContent.trim().slice(0, 40)]);
}
return found"""


@pytest.fixture(scope="module", params=[*STUDIES, "compared"])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The page of a study, or of two compared, and how many drawings it has."""
    home = tmp_path_factory.mktemp(request.param)
    if request.param == "compared":
        return compare_table(home), 2
    selector, text, changes = STUDIES[request.param]
    material = material_of(finished(home, selector, text, **changes))
    made = build_study_page(material)
    write_page(made, material.folder / "report.html")
    pictures = [block for section in made.sections for block in section.blocks if isinstance(block, Picture)]
    assert len(pictures) >= 4
    return material.folder / "report.html", len(pictures)


def compare_table(home: Path) -> Path:
    """The page of two studies of one question."""
    folders = []
    for name, selector in (("some", "{name: random_subset, trials: 4}"), ("everything-there-is", "all_tasks")):
        text = WITH_EACH.replace("study: x", f"study: {name}").replace("SELECTOR", selector)
        study = SimulatedStudy(home / name, text=text)
        folders.append(str(study.finish(study.session())))
    run = CliRunner().invoke(main, ["compare", *folders, "--to", str(home / "compared.html")])
    assert run.exit_code == 0, run.output
    return home / "compared.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_all_drawings_are_there_and_nothing_is_asked_for_or_complained_of(
    browser: Any, page: tuple[Path, int], width: int, scheme: str
) -> None:
    path, pictures = page
    opened(browser, path.as_uri(), width, scheme=scheme)
    boxes = browser.execute_script(BOXES)
    assert len(boxes) == pictures
    for box in boxes:
        assert box["width"] > 300 and box["height"] > 80 and box["says"] and box["texts"] > 3 and not box["empty"], box
    assert browser.get_log("browser") == []
    asked = asked_for(browser)
    assert path.as_uri() in asked and [url for url in asked if url not in (path.as_uri(), "data:,")] == []


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_no_wider_than_its_window(browser: Any, page: tuple[Path, int], width: int) -> None:
    opened(browser, page[0].as_uri(), width)
    browser.execute_script("document.querySelectorAll('details').forEach(each => { each.open = true })")
    inner, needed = browser.execute_script("return [innerWidth, document.documentElement.scrollWidth]")
    assert inner == width and needed <= width
    wide = browser.execute_script(
        "return [...document.querySelectorAll('table, figure svg, pre')].filter(each => {"
        "const box = each.closest('.box') || each; return box.getBoundingClientRect().right > innerWidth }).length"
    )
    assert wide == 0, "what is wide scrolls within its own box"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(browser: Any, page: tuple[Path, int], scheme: str) -> None:
    opened(browser, page[0].as_uri(), scheme=scheme)
    found = browser.execute_script(CONTRAST)
    assert len(found) > 60 and [each for each in found if each[0] < 4.5] == []
    red, *_ = browser.execute_script("return getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g)")
    assert (int(red) < 60) == (scheme == "dark")


def test_it_prints_on_light_paper_with_every_drawing_whole(browser: Any, page: tuple[Path, int]) -> None:
    opened(browser, page[0].as_uri(), scheme="dark")
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert pdf.startswith(b"%PDF") and len(pdf) > 20_000 and pdf.count(b"/Type /Page\n") >= 2
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    window = {"width": 720, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
    widest = browser.execute_script(
        "return Math.max(...[...document.querySelectorAll('figure svg')].map(e => e.getBoundingClientRect().right))"
    )
    assert widest <= 720
    ink = browser.execute_script("return getComputedStyle(document.body).color.match(/\\d+/g).map(Number)")
    assert max(ink[:3]) < 80
