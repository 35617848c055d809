"""Confirm: the selection against its controls, on fresh seeds and the report split that no selector saw.

Every arm has the same recipe, steps, best-checkpoint rule and seeds. An arm is only a name for proposals: where two
arms ask for the same training, it is trained once, and what an extended study trained before counts again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from auxtune.orchestrator.planning.arms import Arms, GroupArms, PrimaryArms, Trainings
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.study_file.models import ConfirmOptions
from auxtune.selectors.protocol import Problem, Proposal, Selection

_FRESH = 7                                             # keeps confirm's seeds apart from every selector's


def confirmation_of(options: ConfirmOptions, problem: Problem, execute: Callable[[Proposal], Proposal]) -> Confirmation:
    """What a study file asks for."""
    return Confirmation(problem, options.seeds, options.controls, execute, options.leave_one_out)


@dataclass(frozen=True)
class Confirmation:
    """The arms of a study's answer. ``execute`` gives a proposal its executed shares."""

    problem: Problem
    seeds: int
    controls: tuple[str, ...]
    execute: Callable[[Proposal], Proposal]
    leave_one_out: bool = False
    _known: dict[str, Mapping[str, Sequence[Trainings]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def serves(self) -> tuple[str, ...]:
        """The tasks that count: the primary, or all."""
        return self._arms.serves

    def left(self, accounts: Accounts) -> list[Proposal]:
        """What must still be held back for confirm while the selection is not known; what is known comes first."""
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
            t.proposal
            for t in accounts.in_phase("search")
            if t.proposal.weights and t.proposal.weighting == "sampling"
        )

    def depends(self, arm: str) -> bool:
        """Whether what ``arm`` trains is known only with the selection."""
        return arm not in self._arms.fixed

    def arms(self, selection: Selection) -> Mapping[str, Sequence[Trainings]]:
        """Arm name -> its executed trainings per seed; the selection itself comes first.

        Raises ``SelectorError`` for a selection that is no answer to the problem.
        """
        chosen = repr(replace(selection, belief={}, ranking=None, stability=None))
        if chosen not in self._known:                  # asked at every turn of Ray's loop
            self._known[chosen] = dict(self._arms.of(selection))
        return self._known[chosen]

    def missing(self, selection: Selection, accounts: Accounts) -> Iterator[Proposal]:
        """What is still to be trained: all arms of the first seed first, so that a partial answer is balanced."""
        arms = self.arms(selection)
        asked: list[Proposal] = []
        for seed in range(self.seeds):
            for proposal in (proposal for per_seed in arms.values() for proposal in per_seed[seed]):
                if proposal not in asked and self.find(accounts, proposal) is None:
                    asked.append(proposal)
                    yield proposal

    @staticmethod
    def find(accounts: Accounts, proposal: Proposal) -> Trial | None:
        """The confirm trial of this very proposal, whatever became of it, unless it was given up to be tried again."""
        counting = (trial for trial in accounts.in_phase("confirm") if not trial.tried_again)
        return next((trial for trial in counting if trial.proposal == proposal), None)

    @cached_property
    def _arms(self) -> Arms:
        state = np.random.SeedSequence([self.problem.seed, _FRESH]).generate_state(self.seeds)
        seeds = tuple(int(seed) for seed in state)
        if self.problem.primary is None:
            return GroupArms(self.problem, seeds, self.controls, self.execute)
        return PrimaryArms(self.problem, seeds, self.controls, self.execute, self.leave_one_out)
