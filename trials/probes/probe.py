"""The two forms of a probe, for a run that has ended and for a run under way; each probe by name, with its options.

Each is loaded at first use. Here too: whether they can measure a recipe's tasks, and the keys of their evidence. Equal
keys mean equal evidence, in any study: ``hash_run`` names a run, ``hash_probe`` a measurement of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, TypeVar, cast, get_args

import numpy as np
import torch
from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo

from auxtune.trials.batches import Collate
from auxtune.trials.encoder import BaseEncoder
from auxtune.trials.model import MultiTaskModel
from auxtune.trials.precision import choose_precision
from auxtune.trials.recipe import Recipe, describe_run
from auxtune.trials.tokens import EncodedTask, hash_inputs
from auxtune.trials.train_step import TrainStep

Options: TypeAlias = Mapping[str, Any]
Arrays: TypeAlias = dict[str, np.ndarray]

# "module:function" for probes of a run that has ended, "module:class" for those of a run under way.
FINAL: Mapping[str, str] = {
    "head_importance": "head_importance:measure_head_importance",
    "instance_importance": "head_importance:measure_instance_importance",
    "hidden_states": "hidden_states:measure_hidden_states",
    "covariance": "covariance:measure_covariance",
    "gradients": "gradients:measure_gradients",
    "label_moments": "covariance:measure_label_moments",
    "output_gradients": "output_gradients:measure_output_gradients",
}
RUNNING: Mapping[str, str] = {"lookahead": "lookahead:Lookahead"}
# Part of the key of stored evidence: raise a probe's version when its measurement changes.
VERSIONS: Mapping[str, int] = {**dict.fromkeys((*FINAL, *RUNNING), 1), "gradients": 2, "lookahead": 2}
READS_TEXTS = ("hidden_states",)  # probes that read the texts that all tasks of a study share
# Probes of a run of one task.
_SINGLE = ("head_importance", "instance_importance", "covariance", "gradients", "label_moments")


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


def load_final_probe(name: str) -> FinalProbe:
    """The function that measures a run that has ended. Raises ``ProbeError`` for an unknown name."""
    return cast(FinalProbe, _load(name, FINAL))


def load_running_probe(name: str) -> Callable[[Recipe, Mapping[str, EncodedTask], Options], RunningProbe]:
    """The class that observes a run while it is trained. Raises ``ProbeError`` for an unknown name."""
    return cast(Callable[[Recipe, Mapping[str, EncodedTask], Options], RunningProbe], _load(name, RUNNING))


def check_probes(recipe: Recipe, tasks: Mapping[str, EncodedTask]) -> None:
    """Raise ``ProbeError`` if ``recipe.probes`` names an unknown probe, or one that cannot measure ``tasks``."""
    for name, options in recipe.probes.items():
        complete_options(name, options)
        if name in _SINGLE:
            task = require_one_task({each: tasks[each] for each in recipe.tasks}, name)
            if name == "label_moments":
                require_row_labels(task)
        if name in RUNNING:
            load_running_probe(name)(recipe, tasks, options)


def _load(name: str, known: Mapping[str, str]) -> Any:
    if name not in known:
        raise ProbeError(f"recipe.probes: expected some of {', '.join(known)}, found {name!r}")
    module, attribute = known[name].split(":")
    return getattr(import_module(f"auxtune.trials.probes.{module}"), attribute)


def require_one_task(tasks: Mapping[str, EncodedTask], probe: str) -> EncodedTask:
    """The task of a run of one task. Raises ``ProbeError`` for other runs."""
    if len(tasks) != 1:
        raise ProbeError(
            f"probes.{probe}: expected a run of one task, found {', '.join(tasks)}; "
            "measure each task in a run of its own"
        )
    return next(iter(tasks.values()))


def require_row_labels(task: EncodedTask) -> None:
    """Raise ``ProbeError`` for a task whose labels are of tokens."""
    if task.kind == "token":
        raise ProbeError(
            f"probes.label_moments: expected labels of rows, found tags of tokens in task {task.name}; "
            "leave the task out"
        )


def hash_run(recipe: Recipe, tasks: Mapping[str, EncodedTask], base: BaseEncoder, gpus: float) -> str:
    """SHA-256 of everything that decides a run's weights and scores: tasks, data, metrics, encoder, recipe, seed.

    It leaves out the run's probes and its test tasks, and the encoder's path: the digest stands for the encoder, and
    each task's probe rows as token ids stand for the tokenizer.
    """
    used = {name: tasks[name] for name in recipe.tasks}
    on_gpu = gpus > 0 and recipe.device != "cpu"
    # Of a GPU it is not known here; that it is one is part of the key.
    precision = recipe.precision if on_gpu else choose_precision(recipe.precision, torch.device("cpu"), base.size)
    model = dataclasses.replace(recipe.model, name="", trust_remote_code=False)
    known = describe_run(dataclasses.replace(recipe, probes={}, test=(), precision=precision, model=model), used, base)
    return _hash_json(
        {
            **known,
            "device": "gpu" if on_gpu else "cpu",
            "metrics": {
                name: list(task.metrics) for name, task in used.items()
            },  # the main metric picks the best weights
            "token ids": {name: hash_inputs(task.splits["probe"]) for name, task in used.items()},
        }
    )


def hash_probe(run: str, probe: str, options: Mapping[str, Any], texts: str | None) -> str:
    """SHA-256 of a probe's measurement of a run. ``texts`` is the digest of the shared probe batch, if there is one.

    Omitted options take their defaults. Raises ``ProbeError`` for an unknown probe or option.
    """
    full = complete_options(probe, options)
    read = texts if probe in READS_TEXTS else None
    return _hash_json({"run": run, "probe": probe, "version": VERSIONS[probe], "options": full, "texts": read})


def _hash_json(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()
