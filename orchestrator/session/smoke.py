"""The smoke test of a study: each task trained alone for a few steps, in this process and without Ray.

``smoke.json`` in the study's folder keeps how long each part of a task's training took, and under which conditions.
Figures of another model, data, device or machine say nothing, so readers compare the conditions first. The file is a
convenience: the next smoke test writes it again, and a study runs without it.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Literal
from uuid import uuid4

from pydantic import TypeAdapter, ValidationError

from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.planning.context import StudyContext, digest_of
from auxtune.orchestrator.planning.slots import Slots, allot, describe_this_machine
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import store_of
from auxtune.orchestrator.study_file.paths import locate_study, locate_tokens, resolve_model
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.selectors.protocol import Proposal
from auxtune.trials.data.tasks import Task
from auxtune.trials.encoder import BaseEncoder
from auxtune.trials.failures import classify_failure
from auxtune.trials.recipe import Recipe
from auxtune.trials.result import FailureReason, SmokeFigures
from auxtune.trials.smoke import run_smoke_test
from auxtune.trials.tokens import encode_tasks
from auxtune.trials.train_step import name_device

# The training options that change what a step or an evaluation takes; the others change how many there are.
_TIMED = {"batch_size", "accumulate", "clip", "precision"}


def run_smoke(
    study: StudyFile, tasks: Mapping[str, Task], base: BaseEncoder, listener: Callable[[str, SmokedTask], None]
) -> SmokeRecord:
    """Try every task, also after one failed, and store the figures in the study's folder.

    ``listener`` hears of each task when it is done. Raises ``ResourceError`` where no trial fits this machine, and
    ``AuxtuneError`` where the study's folder cannot be written.
    """
    slots, folder = allot(study.options.resources, describe_this_machine()), locate_study(study)
    smoked: dict[str, SmokedTask] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # On the study's own disk, so that the checkpoint is tried where checkpoints will be.
        with store_of(folder).open_draft(folder, f".smoke-{uuid4().hex}") as scratch:
            for name, task in tasks.items():
                smoked[name] = _try_task(study, task, base, slots, scratch / name)
                listener(name, smoked[name])
        record = SmokeRecord(describe_conditions(StudyContext.from_data(study, tasks, base), slots), smoked)
        write_smoke(folder, record)
    except OSError as error:
        raise AuxtuneError(f"{folder}: cannot be written: {error.strerror or error}; change `storage`") from error
    return record


def find_figures(folder: StoredPath, now: Mapping[str, str]) -> tuple[Mapping[str, SmokedTask], list[str]]:
    """The tasks of the last smoke test in ``folder``, if it is true of ``now``, and notes on it."""
    try:
        record = read_smoke(folder)
    except DamagedSmokeError as error:
        return {}, [f"{error}; ignored, `auxtune validate --smoke` writes it again"]
    if record is None:
        return {}, []
    if stale := record.differs_in(now):
        return {}, [f"the last smoke test differs in {', '.join(stale)}; ignored, repeat `auxtune validate --smoke`"]
    return record.tasks, [
        f"{name} failed the last smoke test ({task.why}): {task.message}"
        for name, task in record.tasks.items()
        if task.figures is None
    ]


def describe_conditions(context: StudyContext, slots: Slots) -> dict[str, str]:
    """The conditions of a smoke test's figures: key -> its digest or name."""
    return {
        **{key: digest for key, digest in context.fingerprint.items() if key == "model" or key.startswith("tasks.")},
        "training": digest_of(context.options.training.model_dump(mode="json", include=_TIMED)),
        "threads": str(max(1, int(slots.cpus))),
        "host": platform.node(),
        "device": name_device(slots.gpus, context.options.resources.device),
        "auxtune": version("auxtune"),
        "torch": version("torch"),
    }


def _try_task(study: StudyFile, task: Task, base: BaseEncoder, slots: Slots, scratch: Path) -> SmokedTask:
    try:
        encoded = encode_tasks({task.name: task}, resolve_model(study), locate_tokens(study))[task.name]
        recipe = _build_recipe(study, task, base)
        return SmokedTask(run_smoke_test(recipe, encoded, base, scratch, slots.cpus, slots.gpus))
    except Exception as error:  # of any kind: the other tasks are tried too
        return SmokedTask(None, classify_failure(error), f"{type(error).__name__}: {error}")


def _build_recipe(study: StudyFile, task: Task, base: BaseEncoder) -> Recipe:
    """The study's recipe as if ``task`` were the primary, alone."""
    context = StudyContext.from_data(study, {task.name: task}, base)
    translator = replace(context, problem=replace(context.problem, primary=task.name)).translator
    return translator.recipe(translator.execute(Proposal((task.name,), seed=study.options.seed)), "search")


FILE = "smoke.json"


@dataclass(frozen=True)
class SmokedTask:
    """One task's figures, or ``why`` it failed, with a ``message`` for people."""

    figures: SmokeFigures | None
    why: FailureReason | None = None
    message: str | None = None


@dataclass(frozen=True)
class SmokeRecord:
    """A whole smoke test. ``true_of`` maps what the figures depend on to its digest or name."""

    true_of: Mapping[str, str]
    tasks: Mapping[str, SmokedTask]
    format: Literal[1] = 1  # raised where a reader would misunderstand it

    def differs_in(self, now: Mapping[str, str]) -> tuple[str, ...]:
        """The keys in which this is not true of ``now``."""
        return tuple(key for key in sorted(self.true_of.keys() | now.keys()) if self.true_of.get(key) != now.get(key))


class DamagedSmokeError(ValueError):
    """There is a ``smoke.json``, but not one that a smoke test of this version wrote."""


_record = TypeAdapter(SmokeRecord)


def write_smoke(folder: StoredPath, record: SmokeRecord) -> StoredPath:
    """Write ``folder/smoke.json``, whole or not at all, and return its path."""
    path = folder / FILE
    store_of(path).replace(path, lambda file: file.write(_record.dump_json(record, indent=1) + b"\n"))
    return path


def read_smoke(folder: StoredPath) -> SmokeRecord | None:
    """The last smoke test of the study in ``folder``; ``None`` without one. Raises ``DamagedSmokeError``."""
    path = folder / FILE
    try:
        record = _record.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        reason = f"{error.error_count()} mistakes" if isinstance(error, ValidationError) else error.strerror
        raise DamagedSmokeError(f"{path}: not a readable smoke test ({reason})") from error
    if wrong := [name for name, task in record.tasks.items() if task.figures and not _is_possible(task.figures)]:
        raise DamagedSmokeError(f"{path}: not a readable smoke test (impossible figures of {', '.join(wrong)})")
    return record


def _is_possible(figures: SmokeFigures) -> bool:
    seconds = (figures.fastest, figures.seconds_per_step, figures.slowest, figures.seconds_per_evaluation)
    return all(isfinite(value) and value > 0 for value in seconds) and figures.evaluated_rows > 0
