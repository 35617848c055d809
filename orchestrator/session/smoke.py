"""The smoke test of a study: each task trained alone for a few steps, in this process and without Ray."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.planning.machines import this_machine
from auxtune.orchestrator.planning.plan_size import problem_of
from auxtune.orchestrator.planning.slots import Slots, allot
from auxtune.orchestrator.planning.translate import Translator
from auxtune.orchestrator.record.smoke import DamagedSmokeError, SmokedTask, SmokeRecord, read_smoke, write_smoke
from auxtune.orchestrator.session.prepare import digest_of, fingerprint_of
from auxtune.orchestrator.storage.object_path import ObjectPath
from auxtune.orchestrator.study_file.paths import model_options, study_folder, tokens_folder
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.selectors.protocol import Proposal
from auxtune.trials.data.tasks import Task
from auxtune.trials.device import name_device
from auxtune.trials.encoder import BaseEncoder
from auxtune.trials.failures import classify_failure
from auxtune.trials.recipe import Recipe
from auxtune.trials.smoke import smoke_task
from auxtune.trials.tokens import encode_tasks

# The training options that change what a step or an evaluation takes; the others change how many there are.
_TIMED = {"batch_size", "accumulate", "clip", "precision"}


def run_smoke(
    study: StudyFile, tasks: Mapping[str, Task], base: BaseEncoder, listener: Callable[[str, SmokedTask], None]
) -> SmokeRecord:
    """Try every task, also after one failed, and store the figures in the study's folder.

    ``listener`` hears of each task when it is done. Raises ``ResourceError`` where no trial fits this machine, and
    ``AuxtuneError`` where the study's folder cannot be written.
    """
    slots, folder = allot(study.options.resources, this_machine()), study_folder(study)
    smoked: dict[str, SmokedTask] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # On the study's own disk, so that the checkpoint is tried where checkpoints will be.
        with TemporaryDirectory(dir=None if isinstance(folder, ObjectPath) else folder, prefix=".smoke-") as scratch:
            for name, task in tasks.items():
                smoked[name] = _smoked(study, task, base, slots, Path(scratch, name))
                listener(name, smoked[name])
        record = SmokeRecord(true_of(study, tasks, base, slots), smoked)
        write_smoke(folder, record)
    except OSError as error:
        raise AuxtuneError(f"{folder}: cannot be written: {error.strerror or error}; change `storage`") from error
    return record


def known_figures(folder: Path, now: Mapping[str, str]) -> tuple[Mapping[str, SmokedTask], list[str]]:
    """The tasks of the last smoke test in ``folder``, if it is true of ``now``, and what is to be said of it."""
    try:
        record = read_smoke(folder)
    except DamagedSmokeError as error:
        return {}, [f"{error}; ignored, `auxtune validate --smoke` writes it anew"]
    if record is None:
        return {}, []
    if stale := record.differs_in(now):
        return {}, [f"the last smoke test differs in {', '.join(stale)}; ignored, repeat `auxtune validate --smoke`"]
    return record.tasks, [
        f"{name} failed the last smoke test ({task.why}): {task.message}"
        for name, task in record.tasks.items()
        if task.figures is None
    ]


def true_of(study: StudyFile, tasks: Mapping[str, Task], base: BaseEncoder, slots: Slots) -> dict[str, str]:
    """What a smoke test's figures depend on: key -> its digest or name."""
    meaning = fingerprint_of(study, tasks, base)
    return {
        **{key: digest for key, digest in meaning.items() if key == "model" or key.startswith("tasks.")},
        "training": digest_of(study.options.training.model_dump(mode="json", include=_TIMED)),
        "threads": str(max(1, int(slots.cpus))),
        "host": platform.node(),
        "device": name_device(slots.gpus, study.options.resources.device),
        "auxtune": version("auxtune"),
        "torch": version("torch"),
    }


def _smoked(study: StudyFile, task: Task, base: BaseEncoder, slots: Slots, scratch: Path) -> SmokedTask:
    try:
        encoded = encode_tasks({task.name: task}, model_options(study), tokens_folder(study))[task.name]
        return SmokedTask(smoke_task(_recipe(study, task), encoded, base, scratch, slots.cpus, slots.gpus))
    except Exception as error:  # whatever it is, the other tasks are tried too
        return SmokedTask(None, classify_failure(error), f"{type(error).__name__}: {error}")


def _recipe(study: StudyFile, task: Task) -> Recipe:
    """The study's recipe as if ``task`` were the primary, alone."""
    problem = replace(problem_of(study, {task.name: task}), primary=task.name)
    translator = Translator(study.options, model_options(study), problem)
    return translator.recipe(translator.execute(Proposal((task.name,), seed=study.options.seed)), "search")
