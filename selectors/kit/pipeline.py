"""Selectors in a row: each stage answers, and the next one works on the tasks of that answer.

No source of its own; AutoSeM (bandit, then mixing) is the best-known example. A stage is any selector with a primary.
When it is done and all its trials are told, its answer narrows the problem to the chosen tasks, and the next stage
starts on those. Shares are not passed on, and rows cannot be. The narrowing answer is computed once and reaches the
state through the ``notes`` of the next stage's first proposal, so that folding a ledger never asks a stage again.

``propose`` costs what its stage costs. The answer is that of the stage under way, so a pipeline may be stopped at any
time. Later stages draw from seeds of their own; the first draws from the problem's seed, so that it does what it would
do alone. Measured runs keep the problem's seed in every stage, so that measurements of one stage serve the next.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from auxtune.selectors.extensions import ActivePart, find_reading, list_checkpoints_in_use, renumber_start
from auxtune.selectors.methods.controls import RandomSubset
from auxtune.selectors.protocol import (
    JSON,
    Done,
    Evidence,
    Outcome,
    Problem,
    Proposal,
    Selection,
    Selector,
    Wait,
    Wants,
)

_ANY = (("random_subset", RandomSubset()),)  # every option needs a default


@dataclass(frozen=True)
class PipelineState:
    """The stage under way with its state, what the stages before it believed, and the tasks that they left.

    ``numbers`` maps a proposal's number to the stage's own count; proposals of earlier stages are never pending.
    """

    problem: Problem
    stage: int
    inner: Any
    numbers: Mapping[int, int] = field(default_factory=dict)
    pending: frozenset[int] = frozenset()
    beliefs: Mapping[str, JSON] = field(default_factory=dict)
    handed_on: Mapping[str, frozenset[str]] = field(default_factory=dict)


class Staged(ABC):
    """The functions of a selector that consists of ``stages``."""

    version: ClassVar[int] = 1

    @property
    @abstractmethod
    def stages(self) -> tuple[tuple[str, Selector], ...]:
        """Name and selector of each stage; at least one."""

    @property
    def parts(self) -> tuple[Selector, ...]:
        """The selector of each stage."""
        return tuple(selector for _, selector in self.stages)

    def wants(self) -> Wants:
        """The answer of the last stage, for a primary; the needs of all stages inside a run."""
        each = [selector.wants() for selector in self.parts]
        return Wants(frozenset({"primary"}), each[-1].answers, frozenset().union(*(wants.inside for wants in each)))

    def start(self, problem: Problem) -> PipelineState:
        """The first stage at its start. Raises ``ValueError`` without a primary, and whatever that stage raises."""
        problem.require_primary()
        return PipelineState(problem, 0, self._selector(0).start(problem))

    def propose(self, state: PipelineState, evidence: Evidence) -> Proposal | Wait | Done:
        """The proposal of the stage under way or, if that is done, of the first later stage that has one."""
        handed_on: list[JSON] = []  # the answer of each stage that ends here, for the next one
        while True:
            name, selector = self.stages[state.stage]
            reply = selector.propose(state.inner, evidence)
            if isinstance(reply, Proposal):
                stage = f"{name}.{reply.stage}" if reply.stage else name
                outward = renumber_start(reply, {local: number for number, local in state.numbers.items()})
                return replace(outward, stage=stage, notes={"entered": handed_on, "notes": dict(reply.notes)})
            if isinstance(reply, Wait) or state.pending:
                return Wait()
            if state.stage + 1 == len(self.stages):
                return Done()
            selection = selector.select(state.inner, evidence)
            handed_on.append({"tasks": list(selection.tasks), "belief": dict(selection.belief)})
            try:
                state = self._enter_next_stage(state, handed_on[-1])
            except ValueError:  # the next stage cannot work on so few tasks: the answer stands
                return Done()

    def proposed(self, state: PipelineState, number: int, proposal: Proposal) -> PipelineState:
        """One more trial, perhaps the first of a later stage: its notes hold the answer that stage starts from."""
        for handed in proposal.notes["entered"]:
            state = self._enter_next_stage(state, handed)
        name, selector = self.stages[state.stage]
        stage = proposal.stage.removeprefix(name).removeprefix(".")
        own = replace(renumber_start(proposal, state.numbers), notes=proposal.notes["notes"], stage=stage)
        local = len(state.numbers)
        return replace(
            state,
            inner=selector.proposed(state.inner, local, own),
            numbers={**state.numbers, number: local},
            pending=state.pending | {number},
        )

    def told(self, state: PipelineState, number: int, outcome: Outcome) -> PipelineState:
        """The stage under way is told."""
        inner = self._selector(state.stage).told(state.inner, state.numbers[number], outcome)
        return replace(state, inner=inner, pending=state.pending - {number})

    def select(self, state: PipelineState, evidence: Evidence) -> Selection:
        """The answer of the stage under way; ``belief`` also holds the beliefs of the stages before it."""
        name, selector = self.stages[state.stage]
        selection = selector.select(state.inner, evidence)
        return replace(selection, belief={**state.beliefs, name: dict(selection.belief)})

    def active_parts(self, state: PipelineState) -> Iterator[ActivePart]:
        """The stage under way."""
        name, selector = self.stages[state.stage]
        yield ActivePart(name, selector, state.inner, handed_on=state.handed_on)

    def divide_belief(self, belief: Mapping[str, JSON]) -> Iterator[tuple[str, Selector, Mapping[str, JSON]]]:
        """Each stage that has come to a belief."""
        for name, selector in self.stages:
            if isinstance(own := belief.get(name), Mapping):
                yield name, selector, own

    def fewest(self, problem: Problem) -> int:
        """The fewest trials of all stages together, if none leaves out a task."""
        return sum(selector.fewest(problem) for _, selector in self.stages)

    def checkpoints_in_use(self, state: PipelineState) -> frozenset[int]:
        """The proposals from which the stage under way may still start."""
        held = list_checkpoints_in_use(self._selector(state.stage), state.inner)
        return frozenset(number for number, local in state.numbers.items() if local in held)

    def reading(self, state: PipelineState) -> int:
        """The reading of the stage under way: the answers of earlier stages are settled."""
        return find_reading(self._selector(state.stage), state.inner)

    def _enter_next_stage(self, state: PipelineState, handed: JSON) -> PipelineState:
        """The state at the start of the next stage, on the tasks of the answer ``handed`` on."""
        name, stage, problem = self.stages[state.stage][0], state.stage + 1, state.problem
        narrowed = replace(
            problem.keep_tasks(handed["tasks"]),
            seed=int(np.random.SeedSequence([problem.seed, stage]).generate_state(1)[0]),
            measured_with=problem.measure_seed,
        )
        beliefs = {**state.beliefs, name: handed["belief"]}
        handed_on = {**state.handed_on, name: frozenset(handed["tasks"])}
        inner = self._selector(stage).start(narrowed)
        return PipelineState(problem, stage, inner, beliefs=beliefs, handed_on=handed_on)

    def _selector(self, stage: int) -> Selector:
        return self.stages[stage][1]


@dataclass(frozen=True)
class Pipeline(Staged):
    """Any selectors in a row, by name and options: what a list under ``selector`` in a study file means."""

    paper: ClassVar[str | None] = None

    chain: tuple[tuple[str, Selector], ...] = _ANY

    def __post_init__(self) -> None:
        early = [name for name, selector in self.chain[:-1] if selector.wants().answers == "rows"]
        if early:
            raise ValueError(f"{early[0]} must be the last stage, got others after it: they would train on all rows")

    @property
    def stages(self) -> tuple[tuple[str, Selector], ...]:
        """The chain as given."""
        return self.chain
