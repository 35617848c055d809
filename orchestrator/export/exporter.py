"""One model of an export: trained as confirm trains, saved, loaded again, and scored as often.

It is made in a hidden folder beside its place, which gets its name by one rename. So whatever ends an export, there is
a whole model under the name or none. An interrupted or killed one leaves its training's checkpoint in the staging
folder, and the same command resumes from there.
"""

from __future__ import annotations

import fcntl
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from auxtune.orchestrator.errors import AuxtuneError, Interrupted, Locked
from auxtune.orchestrator.export.model_spec import ModelSpec
from auxtune.orchestrator.planning.context import StudyContext
from auxtune.orchestrator.planning.slots import Slots
from auxtune.orchestrator.planning.translate import apply_variant
from auxtune.orchestrator.record.driver import StopSignals
from auxtune.orchestrator.record.scores import name_value, sign_of
from auxtune.trials.data.tasks import Task
from auxtune.trials.durable import TAKEN, sync
from auxtune.trials.encoder import BaseEncoder
from auxtune.trials.failures import classify_failure
from auxtune.trials.loaded_model import load_model
from auxtune.trials.recipe import Recipe
from auxtune.trials.result import Cost, Result
from auxtune.trials.tokens import EncodedTask
from auxtune.trials.training import TrainingRun

# The same weights compute the same batches in the same process: on a CPU no score differs at all, on a GPU by rounding.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class ModelExporter:
    """Trains, saves and checks models of one study, whose data is read once. ``tell`` hears of progress."""

    context: StudyContext
    read: Mapping[str, Task]
    tasks: Mapping[str, EncodedTask]
    base: BaseEncoder
    slots: Slots
    tell: Callable[[str], None]

    def recipe(self, spec: ModelSpec) -> Recipe:
        """Confirm's recipe, with every task scored at the end and no time limit, because no trial waits for it."""
        recipe = self.context.translator.recipe(spec.proposal, "confirm")
        return replace(recipe, test=recipe.tasks, time_limit=None)

    def train(self, spec: ModelSpec, home: Path, signals: StopSignals) -> tuple[TrainingRun, Result]:
        """Train in the folder ``home``, from the checkpoint there if it is of this training.

        Raises ``AuxtuneError`` where the training fails, ``Interrupted`` once a signal came and a checkpoint is there.
        """
        recipe = self.recipe(spec)
        run = self._begin_run(recipe, spec, home)
        sign = sign_of((self.tasks[name].metrics[0] for name in recipe.evaluate), recipe.search_score)
        try:
            with signals.held():
                while not run.finished:
                    run.advance()
                    if run.score is not None:
                        said = name_value(sign * run.score, recipe.search_score)
                        self.tell(f"step {run.step} of {recipe.steps}: {said} on the validation split")
                    if signals.came:
                        run.save()
                        raise Interrupted(
                            f"Interrupted by step {run.step}; the same command resumes from there, and "
                            f"removing {home.parents[1]} gives it up."
                        )
                run.save()  # so that an interruption from here on costs no training
            return run, replace(run.result(), cost=self._cost(run))
        except (ArithmeticError, MemoryError, RuntimeError) as error:
            if (why := classify_failure(error)) == "error":
                raise
            raise AuxtuneError(
                f"the training failed ({why}): {error}; another --seed may help, or fewer rows at once "
                "with --set training.batch_size and --allow-drift"
            ) from error

    def check(self, home: Path, result: Result, recipe: Recipe) -> float:
        """Load the model in ``home``, score it on the test rows as texts, and return the largest difference.

        Raises ``AuxtuneError`` where a score differs by more than ``TOLERANCE`` from the one in ``result``.
        """
        device = recipe.device if self.slots.gpus else "cpu"
        loaded, largest = load_model(home, device, recipe.model.trust_remote_code), 0.0
        for name, scores in result.test.items():
            answers = loaded.answers(name, self.read[name].splits["test"])
            again = answers.scores(scores)
            difference = max(abs(again[metric] - value) for metric, value in scores.items())
            if not difference <= TOLERANCE:
                raise AuxtuneError(
                    f"task {name}: the model, saved and loaded again, does not score as it did: expected "
                    f"{dict(scores)}, found {again}. Nothing was exported; this is a defect, please report it"
                )
            largest = max(largest, difference)
        return largest

    def _begin_run(self, recipe: Recipe, spec: ModelSpec, home: Path) -> TrainingRun:
        try:
            tasks = apply_variant(self.tasks, spec.proposal, self.context.folder, self.context.evidence)
        except ValueError as error:  # under --allow-drift: fewer rows than there were
            raise AuxtuneError(f"the rows that the selection keeps are no longer there: {error}") from error

        def new() -> TrainingRun:
            return TrainingRun(recipe, tasks, self.base, home, cpus=self.slots.cpus, gpus=self.slots.gpus)

        run = new()
        if not (home / "checkpoint").is_dir():
            return run
        try:
            run.load(home / "checkpoint")
        except ValueError as error:  # damaged, or of another seed, study or data
            logging.getLogger(__name__).info("%s", error)
            return new()
        self.tell(f"resumes from step {run.step} of an export that was interrupted")
        return run

    def _cost(self, run: TrainingRun) -> Cost:
        """The cost of the run, with that of earlier attempts as far as their checkpoints kept it."""
        wall = run.seconds
        return replace(
            run.cost(), wall_seconds=wall, gpu_seconds=wall * self.slots.gpus, cpu_seconds=wall * self.slots.cpus
        )


class StagingFolder:
    """The staging folder of the model folder ``home``, held by one process at a time.

    Raises ``AuxtuneError`` where something is at ``home`` already or the disk refuses, ``Locked`` where another process
    exports there.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home.with_name(f".{home.name}.export")
        self.models = self.folder / "model"  # becomes ``home``

    def __enter__(self) -> StagingFolder:
        check_free(self.home)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / "lock").open("w")
        except OSError as error:
            raise self._refused(error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise Locked(f"{self.home}: another process exports there; wait for it, or choose another --to") from error
        shutil.rmtree(self.models, ignore_errors=True)
        self.models.mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        goes_on = isinstance(error, (Interrupted, KeyboardInterrupt)) and any(self.folder.glob("runs/*/checkpoint"))
        if not goes_on:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()

    def run(self, name: str) -> Path:
        """The folder of the training of the model called ``name``."""
        return self.folder / "runs" / (name or "model")

    def model(self, name: str) -> Path:
        """The folder of the model called ``name``, made empty."""
        folder = self.models / name
        folder.mkdir(exist_ok=True)
        return folder

    def publish(self) -> None:
        """Rename the finished folder to ``home``."""
        try:
            self.models.rename(self.home)  # replaces an empty folder, never a full one
        except OSError as error:
            if error.errno in TAKEN:
                check_free(self.home)
            raise self._refused(error) from error
        sync(self.home.parent)

    def _refused(self, error: OSError) -> AuxtuneError:
        return AuxtuneError(f"{self.home}: cannot be written: {error.strerror or error}; choose another --to")


def check_free(home: Path) -> None:
    """Raise ``AuxtuneError`` unless ``home`` does not exist, or is an empty folder."""
    if home.is_symlink() or (home.exists() and not home.is_dir()):
        raise AuxtuneError(f"{home}: expected a folder that is not there yet, found a file; choose another --to")
    if home.is_dir() and any(home.iterdir()):
        raise AuxtuneError(
            f"{home}: expected a folder that is not there yet, found one that is not empty; choose another --to"
        )
