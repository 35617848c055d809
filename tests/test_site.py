"""The documentation as a site: built without a warning and without a network, whole, and readable in a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from chromium import BROWSER, DRIVER, asked_for, opened
from pages import PAGES, ROOT

SHOWN = [*PAGES, ROOT / "docs" / "api.rst"]


pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """What a page asks for, where its links lead, and what in it can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.links, self.asks, self.names = path, set[str](), set[str](), set[str]()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.names.add(given.get("id", ""))
        if "src" in given or tag == "link":
            self.asks.add(given.get("src", "") or given.get("href", ""))
        elif tag == "a" and "href" in given:
            self.links.add(given["href"])


def build(source: Path, to: Path) -> subprocess.CompletedProcess[str]:
    """As ``make docs`` does."""
    options = ["-W", "--keep-going", "-q", "-c", source / "docs", "-d", to / "doctrees"]
    command = [sys.executable, "-m", "sphinx", *map(str, options), str(source), str(to / "site")]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of this repository."""
    home = tmp_path_factory.mktemp("built")
    done = build(ROOT, home)
    assert (done.returncode, done.stderr) == (0, "")
    return home / "site"


def made_of(page: Path, site: Path) -> Path:
    return site / page.relative_to(ROOT).with_suffix(".html")


def test_every_page_is_built_and_in_the_navigation(site: Path) -> None:
    reached = {(site / link).resolve() for link in Page(site / "index.html").links if "#" not in link}
    assert {made_of(page, site) for page in SHOWN if page.stem != "README"} <= reached
    assert all(made_of(page, site).exists() for page in SHOWN)


def test_links_lead_somewhere_and_nothing_is_asked_of_others(site: Path) -> None:
    pages = {path: Page(path) for path in site.rglob("*.html")}
    assert len(pages) >= len(SHOWN)
    for page in pages.values():
        assert page.asks and [asked for asked in page.asks if urlsplit(asked).netloc] == []
        for link in map(urlsplit, page.links):
            if link.netloc:
                continue
            target = (page.path.parent / unquote(link.path)).resolve() if link.path else page.path
            assert target.exists(), f"{page.path.name}: there is no {link.path}"
            assert not link.fragment or unquote(link.fragment) in pages[target].names, f"{target.name} #{link.fragment}"


def test_tables_and_docstrings_arrive_as_such(site: Path) -> None:
    keys = re.findall(r"^\| `(\S+)` \|", (ROOT / "docs" / "study-file.md").read_text(), re.MULTILINE)
    _, _, text = made_of(ROOT / "docs" / "study-file.md", site).read_text().partition('id="every-key"')
    table, _, _ = text.partition("</table>")
    shown = re.findall(r'<tr class="row-\w+"><td><p><code[^>]*><span class="pre">([^<]+)', table)
    assert len(keys) > 60 and shown == keys
    reference = made_of(ROOT / "docs" / "api.rst", site).read_text()
    assert "``" not in reference and "system-message" not in reference
    for name in ("Study.run", "LoadedModel.predict", "Proposal", "StudyFileError"):
        assert re.search(rf'<dt class="sig[^>]*id="auxtune\.[\w.]*\.{re.escape(name)}"', reference), name
    drawn = [re.sub(r"<[^>]+>", "", text) for text in re.findall(r"<pre>([\s\S]*?)</pre>", reference)]
    assert any("legal only while own proposals" in text for text in drawn), "what is indented is not shown as it stands"


def test_a_page_that_nobody_finds_and_a_broken_link_fail_the_build(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "docs" / "stray.md").write_text("# Stray\n\n[costs](costs.md#no-such-heading)\n")
    done = build(tmp_path, tmp_path / "built")
    assert done.returncode != 0
    assert re.search(r"stray\.md:? WARNING: document isn't included in any toctree", done.stderr)
    assert re.search(r"stray\.md:\d+: WARNING: .*no-such-heading", done.stderr)


@pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs Chromium and chromedriver on the path")
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light"), (1600, "dark")])
def test_pages_fit_their_window_and_complain_of_nothing(browser: Any, site: Path, width: int, scheme: str) -> None:
    for page in (made_of(page, site) for page in SHOWN):
        opened(browser, page.as_uri(), width, scheme=scheme)
        needed, ground, text = browser.execute_script(
            "const main = document.querySelector('article'), style = getComputedStyle(document.body);"
            "return [document.documentElement.scrollWidth, style.backgroundColor, main.getBoundingClientRect().right]"
        )
        assert needed <= width and text <= width, f"{page.name} is wider than its window"
        red, *_ = re.findall(r"\d+", ground)
        assert (int(red) < 60) == (scheme == "dark")
        assert browser.get_log("browser") == []
        asked = asked_for(browser)
        assert asked and [url for url in asked if not url.startswith(("file:", "data:"))] == []
