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
    """The encoder all tasks share. The study file takes its defaults from here."""

    # A hub id, a folder, ``package:NAME/FOLDER`` (a folder inside a Python package), or ``tiny``: a small BERT from
    # scratch over hashed words.
    name: str = "tiny"
    layers: int | None = None  # keep the first n
    max_length: int = 128  # tokens
    # One vector of a sentence: the first token's (in a causal decoder the last one's, the only one that has seen the
    # whole sentence), or the mean.
    pooling: Literal["cls", "mean"] = "cls"
    trust_remote_code: bool = False
    alignment: Literal["none", "covariance"] = "none"  # gives tasks a trained matrix that multiplies their embeddings


@dataclass(frozen=True)
class Recipe:
    """One training run. The study file takes the defaults of its keys from here."""

    tasks: tuple[str, ...]
    shares: Mapping[str, float]  # of the steps, executed; they sum to 1
    evaluate: tuple[str, ...]  # scored on validation every ``evaluate_every`` steps and at the end
    # Steps of each task in a cycle: step t trains the task in slot ``t mod sum(cycle)`` of an interleaved order.
    # Without it tasks are drawn by share from ``seed``.
    cycle: Mapping[str, int] | None = None
    # These take their share of the steps before the others begin (a transfer), and only the others are aligned.
    source_tasks: tuple[str, ...] = ()
    loss_weights: Mapping[str, float] | None = None  # multiply the gradient of each task's loss, once it is clipped
    test: tuple[str, ...] = ()  # tasks whose best weights are scored on the test split
    model: ModelOptions = ModelOptions()
    seed: int = 0
    steps: int = 600  # optimisation steps; 0 to measure the weights that the run starts with
    batch_size: int = 32
    accumulate: int = 1
    learning_rate: float = 5e-5
    warmup: float = 0.1  # share of the steps
    decay: Literal["linear", "none"] = "linear"
    # The weights that count: those with the best mean of the main metrics of the tasks evaluated, or the last ones,
    # which stay in the run's folder for another run to start from.
    keep: Literal["best", "last"] = "best"
    weight_decay: float = 0.01
    clip: float | None = 1.0  # largest gradient norm
    precision: Precision = "auto"
    evaluate_every: int = 100  # optimisation steps
    checkpoint_every: float = 60.0  # seconds
    probes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # what to measure -> its options
    time_limit: float | None = None  # seconds of one attempt
    threads: int = 1
    # The score that a search is told for the weights that count, and that steers a run on the probe split: the mean of
    # the main metrics, or of ``losses.score_losses``.
    search_score: SearchScore = "metric"
    device: Literal["auto", "cpu"] = "auto"  # cpu: even if a GPU was given

    @property
    def transfer_step(self) -> int:
        """The step at which the tasks that are not ``source_tasks`` begin; the last one at the latest."""
        share = sum(self.shares.get(task, 0.0) for task in self.source_tasks)
        return max(0, min(round(share * self.steps), self.steps - 1))
