"""Documentation that the code can contradict is checked against it."""

from __future__ import annotations

import doctest
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WITH_EXAMPLES = sorted(
    path
    for folder in ("orchestrator", "trials", "selectors", "examples")
    for path in (ROOT / folder).rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def test_the_generated_pages_are_current() -> None:
    run = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_in_docstrings_run(path: Path) -> None:
    # Through the installed name: collected from the folder, the module would have a second identity.
    name = "auxtune." + ".".join(path.relative_to(ROOT).with_suffix("").parts)
    results = doctest.testmod(import_module(name))
    assert results.attempted and not results.failed
