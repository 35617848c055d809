"""Where a run computes, in what precision, and the random state of that place."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

from auxtune.trials.recipe import Precision

_CONTEXT_BYTES = 640 * 2**20  # what CUDA and its libraries take besides torch's allocator


def choose_device(gpus: float, wanted: Literal["auto", "cpu"] = "auto") -> torch.device:
    """The device of a run that was given ``gpus``: the CPU if it was given none, even if there is a GPU.

    If torch does not see a GPU that was given, ``auto`` raises ``RuntimeError``: paid for and unused, it must not go
    unnoticed.
    """
    if gpus == 0 or wanted == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    raise RuntimeError(
        f"given {gpus:g} GPUs, but torch sees none; install a torch for it, or give the run 0, or have it use the CPU "
        "anyway (device=cpu)"
    )


def keep_to_share(device: torch.device, gpus: float) -> None:
    """Limit this process to its part of a shared GPU's memory: beyond that it fails, not its neighbour."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        # By number: torch rejects a device without one, such as `cuda`, here. None is the current device.
        torch.cuda.set_per_process_memory_fraction(compute_memory_fraction(gpus, total), device.index)


def compute_memory_fraction(gpus: float, total: int) -> float:
    """The fraction of a GPU's ``total`` bytes that torch may allocate for a run that was given ``gpus``.

    Each process also has a CUDA context, which torch's allocator does not count; without room for it, two halves would
    be more than a whole. A whole GPU is not limited.
    """
    return 1.0 if gpus >= 1 else max(gpus - _CONTEXT_BYTES / total, gpus / 2)


def name_device(gpus: float, wanted: Literal["auto", "cpu"] = "auto") -> str:
    """The device that ``choose_device`` chooses, by its model: measurements of one hold for all of that model."""
    device = choose_device(gpus, wanted)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} {platform.machine()}"


def autocast(precision: Precision, device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
    """The context of forward passes. ``auto`` is bfloat16 on a CUDA device that has it, else float32."""
    able = device.type == "cuda" and torch.cuda.is_bf16_supported()
    if precision == "bfloat16" or (precision == "auto" and able):
        return lambda: torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext


def save_random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """Torch's random state on the host and on ``device``."""
    state = {"host": torch.get_rng_state()}
    if device.type != "cpu":
        state["device"] = torch.get_device_module(device).get_rng_state()
    return state


def set_random_state(device: torch.device, state: Mapping[str, torch.Tensor]) -> None:
    """Continue from ``save_random_state``; after a change of device, that device's state stays as seeded."""
    torch.set_rng_state(state["host"])
    if device.type != "cpu" and "device" in state:
        torch.get_device_module(device).set_rng_state(state["device"])
