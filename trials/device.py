"""Where a run computes, in what precision, and the random state of that place."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from auxtune.trials.recipe import Recipe


def choose_device(gpus: float) -> torch.device:
    """The device of a run that was given ``gpus``: the CPU where it was given none, even if there is one."""
    if gpus == 0:
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    raise RuntimeError(f"given {gpus:g} GPUs, but torch sees none; install a torch for it, or give the run 0")


def device_name(gpus: float) -> str:
    """What ``choose_device`` chooses, by its model: measurements of one hold for its like."""
    device = choose_device(gpus)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} {platform.machine()}"


def autocast(recipe: Recipe, device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
    """The context of forward passes. ``auto`` is bfloat16 on a CUDA device that has it, else float32."""
    able = device.type == "cuda" and torch.cuda.is_bf16_supported()
    if recipe.precision == "bfloat16" or (recipe.precision == "auto" and able):
        return lambda: torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """Torch's random state on the host and on ``device``."""
    state = {"host": torch.get_rng_state()}
    if device.type != "cpu":
        state["device"] = torch.get_device_module(device).get_rng_state()
    return state


def set_random_state(device: torch.device, state: Mapping[str, torch.Tensor]) -> None:
    """Continue from ``random_state``; after a change of device, that device's state stays as seeded."""
    torch.set_rng_state(state["host"])
    if device.type != "cpu" and "device" in state:
        torch.get_device_module(device).set_rng_state(state["device"])
