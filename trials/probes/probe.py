"""The two forms of a probe, for a run that has ended and for a run under way, and the options of each probe."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, TypeVar, get_args

import numpy as np
import torch
from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo

from auxtune.trials.batches import Collate
from auxtune.trials.encoder import BaseEncoder
from auxtune.trials.model import MultiTaskModel
from auxtune.trials.recipe import Recipe
from auxtune.trials.tokens import EncodedTask
from auxtune.trials.train_step import TrainStep

Options: TypeAlias = Mapping[str, Any]
Arrays: TypeAlias = dict[str, np.ndarray]


class ProbeError(ValueError):
    """A probe cannot measure this model or these tasks; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """A run that has ended, as a probe sees it."""

    model: MultiTaskModel  # with the best (or last) weights, in evaluation mode and float32 on its device
    tasks: Mapping[str, EncodedTask]  # in the order of the model's heads
    collate: Collate
    base: BaseEncoder  # the encoder as it came
    recipe: Recipe
    texts: EncodedTask | None = None  # the texts that all tasks of a study share, in its split ``probe``


FinalProbe: TypeAlias = Callable[[Subject, Options], Arrays]


class RunningProbe(Protocol):
    """Observes a run while it is trained. Its measurements are saved with the run's checkpoints."""

    def observe(self, train_step: TrainStep, task: str) -> None:
        """Called after each optimisation step on ``task``. Measuring must not change the following steps."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """The measurements so far."""

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Continue from ``tensors``."""

    def arrays(self) -> Arrays:
        """The result, once the run has ended."""


_STRICT = ConfigDict(strict=True, extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class HeadImportanceOptions:
    """How the importance of heads is measured, and on which rows."""

    probe: ClassVar[str] = "head_importance"

    form: Literal["mask", "key_value"] = Field(default="mask", description="gradient of head masks, or of weights")
    split: Literal["probe", "train"] = Field(default="probe", description="the split whose rows are read")


@dataclass(frozen=True, config=_STRICT)
class InstanceImportanceOptions:
    """How the importance of heads for each training row is measured."""

    probe: ClassVar[str] = "instance_importance"

    form: Literal["mask", "key_value"] = Field(default="mask", description="gradient of head masks, or of weights")


@dataclass(frozen=True, config=_STRICT)
class HiddenStatesOptions:
    """Nothing to choose."""

    probe: ClassVar[str] = "hidden_states"


@dataclass(frozen=True, config=_STRICT)
class CovarianceOptions:
    """Which vectors the covariance is taken of."""

    probe: ClassVar[str] = "covariance"

    at: Literal["embeddings", "representation"] = Field(
        default="embeddings", description="each token's embedding, or the vector that stands for a whole row"
    )


@dataclass(frozen=True, config=_STRICT)
class GradientsOptions:
    """How much of the training data gradients are taken on."""

    probe: ClassVar[str] = "gradients"

    batches: int = Field(default=8, ge=1, description="batches, each with a gradient of its own")


@dataclass(frozen=True, config=_STRICT)
class LabelMomentsOptions:
    """Nothing to choose."""

    probe: ClassVar[str] = "label_moments"


@dataclass(frozen=True, config=_STRICT)
class OutputGradientsOptions:
    """How many rows are drawn, and how many numbers are kept of each gradient."""

    probe: ClassVar[str] = "output_gradients"

    rows: int = Field(default=512, ge=1, description="rows drawn of each task and split")
    size: int = Field(default=200, ge=1, description="numbers that a gradient is projected to")


@dataclass(frozen=True, config=_STRICT)
class LookaheadOptions:
    """How often the run is probed, and the kind of step that is looked ahead."""

    probe: ClassVar[str] = "lookahead"

    every: int = Field(default=10, ge=1, description="steps from one probe to the next")
    step: Literal["sgd", "optimiser"] = Field(default="sgd", description="a plain step, or one of the optimiser")
    order: Literal["exact", "first"] = Field(
        default="exact", description="losses after the step, or their first-order estimate"
    )


_EACH: tuple[type[Any], ...] = (
    HeadImportanceOptions,
    InstanceImportanceOptions,
    HiddenStatesOptions,
    CovarianceOptions,
    GradientsOptions,
    LabelMomentsOptions,
    OutputGradientsOptions,
    LookaheadOptions,
)
OPTIONS: Mapping[str, type[Any]] = {each.probe: each for each in _EACH}
Chosen = TypeVar("Chosen")


def read_options(kind: type[Chosen], given: Options) -> Chosen:
    """The options of one probe with every default filled in. Raises ``ProbeError`` for unknown and illegal ones."""
    known: Mapping[str, Any] = kind.__pydantic_fields__  # type: ignore[attr-defined]
    place = f"probes.{kind.probe}"  # type: ignore[attr-defined]
    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors()[0]
    name = str(first["loc"][0])
    if name not in known:
        expected = f"some of {', '.join(known)}" if known else "no options"
        raise ProbeError(f"{place}: expected {expected}, found the option {name!r}")
    raise ProbeError(f"{place}.{name}: expected {describe_expected(known[name])}, found {first['input']!r}")


def complete_options(probe: str, given: Options) -> dict[str, Any]:
    """Every option of the probe of that name, defaults filled in.

    Raises ``ProbeError`` for an unknown probe and for unknown and illegal options.

    >>> complete_options("lookahead", {"every": 5})
    {'every': 5, 'step': 'sgd', 'order': 'exact'}
    """
    if probe not in OPTIONS:
        raise ProbeError(f"recipe.probes: expected some of {', '.join(OPTIONS)}, found {probe!r}")
    return dataclasses.asdict(read_options(OPTIONS[probe], given))


def describe_expected(field: FieldInfo) -> str:
    """The legal values of an option, in words."""
    words = get_args(field.annotation)
    return " or ".join(words) if words else "a whole number of at least 1"
