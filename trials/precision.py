"""In which precision forward passes are computed; weights, gradients and the optimiser are always in float32."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from auxtune.trials.recipe import Precision

# On a CPU bfloat16 pays from small encoders on (1.4 times as fast with 64 numbers a token, 2.7 times with 384). Below
# this size a training is short anyway, and stays the same on every CPU.
SMALL = 1_000_000  # weights


def choose_precision(asked: Precision, device: torch.device, weights: int) -> Precision:
    """The precision on ``device`` of an encoder that begins with this many ``weights``, 0 if from scratch.

    ``auto`` is bfloat16 where the device has instructions for it: a GPU, or a CPU for an encoder that is not ``SMALL``.
    """
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    is_worth = device.type == "cpu" and weights > SMALL and has_bfloat16_instructions()
    return "bfloat16" if is_worth else "float32"


def has_bfloat16_instructions() -> bool:
    """Whether this CPU multiplies matrices in bfloat16 by itself, and torch's settings let it."""
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):
        return False
    found = torch.cpu.get_capabilities()
    has_any = bool(found.get("avx512_bf16") or found.get("amx_bf16"))
    return has_any and torch.backends.cpu.get_cpu_capability() == "AVX512"


def autocast(precision: Precision, device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
    """The context of forward passes in a precision that ``choose_precision`` gave."""
    if precision == "bfloat16":
        return lambda: torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext
