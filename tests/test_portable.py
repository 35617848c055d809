"""`make test-portable` really changes the arithmetic that the tests run on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ASK = (
    "import torch; print(torch.backends.cpu.get_cpu_capability().lower(), "
    "'mkldnn' if torch._C._get_mkldnn_enabled() else 'without')"
)


def arithmetic(**changes: str) -> list[str]:
    """What torch calculates with in a process whose environment has these changes and no others of this kind."""
    kept = {name: value for name, value in os.environ.items() if name not in {"ATEN_CPU_CAPABILITY", "PYTHONPATH"}}
    environment = kept | changes
    done = subprocess.run([sys.executable, "-c", ASK], env=environment, text=True, capture_output=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("capability", ["default", "avx2"])
def test_the_tests_can_be_run_with_fewer_instructions(capability: str) -> None:
    own, asked = arithmetic()[0], arithmetic(ATEN_CPU_CAPABILITY=capability)[0]
    if own == "default" != capability:
        pytest.skip(f"this processor has no {capability}")
    assert asked == capability


def test_the_tests_can_be_run_without_mkldnn() -> None:
    assert arithmetic()[1] == "mkldnn"
    assert arithmetic(PYTHONPATH=str(ROOT / "tests" / "without_mkldnn"))[1] == "without"


def test_the_target_knows_all_but_the_own() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    [kinds] = re.findall(r"^PORTABLE := (.*)$", makefile, re.MULTILINE)
    assert kinds.split() == ["default", "avx2", "without-mkldnn"]
