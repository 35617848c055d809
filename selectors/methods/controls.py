"""The controls that every search must beat: the primary alone, all tasks alike or by size, and random subsets.

No source: they are the usual baselines of the multi-task literature. **Fixed mixtures** learn nothing, so each proposes
one trial, to show its score beside the others, and answers without any. One ``propose`` costs nothing. Do not use them
to find out which tasks help: they do not look.

**Random subsets** of the auxiliaries are the control at equal cost: a selector that does not beat random subsets of the
same number and size has shown nothing. The answer is the drawn subset with the best score. No subset is drawn twice.
With ``size: null`` a size is drawn first, uniformly, and then a subset of that size, so that small and large subsets
are tried alike (uniform over subsets would try almost none of the small ones). One ``propose`` takes tens of
microseconds, more when nearly every subset of a size was tried. Do not use it where scores are so noisy that the best
of many draws is mostly luck: confirm then shows a smaller lift than the search.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from pydantic import Field

from auxtune.selectors.beliefs import Belief, BestDrawn
from auxtune.selectors.kit.mixtures import share_by_sampling
from auxtune.selectors.kit.options import options
from auxtune.selectors.protocol import JSON, Done, Evidence, Outcome, Problem, Proposal, Selection, Wants


@dataclass(frozen=True)
class ControlState:
    """The problem, and how many proposals were made."""

    problem: Problem
    made: int = 0


@options
class FixedMixture(ABC):
    """A mixture that is known beforehand; a subclass assigns its shares."""

    version: ClassVar[int] = 1
    paper: ClassVar[str | None] = None
    needs: ClassVar[str] = "nothing"
    costs: ClassVar[str] = "none, the answer is known beforehand"
    avoid: ClassVar[str] = "the question is which tasks help: it does not look"
    cycle: ClassVar[bool] = True

    @abstractmethod
    def assign_shares(self, problem: Problem) -> dict[str, float]:
        """Each trained task's share of the steps; they sum to 1."""

    def wants(self) -> Wants:
        """Its answers and the needs of its runs."""
        return Wants(frozenset({"primary", "scored"}), "subset")

    def start(self, problem: Problem) -> ControlState:
        """No proposal yet. Raises ``ValueError`` without a primary, unless something else is scored."""
        if problem.scored is None or "scored" not in self.wants().objectives:
            problem.require_primary()
        return ControlState(problem)

    def propose(self, state: ControlState, evidence: Evidence) -> Proposal | Done:
        """The mixture, once."""
        if state.made:
            return Done()
        shares = self.assign_shares(state.problem)
        return Proposal(tuple(shares), shares, cycle=self.cycle, seed=state.problem.seed)

    def proposed(self, state: ControlState, number: int, proposal: Proposal) -> ControlState:
        """One more proposal."""
        return replace(state, made=state.made + 1)

    def told(self, state: ControlState, number: int, outcome: Outcome) -> ControlState:
        """The same state: no score changes a fixed answer."""
        return state

    def select(self, state: ControlState, evidence: Evidence) -> Selection:
        """The mixture."""
        shares = self.assign_shares(state.problem)
        return Selection("mixture", tuple(shares), shares, cycle=self.cycle)

    def fewest(self, problem: Problem) -> int:
        """0: the answer is known beforehand."""
        return 0


class SingleTask(FixedMixture):
    """The primary alone."""

    def wants(self) -> Wants:
        """Its answers and the needs of its runs."""
        return Wants(frozenset({"primary"}), "subset")

    def assign_shares(self, problem: Problem) -> dict[str, float]:
        """Everything to the primary."""
        return {problem.require_primary(): 1.0}


class AllTasks(FixedMixture):
    """Every task, equal shares."""

    def assign_shares(self, problem: Problem) -> dict[str, float]:
        """The same to each task."""
        return {name: 1 / len(problem.names) for name in problem.names}


class SizeProportional(FixedMixture):
    """Every task, share by training rows, drawn from the trial's seed and not in a cycle."""

    cycle: ClassVar[bool] = False
    rule: ClassVar[str] = "proportional"

    def wants(self) -> Wants:
        """Its answers and the needs of its runs."""
        return Wants(frozenset({"primary", "scored"}), "weights")

    def assign_shares(self, problem: Problem) -> dict[str, float]:
        """Shares by the class's ``rule``, a sampling rule of ``share_by_sampling``."""
        rows = {task.name: task.train_rows for task in problem.tasks}
        return share_by_sampling(self.rule, rows, problem.names)


class SizeSqrt(SizeProportional):
    """Every task, share by the square root of training rows, drawn from the trial's seed and not in a cycle.

    Between equal shares and shares by size, as multilingual models and T5's mixtures temper them (Raffel et al. 2020,
    section 3.5.2, temperature 2).
    """

    rule: ClassVar[str] = "size^0.5"


@dataclass(frozen=True)
class RandomState:
    """The proposals and their results: the tasks executed and the scores, by the proposal's number.

    ``drawn`` holds the auxiliaries proposed. A task whose share rounds to 0 is drawn but not trained.
    """

    problem: Problem
    drawn: frozenset[frozenset[str]] = frozenset()
    trained: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    scores: Mapping[int, float] = field(default_factory=dict)


@options
class RandomSubset:
    """The best of random subsets of the auxiliaries, each trained with the primary."""

    version: ClassVar[int] = 1
    paper: ClassVar[str | None] = None
    needs: ClassVar[str] = "nothing"
    costs: ClassVar[str] = "a run per subset"
    avoid: ClassVar[str] = "the subsets outnumber the runs a hundred times"

    size: int | None = Field(default=None, ge=1, description="auxiliaries in each subset; null draws the size too")
    trials: int | None = Field(
        default=None, ge=1, description="subsets to try; null tries all, or as many as the budget allows"
    )

    def wants(self) -> Wants:
        """Its answers and the needs of its runs."""
        return Wants(frozenset({"primary", "scored"}), "subset")

    def start(self, problem: Problem) -> RandomState:
        """Nothing drawn yet. Raises ``ValueError`` without a primary or another score, and for too few auxiliaries."""
        if problem.scored is None:
            problem.require_primary()
        auxiliaries = len(problem.auxiliaries)
        if self.size is not None and self.size > auxiliaries:
            raise ValueError(f"selector.size must be at most {auxiliaries}, the auxiliaries, got {self.size}")
        return RandomState(problem)

    def propose(self, state: RandomState, evidence: Evidence) -> Proposal | Done:
        """A subset that was not proposed before; any number of them may run at once."""
        sizes = self._list_sizes(state)
        if not sizes or len(state.trained) == self.trials:
            return Done()
        rng = np.random.default_rng([state.problem.seed, len(state.trained)])
        size = int(rng.choice(sizes))
        subset = _draw(rng, state.problem.auxiliaries, size)
        while subset in state.drawn:
            subset = _draw(rng, state.problem.auxiliaries, size)
        auxiliaries = [name for name in state.problem.names if name in subset]
        tasks = tuple(name for name in state.problem.names if name in subset or name == state.problem.primary)
        return Proposal(tasks, seed=int(rng.integers(2**31)), notes={"drawn": auxiliaries})

    def proposed(self, state: RandomState, number: int, proposal: Proposal) -> RandomState:
        """The draw is taken from the notes, the tasks from those that are actually trained."""
        drawn = state.drawn | {frozenset(proposal.notes["drawn"])}
        return replace(state, drawn=drawn, trained={**state.trained, number: proposal.tasks})

    def told(self, state: RandomState, number: int, outcome: Outcome) -> RandomState:
        """One more score, if the trial has one."""
        if outcome.score is None:
            return state
        return replace(state, scores={**state.scores, number: outcome.score})

    def select(self, state: RandomState, evidence: Evidence) -> Selection:
        """The tasks with the best score, the earliest proposal on ties; before any score the primary, or all tasks."""
        if not state.scores:
            primary = state.problem.primary
            return Selection("mixture", (primary,) if primary else state.problem.names, belief={"best_score": None})
        best = max(sorted(state.scores), key=lambda number: state.scores[number])
        return Selection("mixture", state.trained[best], belief={"best_score": state.scores[best]})

    def beliefs(self, belief: Mapping[str, JSON]) -> Iterator[Belief]:
        """No belief, but the best that was drawn."""
        yield BestDrawn(belief["best_score"])

    def fewest(self, problem: Problem) -> int:
        """1, or 0 where there is no auxiliary to draw."""
        return min(1, len(problem.auxiliaries))

    def _list_sizes(self, state: RandomState) -> list[int]:
        """The sizes of which some subset was not drawn yet."""
        auxiliaries = len(state.problem.auxiliaries)
        sizes = range(1, auxiliaries + 1) if self.size is None else (self.size,)
        drawn = [len(subset) for subset in state.drawn]
        return [size for size in sizes if drawn.count(size) < math.comb(auxiliaries, size)]


def _draw(rng: np.random.Generator, auxiliaries: tuple[str, ...], size: int) -> frozenset[str]:
    indices = rng.choice(len(auxiliaries), size=size, replace=False)
    return frozenset(auxiliaries[i] for i in indices.tolist())
