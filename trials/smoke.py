"""A short real training of one task: does it work from first step to checkpoint, and how long does each part take?

The run is the study's own (model, batch size, precision, threads); only its steps are few. Kernels are loaded and
caches filled before anything is timed, and the device is synchronised before every look at the clock.

Memory is measured as growth: Linux keeps each process's highest resident size and can reset it, so that a later peak
can be told from an earlier one. Elsewhere growth is unknown: ``getrusage`` knows one peak for a process's whole life.
"""

from __future__ import annotations

import contextlib
import gc
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from auxtune.trials.checkpoint import FILE, read_checkpoint
from auxtune.trials.encoder import BaseEncoder
from auxtune.trials.evaluation import Evaluation
from auxtune.trials.recipe import Recipe
from auxtune.trials.result import SmokeFigures
from auxtune.trials.tokens import EncodedTask
from auxtune.trials.train_step import TrainStep
from auxtune.trials.training import TrainingRun

BLOCKS, BLOCK_STEPS = 3, 2  # timed blocks; batches differ in length, so a block averages several steps
_NEVER = 10**9  # seconds between checkpoints: none except the requested one


class RoundTripError(RuntimeError):
    """A checkpoint did not give back what was saved."""


def run_smoke_test(
    recipe: Recipe, task: EncodedTask, base: BaseEncoder, folder: Path, cpus: float, gpus: float
) -> SmokeFigures:
    """Train ``task`` for a few steps by ``recipe``, which must train it alone; ``folder`` is scratch space.

    Raises whatever a trial would raise (``failures.classify_failure`` names it) and ``RoundTripError``.
    """
    growth = MemoryGrowth()
    tasks = {task.name: task}
    # The learning rate is a function of the step that is not defined beyond the last one.
    recipe = replace(recipe, steps=max(recipe.steps, 1 + BLOCKS * BLOCK_STEPS))
    checkpoint, run_peak = _check_round_trip(recipe, tasks, base, folder, cpus, gpus)
    train_step = TrainStep(recipe, tasks, base, gpus)
    evaluation = Evaluation(train_step.model, tasks, train_step.collate, train_step.autocast)
    train_step.train(task.name)  # the first step also loads kernels and allocates the moments
    blocks = [_measure_step(train_step, task.name) for _ in range(BLOCKS)]
    train_step.mean_losses()  # raises for NaN: the time of such steps means nothing
    begun = _read_clock(train_step.device)
    evaluation.scores([task.name], "validation")
    evaluated = _read_clock(train_step.device) - begun
    peaks = [peak for peak in (run_peak, train_step.peak_gpu_bytes()) if peak is not None]
    return SmokeFigures(
        seconds_per_step=sum(blocks) / BLOCKS,
        fastest=min(blocks),
        slowest=max(blocks),
        seconds_per_evaluation=evaluated,
        evaluated_rows=len(task.splits["validation"]),
        peak_gpu_bytes=max(peaks, default=None),
        peak_growth_bytes=None if peaks else growth.peak_bytes(),
        checkpoint_bytes=checkpoint,
    )


def _check_round_trip(
    recipe: Recipe, tasks: Mapping[str, EncodedTask], base: BaseEncoder, folder: Path, cpus: float, gpus: float
) -> tuple[int, int | None]:
    """One step, an evaluation, and a checkpoint loaded into a new run and saved again: its bytes, GPU peak bytes."""
    short = replace(recipe, evaluate_every=1, checkpoint_every=_NEVER)
    first = TrainingRun(short, tasks, base, folder / "first", cpus=cpus, gpus=gpus)
    first.advance()
    first.save()
    peak = first.cost().peak_gpu_bytes
    del first  # a trial never holds two models
    second = TrainingRun(short, tasks, base, folder / "second", cpus=cpus, gpus=gpus)
    second.load(folder / "first" / "checkpoint")
    second.save()
    saved, _ = read_checkpoint(folder / "first" / "checkpoint")
    again, _ = read_checkpoint(folder / "second" / "checkpoint")
    changed = sorted(name for name in saved.keys() | again.keys() if not _is_same(saved.get(name), again.get(name)))
    if changed:
        raise RoundTripError(f"{len(changed)} of {len(saved)} tensors came back changed, the first is {changed[0]}")
    return (folder / "first" / "checkpoint" / FILE).stat().st_size, peak


def _is_same(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    """Whether both exist and are equal bit for bit, so that NaN equals itself and -0 differs from 0."""
    if one is None or other is None or one.dtype != other.dtype or one.shape != other.shape:
        return False
    return one.numpy().tobytes() == other.numpy().tobytes()


def _measure_step(train_step: TrainStep, name: str) -> float:
    begun = _read_clock(train_step.device)
    for _ in range(BLOCK_STEPS):
        train_step.train(name)
    return (_read_clock(train_step.device) - begun) / BLOCK_STEPS


def _read_clock(device: torch.device) -> float:
    """The time in seconds once ``device`` has finished all its work."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()
    return time.perf_counter()


_PROC = Path("/proc/self")


class MemoryGrowth:
    """Watches, from construction on, how far the process grows beyond its size at that time."""

    def __init__(self) -> None:
        gc.collect()  # so that garbage of a previous run does not count as growth
        with contextlib.suppress(OSError):  # not Linux, or a container that forbids it
            (_PROC / "clear_refs").write_text("5")
        self._held, self._highest = _read_resident("VmRSS"), _read_resident("VmHWM")

    def peak_bytes(self) -> int | None:
        """Bytes of the peak beyond the size at the start; ``None`` if there was no new peak."""
        highest = _read_resident("VmHWM")
        if highest is None or self._held is None or self._highest is None or highest <= self._highest:
            return None
        return highest - self._held


def _read_resident(key: str) -> int | None:
    """A size in bytes from the kernel's status of this process; ``None`` if there is none."""
    try:
        found = re.search(rf"^{key}:\s+(\d+) kB$", (_PROC / "status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
