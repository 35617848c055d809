"""What to train: everything a training run depends on besides its data, as plain frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Precision: TypeAlias = Literal["auto", "float32", "bfloat16"]
Pooling: TypeAlias = Literal["cls", "mean", "last"]
SearchScore: TypeAlias = Literal["metric", "loss", "relative_loss"]


@dataclass(frozen=True)
class ModelOptions:
    """The encoder all tasks share.

    ``encoder`` is a hub id, a folder, or ``tiny`` (a small BERT from scratch over hashed words). ``layers`` keeps
    the first n layers. ``pooling`` makes one vector of a sentence: the first token's (``cls``; of a causal decoder
    the last one's, which alone has seen the whole sentence) or the ``mean``.
    ``alignment`` gives tasks a trained matrix that multiplies their embeddings.
    """

    name: str = "tiny"
    layers: int | None = None
    max_length: int = 128
    pooling: Literal["cls", "mean"] = "cls"
    trust_remote_code: bool = False
    alignment: Literal["none", "covariance"] = "none"


@dataclass(frozen=True)
class Recipe:
    """One training run.

    ``shares`` are the executed shares of ``tasks`` (they sum to 1). With ``cycle``, an integer count per task, step t
    trains the task in slot ``t mod sum(cycle)`` of an interleaved order; without, tasks are drawn by share from
    ``seed``. The tasks of ``first`` take their share of the steps before the others begin (a transfer), and only the
    others are aligned. ``loss_weights`` multiply the gradient of each task's loss once it has been clipped.
    ``evaluate`` names the tasks scored on the validation split every ``evaluate_every`` steps and at the end: the
    weights with the best mean of their main metrics are kept. ``search_score`` is what a search is told of them (and
    what steers a run, on the probe split): that mean, or that of ``losses.loss_scores``. ``test`` names the tasks
    whose best weights are scored on the test split. With ``keep="last"`` the last weights count instead, and stay
    in the run's folder for another one to start from. ``probes`` says what to measure, a probe's name to its options.
    ``steps`` may be 0 where something is measured: of the weights that the run begins with.
    """

    tasks: tuple[str, ...]
    shares: Mapping[str, float]
    evaluate: tuple[str, ...]
    cycle: Mapping[str, int] | None = None
    first: tuple[str, ...] = ()
    loss_weights: Mapping[str, float] | None = None
    test: tuple[str, ...] = ()
    model: ModelOptions = ModelOptions()
    seed: int = 0
    steps: int = 600
    batch_size: int = 32
    accumulate: int = 1
    learning_rate: float = 5e-5
    warmup: float = 0.1  # share of the steps
    decay: Literal["linear", "none"] = "linear"
    keep: Literal["best", "last"] = "best"
    weight_decay: float = 0.01
    clip: float | None = 1.0  # largest gradient norm
    precision: Precision = "auto"
    evaluate_every: int = 100  # optimisation steps
    checkpoint_every: float = 60.0  # seconds
    probes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    time_limit: float | None = None  # seconds of one attempt
    threads: int = 1
    search_score: SearchScore = "metric"
    device: Literal["auto", "cpu"] = "auto"  # cpu: even if a GPU was given

    @property
    def turn(self) -> int:
        """The step with which the tasks that are not ``first`` begin; the last one at the latest."""
        share = sum(self.shares.get(task, 0.0) for task in self.first)
        return max(0, min(round(share * self.steps), self.steps - 1))
