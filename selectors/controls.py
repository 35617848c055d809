"""Fixed mixtures that every selection must beat: the primary alone, all tasks alike, all tasks by their sizes.

No source: they are the usual baselines of the multi-task literature. None of them learns anything, so each proposes
one trial, to show its score beside the others, and answers without any. Random subsets draw anew for every trial and
have a page of their own (``random_subset.py``).

One ``propose`` costs nothing. Not to be used as the answer to "which tasks help": they do not look.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

from auxtune.selectors.protocol import Answer, Done, Evidence, Outcome, Problem, Proposal, Selection
from auxtune.selectors.shares import sampling_shares


@dataclass(frozen=True)
class ControlState:
    """The problem, and how many proposals were made."""

    problem: Problem
    made: int = 0


@dataclass(frozen=True)
class FixedMixture(ABC):
    """A mixture that is known beforehand: a subclass names its shares."""

    paper: ClassVar[str | None] = None
    needs_primary: ClassVar[bool] = True
    groups: ClassVar[bool] = False
    mixes: ClassVar[bool] = True
    needs: ClassVar[str] = "nothing"
    costs: ClassVar[str] = "none, the answer is known beforehand"
    avoid: ClassVar[str] = "the question is which tasks help: it does not look"
    cycle: ClassVar[bool] = True

    @abstractmethod
    def shares(self, problem: Problem) -> dict[str, float]:
        """Each trained task's share of the steps; they sum to 1."""

    def start(self, problem: Problem) -> ControlState:
        """Nothing made yet. Raises ``ValueError`` without a primary, unless something else is scored."""
        if problem.scored is None or not self.mixes:
            problem.require_primary()
        return ControlState(problem)

    def propose(self, state: ControlState, evidence: Evidence) -> Proposal | Done:
        """The mixture, once."""
        if state.made:
            return Done()
        shares = self.shares(state.problem)
        return Proposal(tuple(shares), shares, cycle=self.cycle, seed=state.problem.seed)

    def proposed(self, state: ControlState, number: int, proposal: Proposal) -> ControlState:
        """One proposal more."""
        return replace(state, made=state.made + 1)

    def told(self, state: ControlState, number: int, outcome: Outcome) -> ControlState:
        """The same state: no score changes a fixed answer."""
        return state

    def select(self, state: ControlState, evidence: Evidence) -> Selection:
        """The mixture."""
        shares = self.shares(state.problem)
        return Selection("mixture", tuple(shares), shares, cycle=self.cycle)

    def fewest(self, problem: Problem) -> int:
        """0: the answer is known beforehand."""
        return 0


class SingleTask(FixedMixture):
    """The primary alone."""

    answers: ClassVar[Answer] = "subset"
    mixes: ClassVar[bool] = False

    def shares(self, problem: Problem) -> dict[str, float]:
        """All of it for the primary."""
        return {problem.require_primary(): 1.0}


class AllTasks(FixedMixture):
    """Every task, equal shares."""

    answers: ClassVar[Answer] = "subset"

    def shares(self, problem: Problem) -> dict[str, float]:
        """The same for each."""
        return {name: 1 / len(problem.names) for name in problem.names}


class SizeProportional(FixedMixture):
    """Every task, share by training rows, drawn from the trial's seed and not in a cycle."""

    answers: ClassVar[Answer] = "weights"
    cycle: ClassVar[bool] = False
    rule: ClassVar[str] = "proportional"

    def shares(self, problem: Problem) -> dict[str, float]:
        """By the rule of the class, a sampling rule of ``shares.sampling_shares``."""
        rows = {task.name: task.train_rows for task in problem.tasks}
        return sampling_shares(self.rule, rows, problem.names)


class SizeSqrt(SizeProportional):
    """Every task, share by the square root of training rows, drawn from the trial's seed and not in a cycle.

    Between equal shares and shares by size, as multilingual models and T5's mixtures temper them (Raffel et al. 2020,
    section 3.5.2, temperature 2).
    """

    rule: ClassVar[str] = "size^0.5"
