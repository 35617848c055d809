"""The shape of the repository: what keeps Python's own ``selectors`` visible and every page short."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("orchestrator", "trials", "selectors", "examples")
SOURCES = sorted(path for folder in (*PACKAGES, "tests", "docs") for path in (ROOT / folder).rglob("*.py"))
LONGEST = 400
VAGUE = {"util", "utils", "helper", "helpers", "manager", "managers", "misc", "common"}


def in_root(*arguments: str) -> str:
    """The output of Python started in the root, with the root importable in every way it can be."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    environment["PYTHONPATH"] = str(ROOT)
    run = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_sources_are_found() -> None:
    assert {path.parent.name for path in SOURCES} >= {*PACKAGES, "tests", "docs", "commands"}


def test_selectors_is_never_a_regular_package() -> None:
    assert not (ROOT / "selectors" / "__init__.py").exists()


def test_no_folder_of_tests_is_a_package() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


@pytest.mark.parametrize("module", ["selectors", "subprocess", "asyncio"])
def test_the_standard_library_wins_in_the_root(module: str) -> None:
    found = in_root("-c", f"import {module}; print({module}.__file__)").strip()
    assert Path(found).is_relative_to(sysconfig.get_path("stdlib"))


def test_pytest_starts_as_a_module_in_the_root() -> None:
    assert "pytest" in in_root("-m", "pytest", "--version")


@pytest.mark.parametrize("folder", PACKAGES)
def test_type_checkers_find_the_folder(folder: str) -> None:
    assert (ROOT / ".typing" / "auxtune" / folder).resolve() == ROOT / folder


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_is_short_and_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), "a module docstring, before `from __future__`"
    assert len(text.splitlines()) <= LONGEST
    assert not VAGUE & set(path.stem.split("_")), "a name that says what the file is for"


def test_no_function_of_the_product_goes_on_for_more_than_a_screen() -> None:
    """A docstring and a signature, which is long where a command has many options, do not count."""
    longest = {}
    for path in (path for folder in PACKAGES for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[min(1, len(node.body) - 1)] if ast.get_docstring(node) else node.body[0]
                longest[f"{path.name}:{node.name}"] = (node.body[-1].end_lineno or 0) - first.lineno + 1
    assert len(longest) > 2000 and {name: lines for name, lines in longest.items() if lines > 40} == {}


def test_the_files_that_pages_name_are_there() -> None:
    pages = [ROOT / "docs" / "architecture.md", ROOT / "CONTRIBUTING.md"]
    named = {
        name
        for page in pages
        for name in re.findall(r"`((?:orchestrator|trials|selectors|tests)/[\w/.]+)`", page.read_text())
    }
    missing = {name for name in named if not (ROOT / name).exists()}
    assert len(named) > 25 and missing == {"selectors/__init__.py"}  # which never is to be there
