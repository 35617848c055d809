"""One optimisation step: the state that it changes, where it is computed, and by which rule.

The state is the model, its optimiser, each task's batches and the losses so far. The rule is fused AdamW, its learning
rate a pure function of the step: a checkpoint holds no scheduler.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from auxtune.trials.batches import Collate, TaskBatches
from auxtune.trials.encoder import BaseEncoder, build_encoder
from auxtune.trials.failures import NonFiniteError
from auxtune.trials.model import MultiTaskModel
from auxtune.trials.precision import autocast, choose_precision
from auxtune.trials.recipe import Recipe
from auxtune.trials.tokens import EncodedTask

_CONTEXT_BYTES = 640 * 2**20  # what CUDA and its libraries take besides torch's allocator


class TrainStep:
    """A model in training, on a GPU if ``gpus`` is above 0.

    Losses add up on the device: reading them waits for it, training does not. ``examples`` and ``tokens``
    count the training data since construction, with repetition and without padding.
    """

    def __init__(self, recipe: Recipe, tasks: Mapping[str, EncodedTask], base: BaseEncoder, gpus: float) -> None:
        self.device = choose_device(gpus, recipe.device)
        keep_to_share(self.device, gpus)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        torch.set_num_threads(recipe.threads)
        self.autocast = autocast(choose_precision(recipe.precision, self.device, base.size), self.device)
        encoder = build_encoder(base, recipe.seed)
        aligned = [name for name in tasks if name not in recipe.source_tasks]
        self.model = MultiTaskModel(
            encoder,
            list(tasks.values()),
            encoder.reading(recipe.model.pooling),
            recipe.seed,
            aligned if recipe.model.alignment == "covariance" else (),
        )
        self.model.to(self.device).train()
        # The tensor cores of a GPU need whole tiles of 8.
        multiple = 8 if self.device.type == "cuda" else 1
        self.collate = Collate(encoder.pad, recipe.model.max_length, self.device, multiple)
        self.step = self.examples = self.tokens = 0
        self._recipe, self._tasks = recipe, tasks
        self._parameters = list(self.model.parameters())
        self.optimiser = build_adamw(self.model, recipe)
        self._batches = {
            name: TaskBatches(name, task.splits["train"], recipe.batch_size, recipe.seed)
            for name, task in tasks.items()
        }
        self._sums = torch.zeros(len(tasks), device=self.device)  # of the losses, in the order of the tasks
        self._numbers = {name: number for number, name in enumerate(tasks)}
        self._steps = dict.fromkeys(tasks, 0)
        torch.manual_seed(recipe.seed)  # dropout; last, so that heads drawn above do not shift it

    def train(self, name: str) -> None:
        """One optimisation step on one task. Its batches count as one: every scored label weighs the same."""
        recipe, number = self._recipe, self._numbers[name]
        if recipe.source_tasks and self.step == recipe.transfer_step:
            self.optimiser.state.clear()  # a fine-tuning begins without its sources' moments
        batches = [
            self.collate(self._tasks[name], "train", self._batches[name].next_rows()) for _ in range(recipe.accumulate)
        ]
        scored = max(1, sum(batch.scored for batch in batches))
        for batch in batches:
            with self.autocast():
                loss = self.model.head(name).loss(self.model(name, batch), batch.labels) / scored
            torch.autograd.backward(loss)
            self._sums[number] += loss.detach()
            self.examples += len(batch.positions)
            self.tokens += int((batch.positions >= 0).sum())
        if recipe.clip is not None:
            clip_grad_norm_(self._parameters, recipe.clip, foreach=True)
        self._weigh((recipe.loss_weights or {}).get(name, 1.0))
        for group in self.optimiser.param_groups:
            group["lr"] = compute_learning_rate(recipe, self.step)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self._steps[name] += 1
        self.step += 1

    def _weigh(self, factor: float) -> None:
        """Multiply the gradient of a task's step by the factor of its loss, once the gradient has been clipped.

        A step trains one task, so a loss multiplied before the clipping would have its factor divided out again
        wherever the gradient is longer than ``recipe.clip``.
        """
        if factor != 1.0:
            for parameter in self._parameters:
                if parameter.grad is not None:
                    parameter.grad.mul_(factor)

    def mean_losses(self) -> dict[str, float]:
        """Mean loss of each task trained since ``forget_losses``. Raises ``NonFiniteError``."""
        means = {}
        for (name, steps), total in zip(self._steps.items(), self._sums.tolist(), strict=True):
            if not math.isfinite(total):
                raise NonFiniteError(
                    f"task {name}: its training loss is {total} by step {self.step}; lower the learning rate"
                )
            if steps:
                means[name] = total / steps
        return means

    def forget_losses(self) -> None:
        """Begin new means."""
        self._sums.zero_()
        self._steps = dict.fromkeys(self._tasks, 0)

    def peak_gpu_bytes(self) -> int | None:
        """The most memory held on a CUDA device since construction; unknown elsewhere."""
        return torch.cuda.max_memory_allocated() if self.device.type == "cuda" else None

    def tensors(self) -> dict[str, dict[str, torch.Tensor]]:
        """The tensors of the state; with ``document``, everything that decides the further steps."""
        return {
            "model": self.model.state_dict(),
            "optimiser": optimizer_state(self.optimiser),
            "random": save_random_state(self.device),
            "losses": {"sums": self._sums},
        }

    def document(self) -> dict[str, Any]:
        """The rest of the state, as JSON."""
        batches = {name: [held.epoch, held.position] for name, held in self._batches.items()}
        return {"step": self.step, "loss_steps": self._steps, "batches": batches}

    def load(self, tensors: Mapping[str, Mapping[str, torch.Tensor]], document: Mapping[str, Any]) -> None:
        """Continue from ``tensors`` and ``document``."""
        self.model.load_state_dict(tensors["model"])
        load_optimizer_state(self.optimiser, tensors["optimiser"])
        set_random_state(self.device, tensors["random"])
        self._sums = tensors["losses"]["sums"].to(self.device)
        self.step, self._steps = document["step"], dict(document["loss_steps"])
        for name, (epoch, position) in document["batches"].items():
            self._batches[name].seek(epoch, position)


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


def build_adamw(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """Fused AdamW over all parameters. Weight decay spares biases and norms, those of one dimension, and alignments.

    The neutral alignment is the identity: decaying towards zero would forget the embeddings.
    """
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (decayed if parameter.ndim > 1 and not name.startswith("alignments.") else spared).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)


def compute_learning_rate(recipe: Recipe, step: int) -> float:
    """The rate of optimisation step ``step``, counted from 0: a linear rise, then a linear fall or none.

    Neither end is zero: the first step of the rise and the last of the fall still learn. From ``recipe.transfer_step``
    on it is a separate fine-tuning, with its own rise and fall.
    """
    begin, end = (0, recipe.transfer_step) if step < recipe.transfer_step else (recipe.transfer_step, recipe.steps)
    steps, step = end - begin, step - begin
    warm = round(recipe.warmup * steps)
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    if recipe.decay == "none":
        return recipe.learning_rate
    return recipe.learning_rate * (steps - step) / (steps - warm)


def optimizer_state(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimiser's tensors, ``<parameter's number>.<name>``. A head not trained yet has none."""
    state = optimiser.state_dict()["state"]
    return {f"{number}.{name}": tensor for number, held in state.items() for name, tensor in held.items()}


def load_optimizer_state(optimiser: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Continue from ``optimizer_state``."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = tensor
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
