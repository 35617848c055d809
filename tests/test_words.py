"""The documentation keeps its word: its commands work, its lists are complete, its links lead somewhere."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pages import COMMANDS, IN_A_CLONE, MARKS, PAGES, ROOT, Block, Reader, blocks

from auxtune.orchestrator import errors
from auxtune.orchestrator.record.events import Event
from auxtune.orchestrator.study_file.models import StudyOptions
from auxtune.orchestrator.study_file.reading import parse_study
from auxtune.selectors.registry import INNER, SELECTORS, Method
from auxtune.trials.data import Kind
from auxtune.trials.probes.probe import OPTIONS
from auxtune.trials.result import FailureReason

README, GUIDE, METHODS = ROOT / "README.md", ROOT / "docs" / "how-it-works.md", ROOT / "docs" / "selectors.md"
OWN = ROOT / "docs" / "adding-a-selector.md"
BLOCKS = [block for page in PAGES for block in blocks(page)]
SHIPPED = [method for known in (SELECTORS, INNER) for method in known.describe() if method.name in known.shipped]
FILLED_LATER = {"demo-output", "thompson-seeds"}  # places for measured numbers


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def rows_of(page: Path, words: str) -> dict[str, list[str]]:
    """The first table after ``words``: the first cell of each row, without its backticks -> the other cells."""
    table = re.search(rf"{re.escape(words)}[\s\S]*?\n((?:\|.*\n)+)", text_of(page))
    assert table is not None, f"{page.name}: there is no table after {words!r}"
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[1].splitlines()]
    return {first.strip("` "): rest for first, *rest in cells[2:]}


def test_every_file_that_names_a_task_kind_is_on_its_page() -> None:
    listed = "".join(re.findall(r"^\| (`[^|]+) \|", text_of(IN_A_CLONE), re.MULTILINE))
    files = {file for folder in ("orchestrator", "trials", "selectors") for file in (ROOT / folder).rglob("*.py")}
    naming = {file.relative_to(ROOT).as_posix() for file in files if names_a_kind(file)}
    assert len(naming) > 20 and set(re.findall(r"`([\w/]+\.py)`", listed)) == naming


def names_a_kind(file: Path) -> bool:
    """Whether a kind is said as text: alone, or for ``token``, a word of other things too, beside a ``kind``."""
    for node in ast.walk(ast.parse(text_of(file))):
        if isinstance(node, ast.Constant) and node.value in {*get_args(Kind)} - {"token"}:
            return True
        if isinstance(node, ast.Compare) and "kind" in ast.unparse(node.left):
            parts = (part for right in node.comparators for part in ast.walk(right))
            if any(isinstance(part, ast.Constant) and part.value == "token" for part in parts):
                return True
    return False


@pytest.mark.parametrize(
    "page",
    [
        "```sh\nfalse\n```\n",
        "```python\nassert 1 > 2\n```\n",
        "```diff\n--- a/missing\n+++ b/missing\n@@ -1 +1 @@\n-one\n+two\n```\n",
        "<!-- ends with 2 -->\n```sh\ntrue\n```\n",
        "```sh\necho one; echo two\n```\n\n<!-- prints -->\n```text\ntwo\none\n```\n",
        "```sh\necho one\n```\n\n<!-- prints -->\n```text\n… one\n```\n",
    ],
)
def test_a_reader_notices_what_does_not_hold(page: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(page)
    with pytest.raises(AssertionError, match=r"page\.md:"):
        Reader(tmp_path, is_warm=False).follow(tmp_path / "page.md")


def test_blocks_are_in_languages_and_under_comments_that_are_understood() -> None:
    assert len(BLOCKS) > 30
    assert {block.language for block in BLOCKS} <= {*COMMANDS, "csv", "json", "text", "toml", "yaml"}
    comments = {block.comment for block in BLOCKS} - FILLED_LATER - {""}
    assert [comment for comment in comments if not any(mark.fullmatch(comment) for mark in MARKS.values())] == []


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.language == "yaml" and not b.mark("file")], ids=lambda block: block.place
)
def test_what_is_shown_of_a_study_file_is_accepted(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUXTUNE_DATA", "/data")
    shown: dict[str, Any] = yaml.safe_load(block.text)
    rest = {"study": "shown", "selector": "random_subset", "budget": {"trials": 30}}
    tasks = shown.get("tasks", {"a": {"path": "a.csv"}})
    study = {**rest, "tasks": tasks, "primary": next(iter(tasks)), **shown}
    parse_study(json.dumps(study), block.place, ROOT)


def test_the_commands_of_make_are_its_targets_and_the_readme_names_two() -> None:
    targets = set(re.findall(r"^([\w-]+): .*## ", text_of(ROOT / "Makefile"), re.MULTILINE))
    named = {page: set(re.findall(r"(?:^|`)make ([\w-]+)", text_of(page), re.MULTILINE)) for page in PAGES}
    assert named[README] == {"demo", "test"}
    assert set().union(*named.values()) <= targets


@pytest.mark.parametrize("method", SHIPPED, ids=lambda method: method.name)
def test_every_selector_is_described_with_its_options_and_paper(method: Method) -> None:
    heading = next((h for h in re.findall(r"^## .*", text_of(METHODS), re.MULTILINE) if method.name in h), None)
    assert heading is not None
    section = text_of(METHODS).partition(f"{heading}\n")[2].partition("\n## ")[0]
    shown = re.findall(r"^\| `(\w+)` \| `(.+)` \| (.+) \|$", section, re.MULTILINE)
    defaults = [d if isinstance(d := option.default, str) else json.dumps(d) for option in method.options]
    assert shown == [(o.name, default, o.meaning) for o, default in zip(method.options, defaults, strict=True)]
    assert all(link in text_of(METHODS) for link in re.findall(r"https://\S+", method.paper or ""))


def test_every_probe_is_described_with_its_options() -> None:
    shown = {name: cells[0] for name, cells in rows_of(OWN, "## Asking what a run can tell").items()}
    assert shown.keys() == OPTIONS.keys()
    for probe, options in OPTIONS.items():
        fields = options.__pydantic_fields__.items()
        words = {key: get_args(field.annotation) or (str(field.default),) for key, field in fields}
        told = {name: tuple(re.findall(r"\w+", said)) for name, said in re.findall(r"`(\w+)`: ([^;]+)", shown[probe])}
        assert told == words


def test_every_section_of_the_study_file_is_explained() -> None:
    shown = set(re.findall(r"\w+", " ".join(rows_of(GUIDE, "## Going on with a finished study"))))
    assert shown == set(StudyOptions.model_fields)


def test_every_error_and_exit_code_is_explained() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    shown = {name: int(code) for name, (code, _) in rows_of(GUIDE, "## Exit codes and errors").items()}
    assert shown == {kind.__name__: kind.exit_code for kind in kinds}
    listed = text_of(ROOT / "docs" / "commands.md").partition("Exit codes:")[2].partition("\n\n")[0]
    assert {int(code) for code in re.findall(r"\d+", listed)} == {0, *shown.values()}


def test_every_event_and_every_way_to_fail_is_explained() -> None:
    events = {kind.event for kind in get_args(get_args(Event)[0])}
    assert rows_of(GUIDE, "could replace it, is in").keys() == events
    failures = "".join(cell for cells in rows_of(GUIDE, "## When something goes wrong").values() for cell in cells)
    assert all(f"`{why}`" in failures for why in get_args(FailureReason))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text_of(page)) if "://" not in link]
    for target, _, anchor in (link.partition("#") for link in links):
        path = (page.parent / target).resolve() if target else page
        assert path.exists() and path.is_relative_to(ROOT), f"there is no {target} in the repository"
        assert not anchor or anchor in anchors(path), f"{target} has no heading #{anchor}"


def anchors(page: Path) -> set[str]:
    """What a link may name after ``#``, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_changelog_tells_of_this_version() -> None:
    version = re.search(r'^version = "(.+)"$', text_of(ROOT / "pyproject.toml"), re.MULTILINE)
    assert version is not None and f"## [{version[1]}]" in text_of(ROOT / "CHANGELOG.md")
