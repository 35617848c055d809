"""How far a run has come and what it recorded on the way, as JSON; and whether two runs are the same run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from auxtune.trials.encoder import BaseEncoder
from auxtune.trials.recipe import Recipe
from auxtune.trials.tokens import EncodedTask

# Parts of a recipe that say how an attempt is executed, not what it computes: attempts may differ in them.
_EXECUTION = ("checkpoint_every", "time_limit", "threads", "device")


@dataclass
class Progress:
    """``lines`` are those of metrics.jsonl, one per evaluation; ``best`` is the number of the best one.

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


def check_recipe(recipe: Recipe, tasks: Mapping[str, EncodedTask]) -> None:
    """Raise ``ValueError`` for a recipe that cannot be run on ``tasks``."""
    for key in ("steps", "batch_size", "accumulate", "evaluate_every", "threads"):
        least = 0 if key == "steps" and recipe.probes else 1
        if getattr(recipe, key) < least:
            raise ValueError(f"recipe.{key}: expected at least {least}, found {getattr(recipe, key)}")
    if not recipe.evaluate:
        raise ValueError("recipe.evaluate: expected a task, whose score picks the best weights, found none")
    if both := sorted({*recipe.source_tasks} & {*recipe.evaluate}):
        raise ValueError(f"recipe.source_tasks: expected tasks that are not evaluated, found {both[0]!r}")
    for key, names, known in (
        ("tasks", recipe.tasks, tasks),
        ("evaluate", recipe.evaluate, recipe.tasks),
        ("test", recipe.test, recipe.tasks),
        ("source_tasks", recipe.source_tasks, recipe.tasks),
        ("shares", recipe.shares, recipe.tasks),
        ("cycle", recipe.cycle or (), recipe.tasks),
        ("loss_weights", recipe.loss_weights or (), recipe.tasks),
    ):
        for name in names:
            if name not in known:
                raise ValueError(f"recipe.{key}: expected some of {', '.join(known)}, found {name!r}")


def describe_run(recipe: Recipe, tasks: Mapping[str, EncodedTask], base: BaseEncoder) -> dict[str, Any]:
    """Everything that a checkpoint must share with the run that continues it, as JSON."""
    values = {key: value for key, value in dataclasses.asdict(recipe).items() if key not in _EXECUTION}
    values["first"] = values.pop("source_tasks")  # the name in checkpoints and in keys of evidence
    if recipe.search_score == "metric":  # as in runs before there was a choice
        del values["search_score"]
    digests = {"encoder digest": base.digest, "data digests": {name: tasks[name].digest for name in tasks}}
    return cast(dict[str, Any], json.loads(json.dumps({**values, **digests})))
