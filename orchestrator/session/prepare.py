"""From a study file to everything a session needs: data on token ids, base weights, the question, the slots."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from auxtune.orchestrator.errors import StudyDataError
from auxtune.orchestrator.planning.budget import Budget, check_limits, check_prices
from auxtune.orchestrator.planning.confirm import Confirmation, confirmation_of
from auxtune.orchestrator.planning.earlier import earlier_results
from auxtune.orchestrator.planning.machines import Machines
from auxtune.orchestrator.planning.measuring import Measuring
from auxtune.orchestrator.planning.plan_size import check_budget, fewest_search_trials, problem_of
from auxtune.orchestrator.planning.probe_texts import ProbeTexts
from auxtune.orchestrator.planning.selector import selector_of
from auxtune.orchestrator.planning.slots import Slots, allot
from auxtune.orchestrator.planning.translate import Translator
from auxtune.orchestrator.record.events import Event, Opened
from auxtune.orchestrator.session.data import ENCODER, load_study_data
from auxtune.orchestrator.study_file.models import TrainingOptions
from auxtune.orchestrator.study_file.paths import model_options, storage_folder, study_folder, tokens_folder
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.selectors.protocol import Problem, Selector
from auxtune.trials.data.tasks import Task
from auxtune.trials.encoded import EncodedTask
from auxtune.trials.encoder import BaseEncoder
from auxtune.trials.errors import DataError
from auxtune.trials.tokens import encode_tasks


@dataclass(frozen=True)
class Prepared:
    """A study ready to run."""

    study: StudyFile
    tasks: Mapping[str, EncodedTask]
    base: BaseEncoder
    problem: Problem
    selector: Selector
    translator: Translator
    confirmation: Confirmation
    budget: Budget
    machines: Machines  # what Ray may hand out, when the session began
    fingerprint: Mapping[str, str]
    origins: Mapping[str, Mapping[str, str]]  # task -> held-out split -> the file it is, or was cut from

    @property
    def slots(self) -> Slots:
        """What one trial gets, and how many run at once."""
        return self.budget.slots

    @property
    def rows(self) -> dict[str, dict[str, int]]:
        """Task -> split -> rows."""
        return {name: {part: len(rows) for part, rows in task.splits.items()} for name, task in self.tasks.items()}

    def measuring(self, events: Sequence[Event]) -> Measuring:
        """Where this study keeps and finds evidence; ``events`` are those of its ledger."""
        storage = storage_folder(self.study)
        first = next(event for event in events if isinstance(event, Opened))
        encoder = digest_of([self.base.digest, self.study.options.model.max_length])
        return Measuring(
            study=study_folder(self.study),
            translator=self.translator,
            tasks=self.tasks,
            base=self.base,
            texts=ProbeTexts(storage, self.tasks, encoder),
            gpus=(self.slots.probes or self.slots).gpus,
            maker=f"{self.study.options.study} {first.session}",
        )


def prepare(study: StudyFile, machines: Machines) -> Prepared:
    """Read, split and encode the tasks, load the encoder, and check that ``machines`` and budget allow an answer.

    Raises ``StudyDataError``, ``ResourceError``, ``SelectorError`` and ``BudgetTooSmall``.
    """
    options, model = study.options, model_options(study)
    slots = allot(options.resources, machines)
    check_prices(options, slots)
    check_limits(options, slots)
    loaded, base = load_study_data(study)
    problem = problem_of(study, loaded)
    check_budget(options, fewest_search_trials(options, problem))
    try:
        tasks = encode_tasks(loaded, model, tokens_folder(study))
    except DataError as error:
        raise StudyDataError(study.told({ENCODER: error.messages})) from error
    translator = Translator(options, model, problem)
    return Prepared(
        study=study,
        tasks=tasks,
        base=base,
        problem=problem,
        selector=selector_of(options),
        translator=translator,
        confirmation=confirmation_of(options.confirm, problem, translator.execute),
        budget=Budget(options, translator.steps, slots),
        machines=machines,
        fingerprint=fingerprint_of(study, tasks, base),
        origins={name: task.origins for name, task in loaded.items()},
    )


def fingerprint_of(study: StudyFile, tasks: Mapping[str, Task | EncodedTask], base: BaseEncoder) -> dict[str, str]:
    """What must not change under a study: key of the study file -> digest of its meaning."""
    options = study.options
    return {
        "study": options.study,
        "primary": str(options.primary),
        # Only where it is asked for: a study that was begun before there were groups has no such key.
        **({"objective": f"{options.objective}, models {options.models}"} if options.objective else {}),
        **{f"tasks.{name}": digest_of([task.digest, task.kind, task.metrics]) for name, task in tasks.items()},
        # By content: the same encoder may lie elsewhere on the next machine.
        "model": digest_of([options.model.model_dump(mode="json", exclude={"name"}), base.digest]),
        "training": digest_of(recorded_training(options.training)),
        **({"earlier": digest_of([asdict(one) for one in earlier_results(study)])} if options.earlier else {}),
        "selector": digest_of([options.selector.model_dump(mode="json"), options.search_seeds]),
        # As with `objective`: a study that was begun before there was a choice has no such key.
        **({"search_score": options.search_score} if options.search_score != "metric" else {}),
        "seed": str(options.seed),
        "auxtune": version("auxtune"),
    }


def recorded_training(training: TrainingOptions) -> dict[str, Any]:
    """How trials are trained, as JSON; keys that studies begun earlier did not have are there where they are given."""
    values = training.model_dump(mode="json")
    return values if training.epochs is not None else {key: value for key, value in values.items() if key != "epochs"}


def digest_of(value: Any) -> str:
    """16 hexadecimal digits that stand for JSON values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
