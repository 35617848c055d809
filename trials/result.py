"""What a training run returns, as plain frozen values that JSON can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

FailureReason: TypeAlias = Literal["error", "non-finite", "out of memory", "time limit", "hang"]


@dataclass(frozen=True)
class Cost:
    """The cost of one attempt. Unknown is ``None``, never 0."""

    wall_seconds: float
    gpu_seconds: float  # GPUs allocated x wall seconds
    cpu_seconds: float  # CPUs allocated x wall seconds
    examples: int | None = None  # training rows seen, with repetition
    tokens: int | None = None  # training tokens seen, without padding
    peak_gpu_bytes: int | None = None


def clip_negative(cost: Cost) -> Cost:
    """``cost`` with 0 in the place of negative figures, which a clock that was set has left."""
    return replace(
        cost,
        wall_seconds=max(0.0, cost.wall_seconds),
        gpu_seconds=max(0.0, cost.gpu_seconds),
        cpu_seconds=max(0.0, cost.cpu_seconds),
    )


@dataclass(frozen=True)
class Result:
    """The end of one attempt.

    ``best_step`` is where the mean of the main metrics on the validation split was best; ``validation`` and ``test``
    hold ``{task: {metric: value}}`` of those weights, ``losses`` each task's mean loss per scored label on the
    validation split. ``score`` is what a search is told, higher is better: the mean of ``scores``, which are main
    metrics or come from losses, as the recipe's ``search_score`` says. A failed attempt has ``score`` ``None`` and says
    ``why``, with ``message`` and ``traceback`` for people. ``rounds`` are a steered run's ``(task, score on probe)``,
    scored likewise. ``evidence`` holds the key of each probe's measurements; ``reused`` the cost, by key, of those (or
    of the weights they were measured on) that existed already.
    """

    score: float | None
    cost: Cost
    steps: int = 0
    best_step: int | None = None
    validation: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    test: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    losses: Mapping[str, float] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    rounds: tuple[tuple[str, float], ...] = ()
    evidence: Mapping[str, str] = field(default_factory=dict)
    reused: Mapping[str, Cost] = field(default_factory=dict)
    why: FailureReason | None = None
    message: str | None = None
    traceback: str | None = None


@dataclass(frozen=True)
class SmokeFigures:
    """The time and memory that parts of a task's training take.

    ``seconds_per_step`` is the mean over all timed optimisation steps, ``fastest`` and ``slowest`` those of the
    blocks they were timed in. ``seconds_per_evaluation`` is for the validation split's ``evaluated_rows``. Peaks are in
    bytes: of a CUDA device, or the growth of the process; unknown is ``None``.
    """

    seconds_per_step: float
    fastest: float
    slowest: float
    seconds_per_evaluation: float
    evaluated_rows: int
    peak_gpu_bytes: int | None
    peak_growth_bytes: int | None
    checkpoint_bytes: int
