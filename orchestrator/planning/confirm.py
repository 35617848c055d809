"""Confirm: the selection against its controls, on fresh seeds and the test split that no selector saw.

Every arm has the same recipe, steps, best-checkpoint rule and seeds. An arm is only a name for proposals: where two
arms ask for the same training, it is trained once, and what an extended study trained before counts again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from auxtune.orchestrator.planning.arms import EQUAL, Arms, GroupArms, PrimaryArms, Trainings, is_same_training
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.study_file.models import ConfirmOptions
from auxtune.selectors.protocol import Problem, Proposal, Selection

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
    """

    problem: Problem
    seeds: int
    controls: tuple[str, ...]
    execute: Callable[[Proposal], Proposal]
    leave_one_out: bool = False
    recorded: tuple[Proposal, ...] = ()
    former: Mapping[str, str] = field(default_factory=dict)
    _known: dict[str, Mapping[str, Sequence[Trainings]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def recalling(self, accounts: Accounts) -> Confirmation:
        """The same for a study that has a ledger, which an earlier version may have confirmed."""
        return replace(self, recorded=tuple(trial.proposal for trial in accounts.in_phase("confirm")))

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
        return self._arms.expected(
            t.proposal for t in accounts.in_phase("search") if t.proposal.weights and t.proposal.weighting == "sampling"
        )

    def depends(self, arm: str) -> bool:
        """Whether what ``arm`` trains is known only with the selection."""
        return arm not in self._arms.fixed

    def arms(self, selection: Selection) -> Mapping[str, Sequence[Trainings]]:
        """Arm name -> its executed trainings per seed; the selection itself comes first.

        Raises ``SelectorError`` for a selection that is no answer to the problem.
        """
        chosen = repr(replace(selection, belief={}, ranking=None, stability=None))
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
        return PrimaryArms(self.problem, seeds, self.controls, self.execute, self.leave_one_out)


def is_among(proposal: Proposal, others: Iterable[Proposal]) -> bool:
    """Whether one of the ``others`` is the same training."""
    return any(is_same_training(proposal, other) for other in others)
