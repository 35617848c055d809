"""What a training run gives back, as plain frozen values that JSON can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

FailureReason: TypeAlias = Literal["error", "non-finite", "out of memory", "time limit", "hang"]


@dataclass(frozen=True)
class Cost:
    """What one attempt took. Unknown is ``None``, never 0."""

    wall_seconds: float
    gpu_seconds: float  # GPUs allocated x wall seconds
    cpu_seconds: float  # CPUs allocated x wall seconds
    examples: int | None = None  # training rows seen, with repetition
    tokens: int | None = None  # training tokens seen, without padding
    peak_gpu_bytes: int | None = None


@dataclass(frozen=True)
class Result:
    """The end of one attempt.

    ``best_step`` is where the mean of the main metrics on the validation split was best; ``validation`` and ``test``
    hold ``{task: {metric: value}}`` of those weights, ``losses`` each task's mean loss per scored label on the
    validation split. ``score`` is what a search is told of them, higher is better: the mean of ``scores``, which are
    main metrics or come from losses, as the recipe's ``search_score`` says. A failed attempt has ``score`` ``None``
    and says ``why``, with ``message`` and ``traceback`` for people. ``rounds`` are a steered run's ``(task, score on
    probe)``, scored likewise. ``evidence`` names the key of what each probe measured; ``reused`` what of that (or of
    the weights it was measured on) was there already, by key, with what it had cost.
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
    """What parts of a task's training take.

    ``seconds_per_step`` is the mean over all timed optimisation steps, ``fastest`` and ``slowest`` those of the
    blocks they were timed in. ``seconds_per_evaluation`` is of the validation split's ``evaluated_rows``. Peaks are in
    bytes: of a CUDA device, or what the process grew by; unknown is ``None``.
    """

    seconds_per_step: float
    fastest: float
    slowest: float
    seconds_per_evaluation: float
    evaluated_rows: int
    peak_gpu_bytes: int | None
    peak_growth_bytes: int | None
    checkpoint_bytes: int
