"""The shape of the repository: what keeps Python's own ``selectors`` visible and every page short."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("orchestrator", "trials", "selectors", "examples")
SMALL = 40  # lines, under which a module is a paragraph of another file, unless many need it
# Small modules that one module imports, and why each is a file.
ALONE: dict[str, str] = {}
SOURCES = sorted(path for folder in ("auxtune", *PACKAGES, "tests", "docs") for path in (ROOT / folder).rglob("*.py"))
LONGEST = 400
LOOK_IN_A_WORKER = """
import ray

@ray.remote
def look():
    import auxtune, auxtune.selectors.registry
    return auxtune.__file__, auxtune.selectors.registry.__file__, auxtune.Study.__module__

ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
print(*ray.get(look.remote()))
"""
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


def test_the_root_package_looks_into_this_checkout_whatever_else_is_on_the_path() -> None:
    code = (
        "import auxtune, auxtune.orchestrator, auxtune.selectors.registry, selectors\n"
        "print(auxtune.__file__, auxtune.orchestrator.__file__, auxtune.selectors.registry.__file__, auxtune.Study)"
    )
    *files, study = in_root("-c", code).split(maxsplit=3)
    assert files == [
        str(ROOT / name) for name in ("auxtune/__init__.py", "orchestrator/__init__.py", "selectors/registry.py")
    ]
    assert "auxtune.orchestrator.study.Study" in study


def test_the_root_package_loads_nothing_until_it_is_asked() -> None:
    code = (
        "import auxtune, sys; print(dir(auxtune)); print([name for name in sys.modules if name.startswith('auxtune.')])"
    )
    shown, loaded = in_root("-c", code).splitlines()
    assert {"Study", "load_model", "simulate"} <= set(ast.literal_eval(shown)) and loaded == "[]"


def test_what_the_root_package_has_not_is_an_attribute_error() -> None:
    import auxtune

    with pytest.raises(AttributeError, match="studio"):
        auxtune.studio  # noqa: B018 - asking is the test


@pytest.mark.slow
@pytest.mark.parametrize("is_root_on_path", [True, False])
def test_workers_of_ray_find_the_root_package(is_root_on_path: bool, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(LOOK_IN_A_WORKER)
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONSAFEPATH", "PYTHONPATH")}
    environment |= {"PYTHONPATH": str(ROOT)} if is_root_on_path else {}
    home = ROOT if is_root_on_path else tmp_path
    run = subprocess.run(
        [sys.executable, str(program)], cwd=home, env=environment, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    ours = ("auxtune/__init__.py", "selectors/registry.py")
    assert run.stdout.split() == [*(str(ROOT / name) for name in ours), "auxtune.orchestrator.study"]


def test_type_checkers_find_the_root_package() -> None:
    assert (ROOT / ".typing" / "auxtune" / "__init__.py").resolve() == ROOT / "auxtune" / "__init__.py"


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


def test_a_small_module_has_more_than_one_importer() -> None:
    run = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "house.py"), "--json"], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["modules"] > 100 and found["modules_with_one_importer"] > 0
    assert set(found["small_modules_with_one_importer"]) <= set(ALONE), (
        f"under {SMALL} lines: fold it into its importer"
    )


def test_the_files_that_pages_name_are_there() -> None:
    pages = [ROOT / "docs" / "architecture.md", ROOT / "CONTRIBUTING.md"]
    named = {
        name
        for page in pages
        for name in re.findall(r"`((?:orchestrator|trials|selectors|tests)/[\w/.]+)`", page.read_text())
    }
    missing = {name for name in named if not (ROOT / name).exists()}
    assert len(named) > 25 and missing == {"selectors/__init__.py"}  # which never is to be there
