"""Random groups of near-equal size, each task in one: the control that a search for groups must beat at equal cost.

No source; a grouping that does not beat a random one of as many models has shown nothing. With ``groupings`` above 1 it
is a search itself, as ``random_subset`` is: every group of each drawn grouping is trained, and the answer is the
grouping with the best mean score over the tasks. No grouping is drawn twice. With a primary only its own group counts,
is trained and answers. Where only some networks are on offer and no such grouping of them is found, it draws random
networks that together hold every task; they may overlap.

One ``propose`` takes tens of microseconds, more when nearly every grouping was drawn. A grouping costs as many trials
as it has groups. Do not use it where one of the tasks is known to hurt all others, and do not trust its score: the best
of many noisy ones is partly luck.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, TypeAlias

import numpy as np
from pydantic import Field

from auxtune.selectors.beliefs import Belief, BestDrawn
from auxtune.selectors.kit.options import options
from auxtune.selectors.protocol import JSON, Done, Evidence, Outcome, Problem, Proposal, Selection, Wants

_TRIES = 200  # random groupings drawn before giving up on groups that are all on offer
Grouping: TypeAlias = tuple[tuple[str, ...], ...]  # the groups that count, tasks in the study's order


@dataclass(frozen=True)
class RandomGroupsState:
    """The groupings drawn, the (grouping, group) that each proposal trains, and the scores of those."""

    problem: Problem
    drawn: tuple[Grouping, ...] = ()
    asked: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    scores: Mapping[tuple[int, int], float] = field(default_factory=dict)

    def average_score(self, grouping: int) -> float | None:
        """The mean score over the tasks of a grouping; ``None`` until every group of it has a score."""
        groups = self.drawn[grouping]
        scores = [self.scores.get((grouping, number)) for number in range(len(groups))]
        known = [score * len(group) for score, group in zip(scores, groups, strict=True) if score is not None]
        return sum(known) / sum(map(len, groups)) if len(known) == len(groups) else None


@options
class RandomGroups:
    """Random groups of near-equal size, as many as models may be served; of several groupings the best."""

    version: ClassVar[int] = 1
    paper: ClassVar[str | None] = None
    needs: ClassVar[str] = "nothing"
    costs: ClassVar[str] = "none, the answer is drawn; a run per group of several `groupings`"
    avoid: ClassVar[str] = "the question is which tasks help"

    groupings: int = Field(default=1, ge=1, description="groupings to draw and train; the best one answers")
    models: int = Field(
        default=3, ge=1, description="groups where the study does not say how many, that is with a primary"
    )

    def wants(self) -> Wants:
        """Its answers and the needs of its runs."""
        return Wants(frozenset({"primary", "groups"}), "groups")

    def start(self, problem: Problem) -> RandomGroupsState:
        """Nothing drawn yet."""
        return RandomGroupsState(problem)

    def propose(self, state: RandomGroupsState, evidence: Evidence) -> Proposal | Done:
        """The next group of the last grouping, or the first of a new one; any number of them may run at once."""
        problem, made = state.problem, len(state.asked)
        last = len(state.drawn) - 1
        group = sum(grouping == last for grouping, _ in state.asked.values())
        groups = state.drawn[last] if state.drawn else ()
        if group == len(groups):
            if len(state.drawn) == min(self.groupings, self._count_groupings(problem)):
                return Done()
            groups, last, group = self._draw_grouping(state), last + 1, 0
        seed = int(np.random.default_rng([problem.seed, made, 1]).integers(2**31))
        notes = {"grouping": last, "group": group, "groups": [list(tasks) for tasks in groups]}
        return Proposal(groups[group], seed=seed, notes=notes)

    def proposed(self, state: RandomGroupsState, number: int, proposal: Proposal) -> RandomGroupsState:
        """A group is under way, and its grouping, from the notes, is drawn."""
        place = (proposal.notes["grouping"], proposal.notes["group"])
        groups = tuple(tuple(tasks) for tasks in proposal.notes["groups"])
        return replace(state, drawn=(*state.drawn[: place[0]], groups), asked={**state.asked, number: place})

    def told(self, state: RandomGroupsState, number: int, outcome: Outcome) -> RandomGroupsState:
        """One more score, if the trial has one."""
        if outcome.score is None:
            return state
        return replace(state, scores={**state.scores, state.asked[number]: outcome.score})

    def select(self, state: RandomGroupsState, evidence: Evidence) -> Selection:
        """The grouping with the best score, the earliest on ties; before any score the first one drawn."""
        drawn = state.drawn or (self._draw_grouping(state),)
        scores = {
            number: score for number in range(len(state.drawn)) if (score := state.average_score(number)) is not None
        }
        best = max(scores, key=lambda number: scores[number], default=0)
        belief = {"best_score": scores.get(best)}
        if state.problem.primary is not None:
            return Selection("mixture", drawn[best][0], belief=belief)
        return Selection("groups", state.problem.names, groups=_assign_tasks(drawn[best]), belief=belief)

    def beliefs(self, belief: Mapping[str, JSON]) -> Iterator[Belief]:
        """No belief, but the best grouping that was drawn."""
        yield BestDrawn(belief["best_score"])

    def fewest(self, problem: Problem) -> int:
        """0: without a score any grouping is as good as another."""
        return 0

    def _draw_grouping(self, state: RandomGroupsState) -> Grouping:
        """A grouping that was not drawn before."""
        rng, names = np.random.default_rng([state.problem.seed, len(state.asked)]), state.problem.names
        offered = {network.tasks for network in state.problem.networks}
        for _ in range(_TRIES) if offered else itertools.count():
            order = rng.permutation(len(names)).tolist()
            ends = np.cumsum([0, *self._list_sizes(state.problem)]).tolist()
            places = sorted(sorted(order[a:b]) for a, b in itertools.pairwise(ends))
            groups = tuple(tuple(names[place] for place in group) for group in places)
            if state.problem.primary is not None:
                groups = tuple(group for group in groups if state.problem.primary in group)
            if groups not in state.drawn and (not offered or offered.issuperset(groups)):
                return groups
        return _draw_cover(state.problem, rng)

    def _list_sizes(self, problem: Problem) -> list[int]:
        """Tasks in each group, the larger first; no group is empty."""
        tasks = len(problem.tasks)
        models = min(problem.models or self.models, tasks)
        return [tasks // models + (number < tasks % models) for number in range(models)]

    def _count_groupings(self, problem: Problem) -> int:
        """The number of different groupings; groups of equal size have no order."""
        tasks, sizes = len(problem.tasks), Counter(self._list_sizes(problem))
        if problem.primary is not None:
            return sum(math.comb(tasks - 1, size - 1) for size in sizes)
        alike: int = math.prod(math.factorial(size) ** count * math.factorial(count) for size, count in sizes.items())
        return math.factorial(tasks) // alike


def _assign_tasks(groups: Grouping) -> tuple[dict[str, JSON], ...]:
    """The groups of an answer; a task in several groups is served by the first."""
    first: dict[str, int] = {}
    for place, group in enumerate(groups):
        for task in group:
            first.setdefault(task, place)
    return tuple(
        {"tasks": list(group), "serves": [task for task in group if first[task] == place]}
        for place, group in enumerate(groups)
    )


def _draw_cover(problem: Problem, rng: np.random.Generator) -> Grouping:
    """Networks on offer in random order, each with a task that those before it lack, as many as may be served.

    If every such draw leaves a task out, the largest network on offer.
    """
    for _ in range(_TRIES):
        chosen: list[tuple[str, ...]] = []
        uncovered = set(problem.names) if problem.primary is None else {problem.primary}
        for place in rng.permutation(len(problem.networks)).tolist():
            if uncovered.intersection(tasks := problem.networks[place].tasks):
                chosen.append(tasks)
                uncovered -= set(tasks)
            if not uncovered:
                return tuple(chosen)
            if len(chosen) == (problem.models or 1):
                break
    return (max((network.tasks for network in problem.networks), key=len),)
