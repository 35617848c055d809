"""A simulated study: one selector driven through a synthetic benchmark, with every question and answer recorded.

As in a real study there are several trials at once, outcomes out of order, executed shares folded in place of the
requested ones, and numbers with gaps between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from auxtune.selectors.kit.mixtures import count_cycle, share_by_cycle
from auxtune.selectors.protocol import Done, Evidence, Outcome, Problem, Proposal, Selection, Selector, Wait
from auxtune.selectors.testing.benchmark import SyntheticBenchmark

Event: TypeAlias = tuple[int, Proposal | Outcome]  # a number and what was proposed or told under it


@dataclass(frozen=True)
class SimulatedStep:
    """One question: the number of events folded before it, the state, the reply, and the answer at that point."""

    folded: int
    state: Any
    reply: Proposal | Wait | Done
    selection: Selection


@dataclass(frozen=True)
class SimulatedStudy:
    """The history of a selector from its start until it was done, or had made enough proposals.

    ``evidence`` holds the measurements of all trials: more than existed at an early step, but a selector reads only
    the keys that it was told.
    """

    problem: Problem
    events: tuple[Event, ...]
    steps: tuple[SimulatedStep, ...]
    evidence: Evidence = field(default_factory=dict)

    @property
    def proposals(self) -> list[Proposal]:
        """All proposals, before their shares became whole numbers."""
        return [step.reply for step in self.steps if isinstance(step.reply, Proposal)]


def simulate_study(
    selector: Selector, problem: Problem, benchmark: SyntheticBenchmark, trials: int = 50, slots: int = 3
) -> SimulatedStudy:
    """Run ``selector`` for at most ``trials`` trials, ``slots`` at a time.

    Raises ``AssertionError`` if the selector waits although nothing is pending.
    """
    state = selector.start(problem)
    events: list[Event] = []
    steps: list[SimulatedStep] = []
    pending: list[tuple[int, Proposal]] = []
    evidence: dict[str, Mapping[str, np.ndarray]] = {}
    made = 0
    while pending or made < trials:
        if len(pending) < slots and made < trials:
            reply = selector.propose(state, evidence)
            steps.append(SimulatedStep(len(events), state, reply, selector.select(state, evidence)))
            if isinstance(reply, Proposal):
                proposal = execute_proposal(problem, reply)
                pending.append((7 + 3 * made, proposal))
                events.append(pending[-1])
                state = fold(selector, state, events[-1:])
                made += 1
                continue
            if not pending:
                assert isinstance(reply, Done), "Wait is legal only while own proposals are pending"
                break
        number, proposal = pending.pop(-(len(events) % 2))  # now the oldest, now the newest
        events.append((number, benchmark.train(problem, number, proposal)))
        evidence.update(benchmark.evidence(problem, proposal))
        state = fold(selector, state, events[-1:])
    return SimulatedStudy(problem, tuple(events), tuple(steps), evidence)


def fold(selector: Selector, state: Any, events: Iterable[Event]) -> Any:
    """The state after ``events``."""
    for number, what in events:
        if isinstance(what, Proposal):
            state = selector.proposed(state, number, what)
        else:
            state = selector.told(state, number, what)
    return state


def execute_proposal(problem: Problem, proposal: Proposal) -> Proposal:
    """The proposal with the shares that would be trained, without the tasks that get none."""
    if proposal.inner is not None or proposal.weighting == "loss" or not proposal.cycle or proposal.measure:
        return proposal
    weights = proposal.shares
    primary = problem.primary if problem.primary in weights else None
    shares = {task: share for task, share in share_by_cycle(count_cycle(weights, primary)).items() if share > 0}
    return replace(proposal, tasks=tuple(shares), weights=shares)
