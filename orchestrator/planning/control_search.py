"""The control ``equal_cost_random``: random mixtures, searched at the price of the study's own search.

It answers whether the search was worth it. Once the selector has answered, sparse mixtures drawn at random are trained
in phase ``control``, as the selector ``random_mixture`` proposes them, until they have cost as much as measure and
search, reused evidence included. The best of them by that selector's own answer is then an arm of confirm, trained with
the same fresh seeds as the others.

Cost is money where that is known, else GPU hours where any were used, else CPU hours, as ``auxtune compare`` counts. It
is read off the clock, so two runs of a study may train one random mixture more or less. All else is exact: the state of
the control is a fold of the ledger's events like that of the study's selector, which is told nothing of it, and its
draws follow from the study's seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from auxtune.orchestrator.planning.arms import EQUAL_COST
from auxtune.orchestrator.planning.budget import Budget
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.events import ControlSelected, Event
from auxtune.orchestrator.record.fold import SelectorFold
from auxtune.orchestrator.study_file.models import BudgetOptions
from auxtune.selectors.extensions import sum_versions
from auxtune.selectors.protocol import Done, Evidence, Problem, Proposal, Selector, Wait
from auxtune.selectors.registry import make

_APART = 11  # keeps the control's draws apart from those of the study's own selector, which may draw at random too


def build_control() -> Selector:
    """The selector of the control: as many random mixtures as their cost allows."""
    return make("random_mixture", {"trials": None})


def list_control_versions() -> dict[str, int]:
    """The version of the control's selector by its arm, for the ledger of a study that has it."""
    return {EQUAL_COST: sum_versions(build_control())}


def fold_control(problem: Problem, evidence: Evidence, events: Iterable[Event] = ()) -> SelectorFold:
    """The control's selector after ``events``."""
    seed = int(np.random.SeedSequence([problem.seed, _APART]).generate_state(1)[0])
    fold = SelectorFold(build_control(), replace(problem, seed=seed), evidence, EQUAL_COST)
    for event in events:
        fold.add(event)
    return fold


class ControlSearch:
    """The control's search in one session: what it trains next, and what it comes to.

    ``fold`` is after all events of the ledger and is kept up to date by ``add``. ``execute`` gives a proposal its
    executed shares.
    """

    def __init__(self, fold: SelectorFold, execute: Callable[[Proposal], Proposal]) -> None:
        self._exhausted: str | None = None  # the limit that ends it early, if one does
        self._fold, self._execute = fold, execute
        self._answer: tuple[int, Proposal | Wait | Done] | None = None  # the last one, and by how many events

    @property
    def after(self) -> int:
        """How many events were folded."""
        return self._fold.after

    def add(self, event: Event) -> None:
        """Fold one event."""
        self._fold.add(event)

    def propose(self, accounts: Accounts, budget: Budget, held: Sequence[Proposal], now: float) -> Proposal | None:
        """The next mixture to train, executed; ``None`` while those begun seem to cost enough, and where it is over.

        ``held`` is what confirm will take; ``now`` is in seconds since the epoch.
        """
        self._exhausted = None
        if budget.is_control_paid(accounts):
            return None
        if self._answer is None or self._answer[0] != self._fold.after:
            self._answer = (self._fold.after, self._fold.propose())
        if not isinstance(asked := self._answer[1], Proposal):
            return None
        executed = self._execute(asked)
        self._exhausted = budget.forbids(accounts, held, now, [executed])
        return None if self._exhausted else executed

    def end(self, accounts: Accounts, budget: BudgetOptions, now: float) -> ControlSelected:
        """Its end under this ``budget``, once it proposes no more: the best of its mixtures, if any gave a score."""
        scored = any(trial.score is not None for trial in accounts.in_phase("control"))
        return ControlSelected(
            arm=EQUAL_COST,
            time=now,
            selection=self._fold.select() if scored else None,
            after=self._fold.after,
            budget=budget.model_dump(mode="json"),
            exhausted=self._exhausted,
        )
