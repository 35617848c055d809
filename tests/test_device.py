"""Where a run computes, and how much of a shared GPU it may take."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from synthetic_tasks import BASE, RECIPE, TASKS

from auxtune.trials.probes.probe import hash_run
from auxtune.trials.recipe import describe_run
from auxtune.trials.train_step import TrainStep, choose_device, compute_memory_fraction, keep_to_share

GIB = 2**30


@pytest.mark.parametrize(("gpus", "total"), [(0.5, 80 * GIB), (0.25, 24 * GIB), (0.2, 16 * GIB), (1 / 3, 12 * GIB)])
def test_those_who_share_a_gpu_leave_room_for_a_context_each(gpus: float, total: int) -> None:
    sharing = round(1 / gpus)
    left = total - sharing * compute_memory_fraction(gpus, total) * total
    assert left / sharing >= 600 * 2**20
    assert 0 < compute_memory_fraction(gpus, total) < gpus


def test_a_whole_gpu_is_not_limited_and_a_small_part_is_never_nothing() -> None:
    assert compute_memory_fraction(1.0, 8 * GIB) == compute_memory_fraction(2.0, 8 * GIB) == 1.0
    assert compute_memory_fraction(0.05, 8 * GIB) == pytest.approx(0.025)


@pytest.mark.skipif(torch.cuda.is_available(), reason="is of machines without CUDA")
def test_a_gpu_that_torch_does_not_see_is_an_error_unless_the_cpu_is_asked_for() -> None:
    with pytest.raises(RuntimeError, match=r"given 0\.5 GPUs, but torch sees none"):
        choose_device(0.5)
    assert choose_device(0.5, "cpu") == torch.device("cpu")
    assert TrainStep(replace(RECIPE, device="cpu"), TASKS, BASE, gpus=0.5).device == torch.device("cpu")
    keep_to_share(torch.device("cpu"), 0.5)  # nothing to share


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
    assert describe_run(on_cpu, TASKS, BASE) == describe_run(RECIPE, TASKS, BASE)  # a checkpoint may move
    keys = [hash_run(recipe, TASKS, BASE, gpus) for recipe in (RECIPE, on_cpu) for gpus in (0.0, 0.5)]
    assert keys[0] == keys[2] == keys[3] != keys[1]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int]]:
    """What torch asks of a CUDA driver that has a device of 8 GiB, where there is none: fraction and device."""
    asked: list[tuple[float, int]] = []
    monkeypatch.setattr(torch.cuda.memory, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=8 * GIB))
    monkeypatch.setattr(torch._C, "_cuda_setMemoryFraction", lambda *one: asked.append(one), raising=False)
    return asked


def test_a_process_that_is_kept_goes_by_the_share_of_its_present_trial(driver: list[tuple[float, int]]) -> None:
    """Through torch's own checks, which refuse `cuda` without a number, down to the call of the driver."""
    shares = (0.5, 0.25, 1.0, 2.0, 0.5)
    for gpus in shares:
        keep_to_share(torch.device("cuda"), gpus)
    assert driver == [(compute_memory_fraction(gpus, 8 * GIB), 0) for gpus in shares]
    assert [fraction for fraction, _ in driver] == pytest.approx([0.42, 0.17, 1, 1, 0.42], abs=0.01)
    keep_to_share(torch.device("cuda", 1), 0.5)
    assert driver[-1][1] == 1
    keep_to_share(torch.device("cpu"), 0.5)
    assert len(driver) == len(shares) + 1
