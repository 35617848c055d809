"""Where a run computes, and how much of a shared GPU it may take."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from synthetic_tasks import BASE, RECIPE, TASKS

from auxtune.trials.device import choose_device, keep_to_share, memory_fraction
from auxtune.trials.evidence_key import run_key
from auxtune.trials.learner import Learner
from auxtune.trials.progress import identity

GIB = 2**30


@pytest.mark.parametrize(("gpus", "total"), [(0.5, 80 * GIB), (0.25, 24 * GIB), (0.2, 16 * GIB), (1 / 3, 12 * GIB)])
def test_those_who_share_a_gpu_leave_room_for_a_context_each(gpus: float, total: int) -> None:
    sharing = round(1 / gpus)
    left = total - sharing * memory_fraction(gpus, total) * total
    assert left / sharing >= 600 * 2**20
    assert 0 < memory_fraction(gpus, total) < gpus


def test_a_whole_gpu_is_not_limited_and_a_small_part_is_never_nothing() -> None:
    assert memory_fraction(1.0, 8 * GIB) == memory_fraction(2.0, 8 * GIB) == 1.0
    assert memory_fraction(0.05, 8 * GIB) == pytest.approx(0.025)


@pytest.mark.skipif(torch.cuda.is_available(), reason="is of machines without CUDA")
def test_a_gpu_that_torch_does_not_see_is_an_error_unless_the_cpu_is_asked_for() -> None:
    with pytest.raises(RuntimeError, match=r"given 0\.5 GPUs, but torch sees none"):
        choose_device(0.5)
    assert choose_device(0.5, "cpu") == torch.device("cpu")
    assert Learner(replace(RECIPE, device="cpu"), TASKS, BASE, gpus=0.5).device == torch.device("cpu")
    keep_to_share(torch.device("cpu"), 0.5)            # nothing to share


def test_a_part_of_a_gpu_is_kept_to() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    keep_to_share(torch.device("cuda"), 0.25)
    try:
        total = torch.cuda.get_device_properties(0).total_memory
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(int(0.3 * total), dtype=torch.uint8, device="cuda")
    finally:
        keep_to_share(torch.device("cuda"), 1.0)


def test_the_device_changes_no_run_but_where_it_was_computed_names_what_was_measured() -> None:
    on_cpu = replace(RECIPE, device="cpu")
    assert identity(on_cpu, TASKS, BASE) == identity(RECIPE, TASKS, BASE)          # a checkpoint may move
    keys = [run_key(recipe, TASKS, BASE, gpus) for recipe in (RECIPE, on_cpu) for gpus in (0.0, 0.5)]
    assert keys[0] == keys[2] == keys[3] != keys[1]
