"""The material of a study's page: its ledger and what that adds up to, its answer, and the evidence it rests on.

The answer's numbers are those of ``selection.json``, computed nowhere else; while there is none, cost is what
``auxtune status`` shows. Neither the tasks' data nor the encoder is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from auxtune.orchestrator.answer.answer import Answer, read_answer
from auxtune.orchestrator.answer.cost import StudyCost, sum_cost
from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.planning.arms import Trainings
from auxtune.orchestrator.planning.budget import price_of
from auxtune.orchestrator.planning.confirm import Confirmation, NewReading, find_new_reading
from auxtune.orchestrator.planning.context import StudyContext
from auxtune.orchestrator.record.accounts import Accounts, Trial, find_study_status
from auxtune.orchestrator.record.driver import is_alive, read_study_time
from auxtune.orchestrator.record.events import Event
from auxtune.orchestrator.record.fold import SelectorFold
from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.record.results import StoredEvidence
from auxtune.orchestrator.record.scores import label_values, sign_in
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.study_file.models import StudyOptions
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.selectors.beliefs import Belief, Repeats
from auxtune.selectors.extensions import ActivePart, find_active_parts, read_beliefs
from auxtune.selectors.protocol import Problem, Selection, Selector


@dataclass(frozen=True)
class Material:
    """A study as it stands. ``answer`` is that of ``selection.json``, if there is one.

    ``state`` is ``running``, ``done``, ``interrupted`` or ``failed``.
    """

    folder: StoredPath
    study: StudyFile
    events: Sequence[Event]
    accounts: Accounts
    state: str
    answer: Answer | None

    @property
    def options(self) -> StudyOptions:
        """The options of the study file."""
        return self.study.options

    @property
    def problem(self) -> Problem:
        """The question, as the last session asked it."""
        return self.context.problem

    @property
    def outdated(self) -> bool:
        """Whether the study has continued since its answer."""
        return self.answer is not None and self.state != "done"

    @cached_property
    def cost(self) -> StudyCost:
        """The study's cost: from the answer, or, where that is outdated, so far."""
        if self.answer is not None and not self.outdated:
            return self.answer.cost
        now = read_study_time(self.folder) if self.state == "running" else None
        return sum_cost(self.accounts, price_of(self.options), now)

    @cached_property
    def metric(self) -> str:
        """The main metric of the primary, or just "score" where there is none or nothing has told it yet."""
        primary = self.problem.primary or ""
        told = (trial.told.outcome.metrics for trial in self.accounts.trials.values() if trial.told)
        return next((next(iter(metrics[primary])) for metrics in told if metrics.get(primary)), "score")

    @property
    def scored(self) -> str:
        """The quantity of search scores, once ``sign`` has turned them: ``metric``, or the loss."""
        return label_values(self.metric, self.accounts.search_score)

    @cached_property
    def sign(self) -> int:
        """The factor that turns a score into the measured value: −1 where lower is better, else 1."""
        return sign_in(self.accounts)

    @cached_property
    def context(self) -> StudyContext:
        """The study as its last session understood it."""
        return StudyContext.from_accounts(self.study, self.accounts, self.folder)

    @property
    def selector(self) -> Selector:
        """The study's selector."""
        return self.context.selector

    @property
    def evidence(self) -> StoredEvidence:
        """The arrays measured by the trials of the storage."""
        return self.context.evidence

    def fresh_fold(self) -> SelectorFold:
        """The selector before its first event."""
        return self.context.fold()

    @cached_property
    def fold(self) -> SelectorFold:
        """The selector after all events."""
        return self.context.fold(self.events)

    @cached_property
    def new_reading(self) -> NewReading | None:
        """The answer that the selector now reads out of trials whose recorded answer was read in an older way.

        ``None`` also where the study searches on under another budget, and where the selector cannot be asked.
        """
        if self.accounts.selected_under(self.options.budget) is None:
            return None
        try:
            return find_new_reading(self.accounts, self.fold, self.confirmation)
        except AuxtuneError:
            return None

    @cached_property
    def leaning(self) -> Selection | AuxtuneError:
        """The selector's recorded choice, or what it would choose if it were asked now; or why it cannot be asked.

        It is asked now where nothing is recorded, and where what is recorded was read in an older way.
        """
        try:
            if self.new_reading is not None:
                return self.new_reading.now
            return self.fold.select() if self.accounts.selected is None else self.accounts.selected.selection
        except AuxtuneError as error:
            return error

    @property
    def belief(self) -> Mapping[str, Any]:
        """The selector's belief: as the answer has it, unless it has a new reading."""
        if self.answer is not None and not self.outdated and self.new_reading is None:
            return self.answer.belief
        return self.leaning.belief if isinstance(self.leaning, Selection) else {}

    @cached_property
    def beliefs(self) -> tuple[tuple[str, Belief], ...]:
        """The same as values, each with the stage of the method that believes it; empty where it has no stages."""
        return tuple(read_beliefs(self.selector, self.belief))

    @property
    def answering_part(self) -> ActivePart:
        """The selector at work whose answer counts: of several searches the winner's."""
        winner = next((each.winner for _, each in self.beliefs if isinstance(each, Repeats)), 0)
        return list(find_active_parts(self.selector, self.fold.state))[winner]

    @property
    def confirmation(self) -> Confirmation:
        """The arms that confirm compares."""
        return self.context.confirmation

    @cached_property
    def arms(self) -> Mapping[str, Sequence[Sequence[Trial]]]:
        """Arm -> the trials of each seed, those that there are; empty before the selector has chosen."""
        chosen = self.accounts.selected
        arms = {} if chosen is None else self.confirmation.arms(chosen.selection)
        return {name: [self._trials_of(trainings) for trainings in per_seed] for name, per_seed in arms.items()}

    def _trials_of(self, trainings: Trainings) -> list[Trial]:
        found = (Confirmation.find(self.accounts, proposal) for proposal in trainings)
        return [trial for trial in found if trial is not None]


def read_material(folder: StoredPath, study: StudyFile) -> Material:
    """The study in ``folder``, from its ledger and its answer.

    Raises ``LedgerDamaged``, and ``AuxtuneError`` where ``selection.json`` cannot be read.
    """
    events = read_events(folder / "ledger")
    accounts = Accounts(events)
    state = find_study_status(accounts, is_alive(folder, accounts))
    return Material(folder, study, events, accounts, state, read_answer(folder))


def finish_material(
    folder: StoredPath,
    study: StudyFile,
    events: Sequence[Event],
    answer: Answer,
    accounts: Accounts | None = None,
) -> Material:
    """The study that a session has just brought to its answer, and is about to close.

    ``accounts`` are of all ``events``, which are folded where they are not given.
    """
    return Material(folder, study, events, Accounts(events) if accounts is None else accounts, "done", answer)


def describe_stage(stage: str) -> str:
    """The words to put behind a caption of what a stage has done; none where there are no stages."""
    return f" (stage {stage})" if stage else ""
