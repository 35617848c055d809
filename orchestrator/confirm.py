"""Confirm: the selection against its controls, on fresh seeds and the report split that no selector saw.

Every arm has the same recipe, steps, best-checkpoint rule and seeds. An arm is only a name for proposals: where two
arms ask for the same training, it is trained once, and what an extended study trained before counts again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from auxtune.orchestrator.accounts import Accounts, Trial
from auxtune.selectors.protocol import Problem, Proposal, Selection
from auxtune.selectors.registry import make

SELECTION = "selection"
_OF_ANY_SELECTION = ("single_task", "all_tasks", "size_proportional")      # controls that no selection changes
_FRESH = 7                                             # keeps confirm's seeds apart from every selector's


@dataclass(frozen=True)
class Confirmation:
    """The arms of a study's answer. ``execute`` gives a proposal its executed shares."""

    problem: Problem
    seeds: int
    controls: tuple[str, ...]
    execute: Callable[[Proposal], Proposal]

    @property
    def trials(self) -> int:
        """The most trials confirm can take: seeds x (selection + controls)."""
        return self.seeds * (1 + len(self.controls))

    def trials_left(self, accounts: Accounts) -> int:
        """What must still be held back for confirm while the selection is not known."""
        fixed = [name for name in self.controls if name in _OF_ANY_SELECTION]
        done = sum(
            self.find(accounts, self._arm(name, None, seed)) is not None
            for name in fixed
            for seed in range(self.seeds)
        )
        return self.trials - done

    def arms(self, selection: Selection) -> Mapping[str, Sequence[Proposal]]:
        """Arm name -> one executed proposal per seed; the selection itself comes first."""
        names = (SELECTION, *self.controls)
        return {name: [self._arm(name, selection, i) for i in range(self.seeds)] for name in names}

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

    def _arm(self, name: str, selection: Selection | None, index: int) -> Proposal:
        seed = int(np.random.SeedSequence([self.problem.seed, _FRESH]).generate_state(self.seeds)[index])
        if name in _OF_ANY_SELECTION:
            control = make(name, {})
            mixture = control.select(control.start(self.problem), {})
        elif selection is None:
            raise ValueError(f"the arm {name} needs a selection")
        elif name == "random_subset":
            chosen = self.execute(Proposal(selection.tasks, selection.weights, cycle=selection.cycle))
            mixture = self._random(len(chosen.tasks) - 1, np.random.default_rng([self.problem.seed, seed]))
        else:
            mixture = selection
        return self.execute(Proposal(mixture.tasks, mixture.weights, cycle=mixture.cycle, seed=seed))

    def _random(self, size: int, draw: np.random.Generator) -> Selection:
        """The primary with ``size`` auxiliaries, whichever."""
        auxiliaries = self.problem.auxiliaries
        picked = {auxiliaries[i] for i in draw.choice(len(auxiliaries), size=size, replace=False).tolist()}
        trained = picked | {self.problem.require_primary()}
        return Selection("mixture", tuple(task for task in self.problem.names if task in trained))
