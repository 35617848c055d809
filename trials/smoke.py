"""A short real training of one task: does it work from first step to checkpoint, and what does each part take?

The run is the study's own (model, batch size, precision, threads); only its steps are few. Kernels are loaded and
caches filled before anything is timed, and a device is waited for before each look at the clock.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from auxtune.trials.checkpoint import FILE, read_checkpoint
from auxtune.trials.encoded import EncodedTask
from auxtune.trials.encoder import BaseEncoder
from auxtune.trials.evaluation import Evaluation
from auxtune.trials.memory import MemoryGrowth
from auxtune.trials.recipe import Recipe
from auxtune.trials.result import SmokeFigures
from auxtune.trials.train_step import TrainStep
from auxtune.trials.training import TrainingRun

BLOCKS, BLOCK_STEPS = 3, 2  # timed: batches differ in length, so a block averages some
_NEVER = 10**9  # seconds: no checkpoint but the one that is asked for


class RoundTripError(RuntimeError):
    """A checkpoint did not give back what was saved."""


def smoke_task(
    recipe: Recipe, task: EncodedTask, base: BaseEncoder, folder: Path, cpus: float, gpus: float
) -> SmokeFigures:
    """Train ``task`` for a few steps as ``recipe``, which must train it alone; ``folder`` is scratch.

    Raises what a trial would raise (``failures.classify`` names it) and ``RoundTripError``.
    """
    growth = MemoryGrowth()
    tasks = {task.name: task}
    # The learning rate is a function of the step: it has none beyond the last one.
    recipe = replace(recipe, steps=max(recipe.steps, 1 + BLOCKS * BLOCK_STEPS))
    checkpoint, run_peak = _check_round_trip(recipe, tasks, base, folder, cpus, gpus)
    train_step = TrainStep(recipe, tasks, base, gpus)
    evaluation = Evaluation(train_step.model, tasks, train_step.collate, train_step.autocast)
    train_step.train(task.name)  # the first step also loads kernels and makes the moments
    blocks = [_time_step(train_step, task.name) for _ in range(BLOCKS)]
    train_step.mean_losses()  # raises: the time of steps on NaN is no measurement
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
    """One step, an evaluation, and a checkpoint into a new run and out again: its bytes, and the GPU's peak bytes."""
    short = replace(recipe, evaluate_every=1, checkpoint_every=_NEVER)
    first = TrainingRun(short, tasks, base, folder / "first", cpus=cpus, gpus=gpus)
    first.advance()
    first.save()
    peak = first.cost().peak_gpu_bytes
    del first  # two models at a time are no trial's memory
    second = TrainingRun(short, tasks, base, folder / "second", cpus=cpus, gpus=gpus)
    second.load(folder / "first" / "checkpoint")
    second.save()
    saved, _ = read_checkpoint(folder / "first" / "checkpoint")
    again, _ = read_checkpoint(folder / "second" / "checkpoint")
    changed = sorted(name for name in saved.keys() | again.keys() if not _are_same(saved.get(name), again.get(name)))
    if changed:
        raise RoundTripError(f"{len(changed)} of {len(saved)} tensors came back changed, the first is {changed[0]}")
    return (folder / "first" / "checkpoint" / FILE).stat().st_size, peak


def _are_same(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    """Whether both are there and equal bit for bit, so that a NaN is itself and -0 is not 0."""
    if one is None or other is None or one.dtype != other.dtype or one.shape != other.shape:
        return False
    return one.numpy().tobytes() == other.numpy().tobytes()


def _time_step(train_step: TrainStep, name: str) -> float:
    begun = _read_clock(train_step.device)
    for _ in range(BLOCK_STEPS):
        train_step.train(name)
    return (_read_clock(train_step.device) - begun) / BLOCK_STEPS


def _read_clock(device: torch.device) -> float:
    """Seconds, once ``device`` has done all that it was asked to do."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()
    return time.perf_counter()
