"""TAG's look-ahead: while all tasks are trained together, what would a step on one do to the losses of the others?

Every ``every`` optimisation steps, past the first 2 % of them, the gain of each task from a step of each other task is
measured on the shared weights, heads fixed (``gains.py``), and averaged over the run. The table of every probe is kept
beside the mean, for its noise can be told from nothing else. Each task has a fresh batch of
its train split; tasks with the same inputs get the same rows, as in the paper. A task's gain from its own step would be
flattered by the very rows that the step is of, so it is measured on rows of the probe split. Losses count without the
weights and the clipping of training.

Source: Fifty et al., "Efficiently Identifying Task Groupings for Multi-Task Learning", NeurIPS 2021
(https://arxiv.org/abs/2109.04617): ``step: sgd``, ``order: exact``. Its released code divides each gain by the learning
rate of the step; that mean is ``per_rate``. Where the run's optimiser is AdamW, as here, a plain gradient step is not a
step that it would take: ``step: optimiser`` looks at that (``steps.py``). ``order: first`` is the expansion to first
order, for many tasks or a large encoder.

A probe of n tasks costs about as much as n (n + 6) / 3 training steps with ``exact`` (a backward pass counted as two
forward passes), 3 n with ``first``, and in memory a copy of the encoder's weights per task.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from functools import partial

import numpy as np
import torch

from auxtune.trials.encoded import EncodedTask
from auxtune.trials.failures import NonFiniteError
from auxtune.trials.probes.gains import Gains, gains
from auxtune.trials.probes.measuring import compute_mean_loss, hash_inputs, leave_undisturbed
from auxtune.trials.probes.probe import Arrays, LookaheadOptions, Options, ProbeError, read_options
from auxtune.trials.probes.steps import build_adamw_rule, build_sgd_rule
from auxtune.trials.recipe import Recipe
from auxtune.trials.train_step import TrainStep

DROPPED = 0.02  # of a run's steps: what the first ones say is soon untrue
PARTS = ("train", "probe")


class Lookahead:
    """A ``RunningProbe`` of the run that ``recipe`` describes. Raises ``ProbeError`` where it would measure nothing."""

    def __init__(self, recipe: Recipe, tasks: Mapping[str, EncodedTask], options: Options) -> None:
        self._options = read_options(LookaheadOptions, options)
        self._recipe, self._tasks = recipe, {name: tasks[name] for name in recipe.tasks}
        if not any(map(self._due, range(1, recipe.steps + 1))):
            raise ProbeError(
                f"probes.lookahead: expected a step to measure at, found none in {recipe.steps} steps, "
                f"{self._options.every} apart; give the run more steps or lower `every`"
            )
        self._inputs = {
            (name, part): hash_inputs(task.splits[part]) for name, task in self._tasks.items() for part in PARTS
        }
        self._gathered: dict[str, list[torch.Tensor]] = {"gain": [], "held_out": [], "gram": [], "rate": []}

    def observe(self, train_step: TrainStep, task: str) -> None:
        """Measure, if it is time. Raises ``NonFiniteError`` where a loss after a step is not finite."""
        if not self._due(train_step.step):
            return
        with leave_undisturbed(train_step.model, train_step.device):
            found, rate = self._measure(train_step)
        for name, at in zip(self._tasks, zip(found.gain, found.held_out, strict=True), strict=True):
            if any(part.isinf().any() for part in at):
                raise NonFiniteError(
                    f"task {name}: its loss after a look-ahead step is not finite at step {train_step.step}; "
                    "lower the learning rate"
                )
        for key, tensor in (*vars(found).items(), ("rate", torch.tensor(rate, dtype=torch.float64))):
            self._gathered[key].append(tensor)

    def tensors(self) -> dict[str, torch.Tensor]:
        """What was gathered so far, a row per probe; nothing before the first."""
        return {key: torch.stack(held) for key, held in self._gathered.items() if held}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Continue from ``tensors``."""
        self._gathered = {key: list(tensors[key]) if key in tensors else [] for key in self._gathered}

    def arrays(self) -> Arrays:
        """Means over the probes, float64 and ``[recipient, source]``.

        ``affinity`` (n, n) has held-out gains on its diagonal, ``train_diagonal`` (n,) the others; ``per_rate`` (n, n)
        is the mean of gain / learning rate, ``cosine`` (n, n) that of the gradients' cosines, 0 where one has no
        length. Of every probe there are ``each_affinity`` (probes, n, n), ``rates`` (probes,), the learning rates, and
        ``gram`` (probes, n, n), inner products of gradients; ``probes`` is their number, ``tasks`` (n,) names. A gain
        on a batch whose loss is 0 is not counted, and ``nan`` in ``each_affinity``; raises ``ProbeError`` where a task
        had no other.
        """
        held = {key: tensor.numpy() for key, tensor in self.tensors().items()}
        gain, held_out, rate, gram = (held[key] for key in ("gain", "held_out", "rate", "gram"))
        own = np.arange(len(self._tasks))
        with_held = gain.copy()
        with_held[:, own, own] = held_out
        for name, task_gain in zip(self._tasks, np.moveaxis(np.concatenate([gain, with_held]), 1, 0), strict=True):
            if np.isnan(task_gain).all(axis=0).any():
                raise ProbeError(f"task {name}: its loss was 0 at all {len(gain)} probes; leave it out of the group")
        norms = np.sqrt(gram[:, own, own])
        lengths = norms[:, :, None] * norms[:, None, :]
        return {
            "tasks": np.array(list(self._tasks), np.str_),
            "affinity": np.nanmean(with_held, axis=0),
            "per_rate": np.nanmean(with_held / rate[:, None, None], axis=0),
            "cosine": np.divide(gram, lengths, out=np.zeros_like(gram), where=lengths > 0).mean(axis=0),
            "train_diagonal": np.nanmean(gain[:, own, own], axis=0),
            "gram": gram.astype(np.float32),
            "each_affinity": with_held.astype(np.float32),
            "rates": rate,
            "probes": np.array(len(gain)),
        }

    def rows(self, name: str, part: str, step: int) -> np.ndarray:
        """The rows of a task's ``part`` split that are looked at after ``step``, at most a batch."""
        count = len(self._tasks[name].splits[part])
        # A stream of its own: the batches of training are drawn from other keys. By inputs and not by name, so that
        # tasks with the same inputs are compared on the same rows.
        key = hashlib.sha256(f"lookahead {self._inputs[name, part]}".encode()).digest()[:8]
        rng = np.random.default_rng([self._recipe.seed, int.from_bytes(key, "big"), step])
        return rng.choice(count, min(self._recipe.batch_size, count), replace=False)

    def _due(self, step: int) -> bool:
        return step % self._options.every == 0 and step > math.ceil(DROPPED * self._recipe.steps)

    def _measure(self, train_step: TrainStep) -> tuple[Gains, float]:
        losses = {
            part: [
                partial(
                    compute_mean_loss,
                    train_step.model,
                    name,
                    train_step.collate(task, part, self.rows(name, part, train_step.step)),
                )
                for name, task in self._tasks.items()
            ]
            for part in PARTS
        }
        rate = float(train_step.optimiser.param_groups[0]["lr"])
        rule = build_sgd_rule(rate) if self._options.step == "sgd" else build_adamw_rule(train_step.optimiser)
        shared = [parameter for parameter in train_step.model.encoder.parameters() if parameter.requires_grad]
        return gains(losses["train"], losses["probe"], shared, rule, self._options.order), rate
