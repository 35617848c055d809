"""One training run: several tasks under one encoder, from the first step to the result.

    run = TrainingRun(recipe, tasks, base, folder)
    while not run.finished:
        run.advance()                                  # to the next evaluation or checkpoint, or a few seconds
    result = run.result()

A run loaded from a checkpoint continues bit for bit on a CPU with the same number of threads. It owns torch's
global random state and thread count, so a process trains one run at a time.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from auxtune.trials.batches import TaskSchedule, build_schedule
from auxtune.trials.checkpoint import load_weights, read_checkpoint, save_weights, write_checkpoint
from auxtune.trials.durable import write_durably
from auxtune.trials.encoder import BaseEncoder
from auxtune.trials.evaluation import Evaluation
from auxtune.trials.failures import TimeLimitError
from auxtune.trials.losses import score_losses
from auxtune.trials.model_folder import SavedModel, save_model
from auxtune.trials.probes.probe import RUNNING, Arrays, Subject, check_probes, load_final_probe, load_running_probe
from auxtune.trials.recipe import Recipe, check_recipe, describe_run
from auxtune.trials.result import Cost, Result
from auxtune.trials.tokens import EncodedTask
from auxtune.trials.train_step import TrainStep, compute_learning_rate

SLICE = 5.0  # seconds after which ``advance`` shows that it is alive


@dataclass
class Progress:
    """How far a run has come and what it recorded on the way, as JSON.

    ``lines`` are those of metrics.jsonl, one per evaluation; ``best`` is the number of the best one.
    ``rounds`` are a steered run's ``[task, probe score]``; ``seconds`` were trained before this attempt.
    """

    lines: list[dict[str, Any]] = field(default_factory=list)
    best: int | None = None
    rounds: list[tuple[str, float]] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, line: dict[str, Any], keep: str = "best") -> bool:
        """Note an evaluation, and return whether to keep its weights. The earliest of equals stays the best."""
        better = self.best is None or keep == "last" or _read_metric(line) > _read_metric(self.lines[self.best])
        self.lines.append(line)
        if better:
            self.best = len(self.lines) - 1
        return better


def _read_metric(line: Mapping[str, Any]) -> float:
    """The value that decides which weights to keep. Checkpoints of earlier versions have only a score: this metric."""
    return float(line["metric"] if "metric" in line else line["score"])


class TrainingRun:
    """One attempt at a recipe, in a folder of its own for metrics.jsonl, checkpoint/ and predictions.npz.

    ``tasks`` must hold every task of the recipe; ``schedule`` steers their order, by default the recipe's own
    cycle or draws. ``start`` is the ``weights/`` folder of another run, whose encoder and heads this one starts with;
    heads that it lacks are drawn as usual. ``cpus`` and ``gpus`` are what the attempt occupies; it uses a GPU if
    given any. Raises ``ValueError`` for a recipe that cannot be run, and for a ``start`` that cannot be used.
    """

    def __init__(
        self,
        recipe: Recipe,
        tasks: Mapping[str, EncodedTask],
        base: BaseEncoder,
        folder: Path,
        schedule: TaskSchedule | None = None,
        start: Path | None = None,
        cpus: float = 1,
        gpus: float = 0,
    ) -> None:
        self._started = self._saved_at = time.monotonic()
        check_recipe(recipe, tasks)
        if recipe.probes:
            check_probes(recipe, tasks)
        self._recipe, self._folder, self._cpus, self._gpus = recipe, folder, cpus, gpus
        self._tasks, self._base = {name: tasks[name] for name in recipe.tasks}, base
        self._identity = describe_run(recipe, self._tasks, base)
        self._schedule = schedule or build_schedule(recipe)
        train_step = self._train_step = TrainStep(recipe, self._tasks, base, gpus)
        self._inherited = load_weights(train_step.model, start) if start is not None else {}
        self._evaluation = Evaluation(train_step.model, self._tasks, train_step.collate, train_step.autocast)
        self._progress = Progress()
        self._watching = {
            name: load_running_probe(name)(recipe, self._tasks, options)
            for name, options in recipe.probes.items()
            if name in RUNNING
        }
        self._best: dict[str, torch.Tensor] = {}
        self._interrupted = False
        folder.mkdir(parents=True, exist_ok=True)
        self._metrics = folder / "metrics.jsonl"
        self._metrics.write_text("")

    @property
    def step(self) -> int:
        """Optimisation steps taken."""
        return self._train_step.step

    @property
    def finished(self) -> bool:
        """Whether the last step was taken and its result scored."""
        return self.step == self._recipe.steps and self._progress.best is not None

    @property
    def score(self) -> float | None:
        """The score on the validation split at exactly this step, if it was evaluated here."""
        last = self._progress.lines[-1] if self._progress.lines else None
        return last["score"] if last is not None and last["step"] == self.step else None

    @property
    def seconds(self) -> float:
        """Seconds of training so far, earlier attempts included as far as their checkpoints kept them."""
        return self._progress.seconds + time.monotonic() - self._started

    def advance(self) -> None:
        """Train to the next evaluation or checkpoint, but at most ``SLICE`` seconds, and do whichever is due.

        Raises ``NonFiniteError`` and ``TimeLimitError``; the run is then over.
        """
        if self.finished:
            raise RuntimeError(f"the run has taken all its {self.step} steps; ask for its result")
        end, evaluate = time.monotonic() + SLICE, self._recipe.steps == 0
        while not evaluate:
            task = self._schedule.next_task()
            self._train_step.train(task)
            for probe in self._watching.values():
                probe.observe(self._train_step, task)
            self._check_time()
            if self._schedule.probe_every and self.step % self._schedule.probe_every == 0:
                self._probe(task)
            evaluate = self.step == self._recipe.steps or self.step % self._recipe.evaluate_every == 0
            if evaluate or self._interrupted or self._checkpoint_due() or time.monotonic() > end:
                break
        if evaluate:
            self._evaluate()
        if self._checkpoint_due() and not self.finished:
            self.save()

    def interrupt(self) -> None:
        """Have ``advance`` return after the current step; for a signal handler."""
        self._interrupted = True

    def save(self) -> None:
        """Write checkpoint/ now. Raises ``OSError`` if that fails; the previous checkpoint then stays."""
        self._train_step.mean_losses()  # raises if a loss is not finite: a lost run leaves no checkpoint
        watching = {f"probe {name}": probe.tensors() for name, probe in self._watching.items()}
        parts = {**self._train_step.tensors(), "best": self._best, **watching}
        tensors = {f"{part}/{name}": tensor for part, held in parts.items() for name, tensor in held.items()}
        document = {
            "identity": self._identity,
            "learner": self._train_step.document(),
            "schedule": self._schedule.save(),
            "progress": {**dataclasses.asdict(self._progress), "seconds": self.seconds},
        }
        write_checkpoint(self._folder / "checkpoint", tensors, document)
        self._saved_at = time.monotonic()

    def load(self, checkpoint: Path) -> None:
        """Continue from a checkpoint folder, perhaps of an earlier attempt.

        Raises ``DamagedCheckpointError``, and ``ValueError`` for one of another recipe, encoder or data.
        """
        tensors, document = read_checkpoint(checkpoint)
        differ = [key for key in self._identity if document["identity"].get(key) != self._identity[key]]
        if differ:
            raise ValueError(f"{checkpoint}: another run's, it differs in {', '.join(differ)}; start again without it")
        parts: dict[str, dict[str, torch.Tensor]] = {"best": {}, "optimiser": {}}
        for key, tensor in tensors.items():
            part, name = key.split("/", 1)
            parts.setdefault(part, {})[name] = tensor
        self._train_step.load(parts, document["learner"])
        for name, probe in self._watching.items():
            probe.load(parts.get(f"probe {name}", {}))
        self._schedule.load(document["schedule"])
        self._progress = Progress(**document["progress"])
        self._best = {name: tensor.to(self._train_step.device) for name, tensor in parts["best"].items()}
        self._metrics.write_text("".join(map(_format_line, self._progress.lines)))

    def result(self) -> Result:
        """Score the best weights on the test split, write predictions.npz, and report scores and cost."""
        best = self._progress.best
        if not self.finished or best is None:
            raise RuntimeError(f"the run has taken {self.step} of {self._recipe.steps} steps; advance it first")
        self._train_step.model.load_state_dict(self._best)
        predictions = {name: self._evaluation.predict(name, "test") for name in self._recipe.test}
        arrays = {f"{name}/{key}": array for name, held in predictions.items() for key, array in held.arrays().items()}
        write_durably(self._folder / "predictions.npz", lambda file: np.savez(file, allow_pickle=False, **arrays))
        if self._recipe.keep == "last":
            self.save_weights(self._folder / "weights")
        line = self._progress.lines[best]
        return Result(
            score=line["score"],
            cost=self.cost(),
            steps=self.step,
            best_step=line["step"],
            validation=line["validation"],
            test={name: held.scores(self._tasks[name].metrics) for name, held in predictions.items()},
            losses=line.get("validation_loss", {}),  # checkpoints of earlier versions have none
            scores=line.get("scores", {}),
            rounds=tuple((task, score) for task, score in self._progress.rounds),
        )

    def measure(self, probe: str, texts: EncodedTask | None = None) -> Arrays:
        """The arrays of one of the recipe's probes, for the weights that count; after ``result``.

        ``texts`` is the probe batch that the tasks share. Raises ``ProbeError`` if the probe cannot measure this.
        """
        if probe in self._watching:
            return self._watching[probe].arrays()
        train_step = self._train_step
        subject = Subject(train_step.model.eval(), self._tasks, train_step.collate, self._base, self._recipe, texts)
        return load_final_probe(probe)(subject, self._recipe.probes[probe])

    def save_weights(self, folder: Path) -> None:
        """Write the weights that count into ``folder``, for another run to start from; after ``result``."""
        save_weights(folder, self._train_step.model, self._inherited)

    def save_model(self, folder: Path, columns: Mapping[str, tuple[str, ...]], about: Mapping[str, Any]) -> SavedModel:
        """Write the weights that count as a model that others can load (``model_folder``); after ``result``."""
        own_code = self._base.code is not None
        return save_model(folder, self._train_step.model, self._tasks, self._recipe, columns, own_code, about)

    def cost(self) -> Cost:
        """The cost of this attempt so far; a failed one is charged too."""
        wall = time.monotonic() - self._started
        return Cost(
            wall_seconds=wall,
            gpu_seconds=self._gpus * wall,
            cpu_seconds=self._cpus * wall,
            examples=self._train_step.examples,
            tokens=self._train_step.tokens,
            peak_gpu_bytes=self._train_step.peak_gpu_bytes(),
        )

    def _probe(self, task: str) -> None:
        """Tell the schedule what the round that has just trained ``task`` was worth."""
        self._train_step.mean_losses()  # raises if a loss is not finite: no schedule learns from a lost run
        scores = self._scores("probe", *self._evaluation.scores_and_losses(self._recipe.evaluate, "probe"))
        score = _average(scores)
        self._schedule.observe(score)
        self._progress.rounds.append((task, score))

    def _evaluate(self) -> None:
        """Score the validation split, write a line of metrics, and keep the weights if their metric is the best."""
        losses = self._train_step.mean_losses()  # raises if one is not finite
        if self._recipe.source_tasks and self.step <= self._recipe.transfer_step:
            return  # the heads to be scored have not been trained yet
        self._train_step.forget_losses()
        validation, lost = self._evaluation.scores_and_losses(self._recipe.evaluate, "validation")
        scores = self._scores("validation", validation, lost)
        line = {
            "step": self.step,
            "seconds": round(self.seconds, 3),
            "loss": losses,
            "validation": validation,
            "validation_loss": lost,
            "metric": _average(self._evaluation.main_scores(validation)),
            "scores": scores,
            "score": _average(scores),
            "learning_rate": compute_learning_rate(self._recipe, self.step - 1) if self.step else 0.0,
        }
        if self._progress.add(line, self._recipe.keep):
            self._best = {name: tensor.clone() for name, tensor in self._train_step.model.state_dict().items()}
        with self._metrics.open("a") as file:
            file.write(_format_line(line))

    def _scores(
        self, part: str, metrics: Mapping[str, Mapping[str, float]], losses: Mapping[str, float]
    ) -> dict[str, float]:
        """Task -> its score from its ``metrics`` or its loss on ``part``, higher is better."""
        if self._recipe.search_score == "metric":
            return self._evaluation.main_scores(metrics)
        return score_losses(losses, self._tasks, part, relative=self._recipe.search_score == "relative_loss")

    def _checkpoint_due(self) -> bool:
        return time.monotonic() - self._saved_at >= self._recipe.checkpoint_every

    def _check_time(self) -> None:
        limit, taken = self._recipe.time_limit, time.monotonic() - self._started
        if limit is not None and taken > limit:
            raise TimeLimitError(f"{taken:.0f} s by step {self.step} of {self._recipe.steps}, the limit is {limit:g} s")


def _average(scores: Mapping[str, float]) -> float:
    return float(np.mean(list(scores.values())))


def _format_line(values: object) -> str:
    return json.dumps(values) + "\n"
