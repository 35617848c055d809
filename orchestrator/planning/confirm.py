"""Confirm: the selection against its controls, on fresh seeds and the report split that no selector saw.

Every arm has the same recipe, steps, best-checkpoint rule and seeds. An arm is only a name for proposals: where two
arms ask for the same training, it is trained once, and what an extended study trained before counts again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.study_file.models import ConfirmOptions
from auxtune.selectors.protocol import Problem, Proposal, Selection
from auxtune.selectors.registry import make

SELECTION = "selection"
WITHOUT = "without "                                   # and a task: the arm that leaves it out
_OF_ANY_SELECTION = ("single_task", "all_tasks", "size_proportional")      # controls that no selection changes
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
    _known: dict[Any, Mapping[str, Sequence[Proposal]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def left(self, accounts: Accounts) -> list[Proposal]:
        """What must still be held back for confirm while the selection is not known; what is known comes first."""
        arms = sorted(self.expected(accounts).items(), key=lambda arm: self.depends(arm[0]))
        return [
            proposal
            for name, proposals in arms
            for proposal in proposals
            if self.depends(name) or self.find(accounts, proposal) is None
        ]

    def expected(self, accounts: Accounts) -> Mapping[str, Sequence[Proposal]]:
        """Arm name -> a proposal per seed, while the selection is not known.

        For an arm that depends on the selection stands the mixture with the least of the primary among those trained
        so far and all tasks together: where examples of the primary are matched, it takes the most steps.
        """
        asked = [trial.proposal for trial in accounts.in_phase("search")]
        tried = [proposal for proposal in asked if proposal.weights and proposal.weighting == "sampling"]
        primary = self.problem.require_primary()
        largest = min((self._all, *tried), key=lambda proposal: (proposal.weights or {})[primary])
        left_out = [f"{WITHOUT}{task}" for task in self.problem.auxiliaries] if self.leave_one_out else []
        arms = (SELECTION, *self.controls, *left_out)
        return {name: self._fixed.get(name) or [largest] * self.seeds for name in arms}

    def depends(self, arm: str) -> bool:
        """Whether what ``arm`` trains is known only with the selection."""
        return arm not in self._fixed

    def arms(self, selection: Selection) -> Mapping[str, Sequence[Proposal]]:
        """Arm name -> one executed proposal per seed; the selection itself comes first."""
        weights = tuple((selection.weights or {}).items())
        chosen = (selection.tasks, weights, selection.weighting, selection.cycle)
        if chosen not in self._known:                  # asked at every turn of Ray's loop
            self._known[chosen] = dict(self._arms(selection))
        return self._known[chosen]

    def missing(self, selection: Selection, accounts: Accounts) -> Iterator[Proposal]:
        """What is still to be trained: all arms of the first seed first, so that a partial answer is balanced."""
        arms = self.arms(selection)
        asked: list[Proposal] = []
        for seed in range(self.seeds):
            for proposals in arms.values():
                proposal = proposals[seed]
                if proposal not in asked and self.find(accounts, proposal) is None:
                    asked.append(proposal)
                    yield proposal

    @staticmethod
    def find(accounts: Accounts, proposal: Proposal) -> Trial | None:
        """The confirm trial of this very proposal, whatever became of it."""
        return next((t for t in accounts.in_phase("confirm") if t.proposal == proposal), None)

    def _arms(self, selection: Selection) -> Iterator[tuple[str, list[Proposal]]]:
        chosen = self._executed(selection)
        yield SELECTION, [replace(chosen, seed=seed) for seed in self._seeds]
        for name in self.controls:
            yield name, self._fixed.get(name) or [self._random(len(chosen.tasks) - 1, seed) for seed in self._seeds]
        for task in chosen.tasks if self.leave_one_out else ():
            if task != self.problem.primary:
                rest = self._executed(_without(task, chosen))
                yield f"{WITHOUT}{task}", [replace(rest, seed=seed) for seed in self._seeds]

    @cached_property
    def _seeds(self) -> list[int]:
        state = np.random.SeedSequence([self.problem.seed, _FRESH]).generate_state(self.seeds)
        return [int(seed) for seed in state]

    @cached_property
    def _fixed(self) -> Mapping[str, list[Proposal]]:
        """The arms that no selection changes."""
        fixed = {}
        for name in (name for name in self.controls if name in _OF_ANY_SELECTION):
            control = make(name, {})
            mixture = self._executed(control.select(control.start(self.problem), {}))
            fixed[name] = [replace(mixture, seed=seed) for seed in self._seeds]
        return fixed

    @cached_property
    def _all(self) -> Proposal:
        """Every task by the study's sampling rule: no subset leaves less to the primary."""
        return self._executed(Selection("mixture", self.problem.names))

    def _executed(self, mixture: Selection) -> Proposal:
        return self.execute(Proposal(mixture.tasks, mixture.weights, mixture.weighting, cycle=mixture.cycle))

    def _random(self, size: int, seed: int) -> Proposal:
        """The primary with ``size`` auxiliaries, whichever, in the study's order of tasks."""
        draw, auxiliaries = np.random.default_rng([self.problem.seed, seed]), self.problem.auxiliaries
        picked = {auxiliaries[i] for i in draw.choice(len(auxiliaries), size=size, replace=False).tolist()}
        trained = picked | {self.problem.require_primary()}
        drawn = Selection("mixture", tuple(task for task in self.problem.names if task in trained))
        return replace(self._executed(drawn), seed=seed)


def _without(task: str, chosen: Proposal) -> Selection:
    """What is trained of the selection, less one auxiliary, the others in the same proportion."""
    left = {other: share for other, share in (chosen.weights or {}).items() if other != task}
    total = sum(left.values())
    # Factors of losses may all be 0 without the one that is left out; shares of steps cannot, the primary has some.
    weights = {other: share / total for other, share in left.items()} if total > 0 else None
    return Selection("mixture", tuple(left), weights, cycle=chosen.cycle, weighting=chosen.weighting)
