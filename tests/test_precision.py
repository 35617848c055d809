"""In which precision a training computes where it is left to the device."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from auxtune.trials.precision import SMALL, choose_precision, has_bfloat16_instructions

CPU = torch.device("cpu")
LARGE = SMALL + 1
HAS = {"avx512_bf16": True, "amx_bf16": False}


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU with instructions for bfloat16."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: HAS)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")


@pytest.mark.usefixtures("able")
def test_a_cpu_that_is_able_computes_large_encoders_in_bfloat16_and_small_ones_as_every_other() -> None:
    assert choose_precision("auto", CPU, LARGE) == "bfloat16"
    assert choose_precision("auto", CPU, SMALL) == choose_precision("auto", CPU, 0) == "float32"


@pytest.mark.usefixtures("able")
def test_what_is_asked_for_is_done() -> None:
    assert choose_precision("float32", CPU, LARGE) == "float32"
    assert choose_precision("bfloat16", CPU, 0) == "bfloat16"


@pytest.mark.parametrize(
    ("found", "level"),
    [({}, "AVX512"), (dict.fromkeys(HAS, False), "AVX512"), (HAS, "AVX2"), ({"neon": True}, "DEFAULT")],
)
def test_a_cpu_that_is_not_able_computes_in_float32(
    found: dict[str, Any], level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: level)
    assert choose_precision("auto", CPU, LARGE) == "float32"


@pytest.mark.usefixtures("able")
def test_without_mkldnn_there_are_no_such_kernels() -> None:
    with torch.backends.mkldnn.flags(enabled=False):
        assert not has_bfloat16_instructions()
    assert has_bfloat16_instructions() == torch.backends.mkldnn.is_available()


def test_a_process_that_was_given_fewer_instructions_does_not_use_these() -> None:
    ask = "from auxtune.trials.precision import has_bfloat16_instructions as has; print(has())"
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
