"""The documentation as a site, by Sphinx: ``make docs`` builds it into ``build/site``.

The source is the root of the repository and not this folder, so that README, CHANGELOG and CONTRIBUTING are pages like
the others and every relative link means on the site what it means where the files are read as they are. The pages are
plain Markdown without directives: order and headings of the navigation are here, and are put into the first page as
Sphinx reads it. What docstrings say is on ``docs/api.rst``, the one page that needs Sphinx to be read.
"""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from pygments.lexers.special import TextLexer

if TYPE_CHECKING:
    from sphinx.application import Sphinx

FIRST = "README"
# By what a reader wants; a page that stands nowhere here is an error of the build.
NAVIGATION = {
    "Start": ["docs/first-study", "docs/concepts"],
    "Use": [
        "docs/choosing-a-selector",
        "docs/tasks",
        "docs/costs",
        "docs/reading-the-report",
        "docs/comparing",
        "docs/exporting",
        "docs/mlflow",
        "docs/cluster",
        "docs/python",
        "docs/suggesting",
    ],
    "Understand": [
        "docs/architecture",
        "docs/how-it-works",
        "docs/reliability",
        "docs/security",
        "docs/performance",
        "docs/selectors",
        "docs/results",
        "docs/scoreboard",
        "docs/builtin-tasks",
    ],
    "Extend": [
        "docs/simulating",
        "docs/adding-a-selector",
        "docs/adding-a-metric",
        "docs/adding-a-task-kind",
        "CONTRIBUTING",
    ],
    "Reference": ["docs/study-file", "docs/commands", "docs/api", "CHANGELOG"],
}
ROOT = Path(__file__).parents[1]

project = "auxtune"
version = release = metadata.version("auxtune")
html_title = f"auxtune {release}"
root_doc = FIRST
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/*.md", "docs/*.rst"]
exclude_patterns = [".*", "**/.*", "build", "dist", "studies"]  # not even looked into
extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 4  # links to headings, called as a code host calls them
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # as they are written
autodoc_type_aliases = {"Event": "Event"}
html_theme = "furo"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False


def navigation() -> str:
    """The table of contents, hidden on the page itself, as MyST's directives; pages that are there only."""
    there = {
        caption: [page for page in pages if any((ROOT / page).with_suffix(form).exists() for form in (".md", ".rst"))]
        for caption, pages in NAVIGATION.items()
    }
    return "".join(
        f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "".join(f"/{page}\n" for page in pages) + "```\n"
        for caption, pages in there.items()
    )


def add_navigation(app: Sphinx, page: str, text: list[str]) -> None:
    """Below what the first page says."""
    if page == FIRST:
        text[0] += navigation()


def add_index(app: Sphinx, error: Exception | None) -> None:
    """The first page once more, under the name that web servers and people look for."""
    if error is None:
        shutil.copy(app.outdir / f"{FIRST}.html", app.outdir / "index.html")


def show_examples(app: Sphinx, what: str, name: str, found: object, options: object, lines: list[str]) -> None:
    """What is indented in a docstring is shown as it stands: in our docstrings that is code or a drawing."""
    shown: list[str] = []
    within = False
    for line in lines:
        if line.startswith("    ") and not within and shown and not shown[-1]:
            shown += ["::", ""]
        within = line.startswith("    ") if line else within
        shown.append(line)
    lines[:] = shown


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_lexer("csv", TextLexer)  # a language that Pygments does not know
    app.connect("source-read", add_navigation)
    app.connect("autodoc-process-docstring", show_examples)
    app.connect("build-finished", add_index)
