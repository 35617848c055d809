"""The same search repeated with different seeds, to see how often each task is chosen.

No source. A search whose answer changes with the seed has found luck, and ``stability`` shows it. The searches run side
by side and share the slots evenly: the one with the fewest proposals asks first. The answer is that of the search whose
best trial, in the stage it reached, scored highest on the validation split, the earliest on ties; the others only say
how sure it is. Runs that only measure do not compete, because their scores are of other tasks or say nothing about the
choice; where a method trains no candidates, the first search answers. Each search measures its own runs, since
otherwise stability could not be seen.

``propose`` asks one search, or several where some have nothing to ask for. The cost is that of all searches together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from auxtune.selectors.beliefs import Belief, Repeats, Search
from auxtune.selectors.extensions import ActivePart, find_reading, list_checkpoints_in_use, renumber_start
from auxtune.selectors.methods.controls import RandomSubset
from auxtune.selectors.protocol import (
    JSON,
    Done,
    Evidence,
    Objective,
    Outcome,
    Problem,
    Proposal,
    Selection,
    Selector,
    Wait,
    Wants,
)

_ANY = RandomSubset()  # every option needs a default


@dataclass(frozen=True)
class SearchesState:
    """Each search's state, its stage and its best score there.

    ``numbers`` maps a proposal's number to (search, the search's own count); ``measured`` are the proposals that only
    measure.
    """

    problem: Problem
    inner: tuple[Any, ...]
    stages: tuple[str, ...]
    best: tuple[float | None, ...]
    numbers: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    measured: frozenset[int] = frozenset()

    def count_proposals(self, search: int) -> int:
        """The number of proposals that one search made."""
        return sum(owner == search for owner, _ in self.numbers.values())


@dataclass(frozen=True)
class Searches:
    """One selector, searched with several seeds."""

    version: ClassVar[int] = 1
    paper: ClassVar[str | None] = None

    selector: Selector = _ANY
    times: int = 2

    @property
    def parts(self) -> tuple[Selector, ...]:
        """The selector that is repeated."""
        return (self.selector,)

    def wants(self) -> Wants:
        """The wants of a single search, for a primary."""
        return replace(self.selector.wants(), objectives=frozenset[Objective]({"primary"}))

    def start(self, problem: Problem) -> SearchesState:
        """Every search at its start, the first with the problem's own seed. Raises whatever the selector raises."""
        seeds = [problem.seed, *np.random.SeedSequence([problem.seed, 11]).generate_state(self.times - 1).tolist()]
        states = tuple(self.selector.start(replace(problem, seed=seed)) for seed in seeds)
        return SearchesState(problem, states, ("",) * self.times, (None,) * self.times)

    def propose(self, state: SearchesState, evidence: Evidence) -> Proposal | Wait | Done:
        """The proposal of the search with the fewest proposals so far that has one."""
        waiting = False
        for search in sorted(range(self.times), key=state.count_proposals):
            reply = self.selector.propose(state.inner[search], evidence)
            if isinstance(reply, Proposal):
                own = {local: number for number, (owner, local) in state.numbers.items() if owner == search}
                stage = f"search{search}.{reply.stage}" if reply.stage else f"search{search}"
                notes = {"search": search, "notes": dict(reply.notes)}
                return replace(renumber_start(reply, own), stage=stage, notes=notes)
            waiting = waiting or isinstance(reply, Wait)
        return Wait() if waiting else Done()

    def proposed(self, state: SearchesState, number: int, proposal: Proposal) -> SearchesState:
        """The search named in the notes has one more under way."""
        search = proposal.notes["search"]
        local = state.count_proposals(search)
        stage = proposal.stage.removeprefix(f"search{search}").removeprefix(".")
        inward = renumber_start(proposal, {each: count for each, (_, count) in state.numbers.items()})
        asked = replace(inward, stage=stage, notes=proposal.notes["notes"])
        own = self.selector.proposed(state.inner[search], local, asked)
        if stage != state.stages[search]:  # scores of another stage are of other trainings
            state = replace(
                state, stages=_replace_at(state.stages, search, stage), best=_replace_at(state.best, search, None)
            )
        numbers = {**state.numbers, number: (search, local)}
        measured = state.measured | ({number} if proposal.measure else set())
        return replace(state, inner=_replace_at(state.inner, search, own), numbers=numbers, measured=measured)

    def told(self, state: SearchesState, number: int, outcome: Outcome) -> SearchesState:
        """The search that proposed it is told."""
        search, local = state.numbers[number]
        own = self.selector.told(state.inner[search], local, outcome)
        if number in state.measured:
            return replace(state, inner=_replace_at(state.inner, search, own))
        scores = [score for score in (state.best[search], outcome.score) if score is not None]
        best = _replace_at(state.best, search, max(scores, default=None))
        return replace(state, inner=_replace_at(state.inner, search, own), best=best)

    def select(self, state: SearchesState, evidence: Evidence) -> Selection:
        """The answer of the search with the best score; ``stability`` counts all of them."""
        answers = [self.selector.select(inner, evidence) for inner in state.inner]
        scores = [-np.inf if best is None else best for best in state.best]
        winner = int(np.argmax(scores))
        stability = {task: sum(task in answer.tasks for answer in answers) / self.times for task in state.problem.names}
        each = [
            {"tasks": list(answer.tasks), "weights": dict(answer.weights or {}) or None, "best_score": best}
            for answer, best in zip(answers, state.best, strict=True)
        ]
        belief = {**answers[winner].belief, "searches": each, "winner": winner}
        return replace(answers[winner], belief=belief, stability=stability)

    def active_parts(self, state: SearchesState) -> Iterator[ActivePart]:
        """Every search."""
        for search, (inner, best) in enumerate(zip(state.inner, state.best, strict=True)):
            yield ActivePart(f"search{search}", self.selector, inner, best)

    def beliefs(self, belief: Mapping[str, JSON]) -> Iterator[Belief]:
        """What each search chose."""
        if searches := belief.get("searches"):
            answers = tuple(Search(tuple(each["tasks"]), each["best_score"]) for each in searches)
            yield Repeats(answers, belief["winner"])

    def divide_belief(self, belief: Mapping[str, JSON]) -> Iterator[tuple[str, Selector, Mapping[str, JSON]]]:
        """The belief of the search that answers, without a stage."""
        yield "", self.selector, belief

    def fewest(self, problem: Problem) -> int:
        """The fewest trials of all searches together."""
        return self.times * self.selector.fewest(problem)

    def checkpoints_in_use(self, state: SearchesState) -> frozenset[int]:
        """The proposals from which any of the searches may still start."""
        held = [list_checkpoints_in_use(self.selector, inner) for inner in state.inner]
        return frozenset(number for number, (search, local) in state.numbers.items() if local in held[search])

    def reading(self, state: SearchesState) -> int:
        """The latest reading of any search."""
        return max(find_reading(self.selector, inner) for inner in state.inner)


def _replace_at(values: tuple[Any, ...], index: int, value: Any) -> tuple[Any, ...]:
    return (*values[:index], value, *values[index + 1 :])
