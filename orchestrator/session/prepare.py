"""Prepares a study file for a session: data as token ids, base weights, the question, the slots."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version

from auxtune.orchestrator.errors import DriftError
from auxtune.orchestrator.planning.budget import Budget, check_budget, check_limits, check_prices
from auxtune.orchestrator.planning.context import StudyContext, count_fewest_trials
from auxtune.orchestrator.planning.measure_plan import MeasurePlanner
from auxtune.orchestrator.planning.probe_texts import ProbeTexts
from auxtune.orchestrator.planning.question import digest_of, find_drift
from auxtune.orchestrator.planning.slots import Machines, Slots, allot
from auxtune.orchestrator.planning.translate import search_score_of
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.events import Opened
from auxtune.orchestrator.record.ledger import Ledger, LedgerReader
from auxtune.orchestrator.session.data import encode_study_data, load_study_data
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.selectors.extensions import sum_versions
from auxtune.trials.encoded import EncodedTask
from auxtune.trials.encoder import BaseEncoder

_PACKAGES = ("auxtune", "ray", "torch", "transformers", "mlflow", "numpy")


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
    opened = Opened(
        session=session,
        time=time.time(),
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
    )
    ledger = Ledger(folder / "ledger", opened, reader)
    for event in ledger.events[folded:]:
        accounts.add(event)
    return ledger, replace(prepared, context=replace(context, accounts=accounts))
