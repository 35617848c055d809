"""Confirm: the selection against its controls, on fresh seeds and the test split that no selector saw.

Every arm has the same recipe, steps, best-checkpoint rule and seeds. An arm is only a name for proposals: where two
arms ask for the same training, it is trained once, and what an extended study trained before counts again.

There is nothing to confirm where all trials of the search failed: a selector then knows only what it knew before, which
is no finding. Nor is there an answer where all trainings of the selection failed: it was never measured. The next
session tries all of these trials again, since the cause may have been mended. Where a selector now reads the same
trials differently than when its answer was recorded, its new choice has not been measured. So the recorded answer
stands until `resume` confirms the new one, and pages of the study name both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np

from auxtune.orchestrator.planning.arms import (
    EQUAL,
    EQUAL_COST,
    SELECTION,
    Arms,
    GroupArms,
    PrimaryArms,
    Trainings,
    is_same_training,
)
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.record.events import SELECTORS, ControlSelected
from auxtune.orchestrator.record.fold import SelectorFold
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import quote_path
from auxtune.orchestrator.study_file.models import BudgetOptions, ConfirmOptions
from auxtune.selectors.protocol import Problem, Proposal, Selection

FailedPart: TypeAlias = Literal["search", "confirm"]

_FRESH = 7  # keeps confirm's seeds apart from every selector's
# The control that a study without `confirm.controls` had in earlier versions -> the one it has now.
_FORMER_DEFAULT = {"size_proportional": EQUAL}


def build_confirmation(
    options: ConfirmOptions, problem: Problem, execute: Callable[[Proposal], Proposal]
) -> Confirmation:
    """The confirmation that a study file asks for."""
    former = {} if "controls" in options.model_fields_set else _FORMER_DEFAULT
    return Confirmation(problem, options.seeds, options.controls, execute, options.leave_one_out, former=former)


@dataclass(frozen=True)
class Confirmation:
    """The arms of a study's answer. ``execute`` gives a proposal its executed shares.

    ``recorded`` are the trainings that confirm has asked for so far: where an earlier version trained an arm in full by
    the rule it had then, that training is the arm. ``former`` maps controls of that version to their replacements.
    ``searched`` are the ends of controls that search by themselves, as the accounts have them at any time.
    """

    problem: Problem
    seeds: int
    controls: tuple[str, ...]
    execute: Callable[[Proposal], Proposal]
    leave_one_out: bool = False
    recorded: tuple[Proposal, ...] = ()
    former: Mapping[str, str] = field(default_factory=dict)
    searched: Mapping[str, ControlSelected] = field(default_factory=dict)
    _known: dict[str, Mapping[str, Sequence[Trainings]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def recalling(self, accounts: Accounts) -> Confirmation:
        """The same for a study that has a ledger, which an earlier version may have confirmed."""
        recorded = tuple(trial.proposal for trial in accounts.in_phase("confirm"))
        return replace(self, recorded=recorded, searched=accounts.control_selected)

    @property
    def serves(self) -> tuple[str, ...]:
        """The tasks that count: the primary, or all."""
        return self._arms.serves

    def left(self, accounts: Accounts) -> list[Proposal]:
        """The trainings to hold back for confirm while the selection is not known; the known ones come first."""
        arms = sorted(self.expected(accounts).items(), key=lambda arm: self.depends(arm[0]))
        return [
            proposal
            for name, per_seed in arms
            for trainings in per_seed
            for proposal in trainings
            if self.depends(name) or self.find(accounts, proposal) is None
        ]

    def expected(self, accounts: Accounts) -> Mapping[str, Sequence[Trainings]]:
        """Arm name -> its trainings per seed, while the selection is not known; at the most, where it depends on it."""
        tried = [trial.proposal for trial in accounts.in_phase("search", "control")]
        return self._arms.expected(one for one in tried if one.weights and one.weighting == "sampling")

    def depends(self, arm: str) -> bool:
        """Whether what ``arm`` trains is known only with the selection."""
        return arm not in self._arms.fixed

    def arms(self, selection: Selection) -> Mapping[str, Sequence[Trainings]]:
        """Arm name -> its executed trainings per seed; the selection itself comes first.

        Raises ``SelectorError`` for a selection that is no answer to the problem.
        """
        found = [each.selection and _strip_beliefs(each.selection) for each in self.searched.values()]
        chosen = repr([_strip_beliefs(selection), *found])
        if chosen not in self._known:  # asked at every turn of Ray's loop
            self._known[chosen] = dict(self._as_trained(selection))
        return self._known[chosen]

    def _as_trained(self, selection: Selection) -> Iterator[tuple[str, Sequence[Trainings]]]:
        """The arms; for one that another version trained in full, the trainings of that version."""
        then = self._arms.former(selection) if self.recorded else {}
        renamed = self.former.items() if self.recorded else ()
        before = {now: name for name, now in renamed if self._has(self._at_any_time(name))}
        for name, arm in self._arms.of(selection):
            if name in before:
                yield before[name], self._at_any_time(before[name])
            else:
                yield name, then[name] if name in then and not self._has(arm) and self._has(then[name]) else arm

    def _at_any_time(self, control: str) -> Sequence[Trainings]:
        """The trainings of a control that no selection changes, also where it is not asked for."""
        return replace(self._arms, controls=(control,)).fixed[control]

    def _has(self, arm: Sequence[Trainings]) -> bool:
        """Whether all of an arm was asked for before."""
        wanted = (proposal for trainings in arm for proposal in trainings)
        return all(is_among(one, self.recorded) for one in wanted)

    def missing(self, selection: Selection, accounts: Accounts) -> Iterator[tuple[str, Proposal]]:
        """The trainings still to be done, each with the first arm that it belongs to.

        All arms of the first seed come first, so that a partial answer is balanced.
        """
        arms = self.arms(selection)
        asked: list[Proposal] = []
        for seed in range(self.seeds):
            for name, proposal in ((name, one) for name, per_seed in arms.items() for one in per_seed[seed]):
                if not is_among(proposal, asked) and self.find(accounts, proposal) is None:
                    asked.append(proposal)
                    yield name, proposal

    def has_open_control(self, accounts: Accounts, limits: BudgetOptions) -> bool:
        """Whether a control that searches by itself is not over under these ``limits``."""
        return EQUAL_COST in self.controls and accounts.control_selected_under(EQUAL_COST, limits) is None

    def missing_with_control(self, selection: Selection, accounts: Accounts) -> list[tuple[str, Proposal]]:
        """As ``missing``, while the control that searches is not over: of its arm, what it takes at the most."""
        known = [(arm, proposal) for arm, proposal in self.missing(selection, accounts) if arm != EQUAL_COST]
        unknown = self.expected(accounts)[EQUAL_COST]
        return [*known, *((EQUAL_COST, proposal) for trainings in unknown for proposal in trainings)]

    @staticmethod
    def find(accounts: Accounts, proposal: Proposal) -> Trial | None:
        """The confirm trial of this very training, whatever became of it, unless it was given up to be tried again."""
        counting = (trial for trial in accounts.in_phase("confirm") if not trial.tried_again)
        return next((trial for trial in counting if is_same_training(trial.proposal, proposal)), None)

    @cached_property
    def _arms(self) -> Arms:
        state = np.random.SeedSequence([self.problem.seed, _FRESH]).generate_state(self.seeds)
        seeds = tuple(int(seed) for seed in state)
        if self.problem.primary is None:
            return GroupArms(self.problem, seeds, self.controls, self.execute)
        return PrimaryArms(self.problem, seeds, self.controls, self.execute, self.leave_one_out, self.searched)


def is_among(proposal: Proposal, others: Iterable[Proposal]) -> bool:
    """Whether one of the ``others`` is the same training."""
    return any(is_same_training(proposal, other) for other in others)


def find_failed_part(accounts: Accounts, confirmation: Confirmation) -> FailedPart | None:
    """The part of the study all of whose trials failed, of confirm those of the selection itself.

    ``None`` while one of them has not ended, and before there is any.
    """
    if _has_all_failed(accounts.in_phase(*SELECTORS)):
        return "search"
    if accounts.selected is None:
        return None
    ours = confirmation.arms(accounts.selected.selection)[SELECTION]
    found = [confirmation.find(accounts, proposal) for trainings in ours for proposal in trainings]
    return "confirm" if None not in found and _has_all_failed(filter(None, found)) else None


def list_failed_trials(accounts: Accounts, part: FailedPart) -> tuple[int, ...]:
    """The ids of the trials that failed with a part and still count; with a failed search, confirm's among them."""
    trials = accounts.in_phase("confirm") if part == "confirm" else accounts.trials.values()
    return tuple(trial.id for trial in trials if trial.status == "failed" and not trial.tried_again)


def _has_all_failed(trials: Iterable[Trial]) -> bool:
    statuses = [trial.status for trial in trials]
    return bool(statuses) and set(statuses) == {"failed"}


@dataclass(frozen=True)
class NewReading:
    """The ``recorded`` answer and what the selector answers ``now``; ``owed`` is what confirm still takes of that."""

    recorded: Selection
    now: Selection
    reading: int
    owed: tuple[Proposal, ...]

    @property
    def is_another(self) -> bool:
        """Whether it is another choice, and not the same one for other reasons."""
        return _strip_beliefs(self.recorded) != _strip_beliefs(self.now)

    def describe(self, folder: StoredPath, trained: int, limit: int | None) -> str:
        """Say what became of the answer. ``limit`` is the budget's in trials, of which some were ``trained``.

        Where the limit is too low for what is owed, the command raises it.
        """
        if not self.is_another:
            return "Read again, the same trials choose the same tasks; what the selector holds true is of that reading."
        needed = trained + len(self.owed)
        more = f" --set budget.trials={needed}" if limit is not None and needed > limit else ""
        owed = "1 more trial" if len(self.owed) == 1 else f"{len(self.owed)} more trials"
        takes = f"in {owed}" if self.owed else "without another trial"
        return (
            f"Read again, the same trials choose {_describe_selection(self.now)}. The recorded answer is "
            f"{_describe_selection(self.recorded)}: lift, test scores and contributions are of that, what the selector "
            "holds true is of the new reading. "
            f"`auxtune resume {quote_path(folder)}{more}` confirms the new choice {takes}, its budget allowing."
        )


def find_new_reading(accounts: Accounts, fold: SelectorFold, confirmation: Confirmation) -> NewReading | None:
    """The new reading of a recorded answer's trials; ``None`` where the selector reads them as it did then.

    ``fold`` is after all events of the ledger. Raises what the selector's answer raises.
    """
    recorded = accounts.selected
    if recorded is None or recorded.reading >= (reading := fold.reading):
        return None
    now = fold.select()
    return NewReading(
        recorded.selection, now, reading, tuple(proposal for _, proposal in confirmation.missing(now, accounts))
    )


def _strip_beliefs(selection: Selection) -> Selection:
    """A selection reduced to what is trained, without the selector's beliefs."""
    return replace(selection, belief={}, ranking=None, stability=None)


def _describe_selection(selection: Selection) -> str:
    if selection.kind == "groups":
        return " | ".join(" + ".join(group["tasks"]) for group in selection.groups or ())
    weights = selection.weights or {}
    return " + ".join(f"{task} {weights[task]:.0%}" if task in weights else task for task in selection.tasks)
