"""Prepares a study file for a session: data as token ids, base weights, the question, the slots; and opens its ledger.

Everything that a study file only names is read here: the rows of its tasks and its encoder.

The ledger is the truth, and all else in a study's folder follows from it. Where only the ledger is gone, by a slip or a
copy that was cut short, a new study in the same folder would take the old attempts' files for its own and repeat all
that was paid for. So that is refused, and whoever wants it has the old files set aside first.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from auxtune.orchestrator.errors import BudgetTooSmall, DriftError, LedgerDamaged, Locked, ResourceError, StudyDataError
from auxtune.orchestrator.planning.budget import (
    Budget,
    check_budget,
    check_limits,
    check_prices,
    explain_unreachable_limits,
    has_equal_cost,
)
from auxtune.orchestrator.planning.context import StudyContext, count_fewest_trials, digest_of, find_drift
from auxtune.orchestrator.planning.control_search import list_control_versions
from auxtune.orchestrator.planning.probe_texts import ProbeTexts
from auxtune.orchestrator.planning.slots import Machines, Slots, allot, describe_this_machine
from auxtune.orchestrator.planning.translate import search_score_of
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.driver import find_active_driver
from auxtune.orchestrator.record.events import CLOCK, Opened, read_time
from auxtune.orchestrator.record.ledger import Ledger, LedgerReader
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import is_local, quote_path
from auxtune.orchestrator.study_file.models import KeyPath
from auxtune.orchestrator.study_file.paths import list_task_sources, locate_tokens, resolve_model
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.selectors.extensions import sum_versions
from auxtune.trials.data.tasks import Task, load_tasks
from auxtune.trials.errors import DataError
from auxtune.trials.recipe import ModelOptions
from auxtune.trials.tokens import EncodedTask, encode_tasks

if TYPE_CHECKING:  # these load torch and transformers: imported where they are used, once Ray has begun to start
    from auxtune.orchestrator.planning.measure_plan import MeasurePlanner
    from auxtune.trials.encoder import BaseEncoder, EncoderError

_ENCODER: KeyPath = ("model", "name")
_PACKAGES = ("auxtune", "ray", "torch", "transformers", "mlflow", "numpy")
# What only a session with a ledger writes. Others are there before: heartbeat.json, smoke.json.
_TRACES = ("selection.json", "report.html", "trials", "tune", "rows")


@dataclass(frozen=True)
class Prepared:
    """A study ready to run."""

    context: StudyContext
    tasks: Mapping[str, EncodedTask]
    base: BaseEncoder
    budget: Budget
    machines: Machines
    """The resources that Ray may hand out, as the session began."""
    origins: Mapping[str, Mapping[str, str]]
    """Task -> held-out split -> the file it is, or was cut from."""

    @property
    def slots(self) -> Slots:
        """The resources of one trial, and how many run at once."""
        return self.budget.slots

    def measure_planner(self) -> MeasurePlanner:
        """The planner of what trials measure, once a session has begun."""
        from auxtune.orchestrator.planning.measure_plan import MeasurePlanner

        context = self.context
        encoder = digest_of([self.base.digest, context.options.model.max_length])
        return MeasurePlanner(
            study=context.folder,
            translator=context.translator,
            tasks=self.tasks,
            base=self.base,
            texts=ProbeTexts(context.folder.parent, self.tasks, encoder),
            gpus=(self.slots.probes or self.slots).gpus,
            maker=f"{context.options.study} {context.accounts.sessions[0].opened.session}",
        )


def prepare(study: StudyFile, machines: Machines) -> Prepared:
    """Read, split and encode the tasks, load the encoder, and check that ``machines`` and budget allow an answer.

    Raises ``StudyDataError``, ``ResourceError``, ``SelectorError`` and ``BudgetTooSmall``.
    """
    options = study.options
    slots = allot(options.resources, machines)
    check_prices(options, slots)
    check_limits(options, slots)
    loaded, base = load_study_data(study)
    context = StudyContext.from_data(study, loaded, base)
    check_budget(options, count_fewest_trials(options, context.problem))
    return Prepared(
        context=context,
        tasks=encode_study_data(study, loaded),
        base=base,
        budget=Budget(options, context.translator.steps, slots),
        machines=machines,
        origins={name: task.origins for name, task in loaded.items()},
    )


def open_ledger(
    prepared: Prepared, session: str, allow_drift: bool, reader: LedgerReader | None = None
) -> tuple[Ledger, Prepared]:
    """Begin ``session`` in the study's ledger; returns it, and the study with the accounts of all its events.

    ``reader`` is of that ledger, if it was read before.

    Raises ``DriftError`` where tasks, model, recipe, selector or code differ from the last session's and that was
    not allowed; ``Locked`` and ``LedgerDamaged`` as the ledger does.
    """
    context = prepared.context
    study, folder = context.study, context.folder
    reader = reader or LedgerReader(folder / "ledger")
    reader.read_new()
    accounts = Accounts(reader.events)
    drift, folded = find_drift(accounts, context.fingerprint), len(reader.events)
    if drift and not allow_drift:
        raise DriftError(
            f"{folder}: these differ from what the study was begun with: {', '.join(drift)}. Give the changed study "
            "another name, or resume it anyway with --allow-drift; finished trials stay as they are"
        )
    CLOCK.restart()
    opened = Opened(
        session=session,
        time=read_time(),
        study=study.text,
        overrides=study.overrides,
        study_folder=str(study.folder),
        working_folder=str(study.working_folder),
        problem=context.problem,
        fingerprint=context.fingerprint,
        versions={"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        drift=drift,
        search_score=search_score_of(study.options),
        splits=prepared.origins,
        selector_version=sum_versions(context.selector),
        control_versions=list_control_versions() if has_equal_cost(study.options) else {},
    )
    ledger = Ledger(folder / "ledger", opened, reader)
    for event in ledger.events[folded:]:
        accounts.add(event)
    return ledger, replace(prepared, context=replace(context, accounts=accounts))


def load_study_data(study: StudyFile) -> tuple[dict[str, Task], BaseEncoder]:
    """The tasks, in the order of the file, and the encoder. Raises ``StudyDataError`` with all that is wrong."""
    from auxtune.trials.encoder import EncoderError, load_base
    from auxtune.trials.encoder_checks import check_tokenizer

    wrong: dict[KeyPath, list[str]] = {}
    tasks: dict[str, Task] = {}
    options = resolve_model(study)
    try:
        tasks = load_tasks(list_task_sources(study))
    except DataError as error:
        for problem in error.problems:
            path = ("tasks",) if problem.task is None else ("tasks", problem.task)
            wrong.setdefault(path, []).append(problem.text)
    try:
        encoder = load_base(options)
        encoder = replace(encoder, notes=(*encoder.notes, *check_tokenizer(options, encoder, tasks)))
    except DataError as error:
        # Named as the study file names it: in quotes, behind its key.
        wrong[_ENCODER] = [
            problem.text if problem.encoder is None else f"{problem.encoder!r}: {problem.text}"
            for problem in error.problems
        ]
    except EncoderError as error:
        wrong[tuple(error.key.split("."))] = [error.message + _suggest_folder(study, options, error)]
    if wrong:
        raise StudyDataError("\n".join([study.format_messages(wrong), *_explain_moved_folder(study)]))
    return tasks, encoder


def _suggest_folder(study: StudyFile, options: ModelOptions, error: EncoderError) -> str:
    """A hint that a name unknown to the hub is not a folder here either, where it may have been meant as one."""
    may_be_folder = error.is_unread and not Path(options.name).is_absolute()
    return f"; and on this machine there is no such folder: {study.folder / options.name}" if may_be_folder else ""


def _explain_moved_folder(study: StudyFile) -> list[str]:
    """The remedy where the folder is gone that paths of tasks and encoder are relative to."""
    if study.folder.is_dir():
        return []
    return [
        f"{study.folder}: the last session found tasks and encoder there, and there is no such folder now; if the "
        "project was moved, `auxtune run FILE`, with the study file beside its data and from the folder that holds "
        f"{study.options.storage}, resumes this study, and from then on all is found there"
    ]


def encode_study_data(study: StudyFile, tasks: Mapping[str, Task]) -> dict[str, EncodedTask]:
    """The tasks on token ids. Raises ``StudyDataError`` where the encoder cannot read them."""
    try:
        return encode_tasks(tasks, resolve_model(study), locate_tokens(study))
    except DataError as error:
        raise StudyDataError(study.format_messages({_ENCODER: error.messages})) from error


def list_missed_words(study: StudyFile, tasks: Mapping[str, Task]) -> list[str]:
    """A line for each task with labelled words beyond the encoder's longest input. Raises ``StudyDataError``."""
    from auxtune.trials.encoder_checks import describe_missed_words

    try:
        return describe_missed_words(tasks, resolve_model(study))
    except DataError as error:
        raise StudyDataError(study.format_messages({_ENCODER: error.messages})) from error


def list_encoder_notes(study: StudyFile, base: BaseEncoder) -> list[str]:
    """Notes on the chosen encoder, each behind its key."""
    return [f"model.name {study.options.model.name!r}: {note}" for note in base.notes]


def describe_unreachable_limits(study: StudyFile) -> list[str]:
    """Why limits of the budget are out of reach on this machine; nothing where no trial could run on it."""
    try:
        slots = allot(study.options.resources, describe_this_machine())
    except ResourceError:  # it is meant for other machines
        return []
    try:
        check_limits(study.options, slots)
    except BudgetTooSmall as error:
        return [f"{error}; `auxtune run` refuses it"]
    return list(explain_unreachable_limits(study.options, slots).values())


def list_traces(folder: StoredPath) -> list[str]:
    """The names in the study's ``folder`` that an earlier session left."""
    return [name for name in _TRACES if (folder / name).exists()]


def check_ledger_is_there(folder: StoredPath, reader: LedgerReader) -> None:
    """Raise ``LedgerDamaged`` where ``reader`` found no ledger, and an earlier session has left files in ``folder``."""
    if reader.events or not (traces := list_traces(folder)):
        return
    raise LedgerDamaged(
        f"{folder / 'ledger'}: missing, though an earlier session left {', '.join(traces)} beside it, so what was done "
        "is not known. Nothing was changed. Restore the ledger from a copy; or give the study another name; or begin "
        f"it again with `auxtune run --from-nothing`, {_describe_remedy(folder)}"
    )


def set_aside(folder: StoredPath) -> StoredPath | None:
    """Rename the study's ``folder`` that has lost its ledger, and return where it is now; ``None``: nothing was there.

    Raises ``LedgerDamaged`` where there is a ledger, or the folder cannot be renamed, and ``Locked`` where a process is
    at work in it.
    """
    if not list_traces(folder):
        return None
    if find_active_driver(folder) is not None:
        raise Locked(f"{folder}: a process is working on this study; end it first with `auxtune stop`")
    if LedgerReader(folder / "ledger").read_new():
        raise LedgerDamaged(
            f"{folder}: --from-nothing is for a study whose ledger is lost, and this one has its ledger; run it "
            "without that option to resume it, or give the study another name"
        )
    if not is_local(folder):
        raise LedgerDamaged(f"{folder}: a folder of an object store cannot be renamed; give the study another name")
    free = (folder.with_name(f"{folder.name}.aside-{number}") for number in count(1))
    target = next(path for path in free if not path.exists())
    try:
        return folder.rename(target)
    except OSError as error:
        raise LedgerDamaged(f"{folder}: cannot be renamed to {target}: {error.strerror}") from error


def _describe_remedy(folder: StoredPath) -> str:
    if not is_local(folder):
        return "which an object store does not allow"
    return f"which first renames the folder to {quote_path(folder.with_name(f'{folder.name}.aside-1'))} or the like"
