"""The state that an optimisation step changes: the model, its optimiser, each task's batches, the losses so far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_

from auxtune.trials.batches import Collate, TaskBatches
from auxtune.trials.device import autocast, choose_device, keep_to_share, save_random_state, set_random_state
from auxtune.trials.encoded import EncodedTask
from auxtune.trials.encoder import BaseEncoder, build_encoder
from auxtune.trials.failures import NonFiniteError
from auxtune.trials.model import MultiTaskModel
from auxtune.trials.optimisation import build_adamw, compute_learning_rate, load_optimizer_state, optimizer_state
from auxtune.trials.recipe import Recipe


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
        self.autocast = autocast(recipe.precision, self.device)
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
