"""Runs that are there to be measured: of each task alone, with label-shuffled twins of some, or of all tasks together.

No source: methods that measure the same runs all ask for the same ones, with the problem's own seed (in a pipeline,
that of its first stage), so that what one stage or study has measured serves the next. All single runs may go side by
side.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from auxtune.selectors.protocol import Done, Evidence, Measure, Outcome, Problem, Proposal

Run: TypeAlias = tuple[str, int | None]  # a task, and the seed that shuffles its labels, if any does


@dataclass(frozen=True)
class SingleRuns:
    """The runs wanted, those asked for by number, and what they came to."""

    problem: Problem
    wanted: tuple[Run, ...]
    asked: Mapping[int, Run] = field(default_factory=dict)
    told: Mapping[Run, Outcome] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Whether every run has ended, well or not."""
        return all(run in self.told for run in self.wanted)

    def next(self, measure: Sequence[Measure], trains: bool = True) -> Proposal | None:
        """The next run to ask for, with all of ``measure``; ``None`` where all are asked for."""
        left = [run for run in self.wanted if run not in self.asked.values()]
        if not left:
            return None
        task, shuffled = left[0]
        return Proposal(
            (task,),
            measure=tuple(measure),
            seed=self.problem.measure_seed,
            trains=trains,
            shuffled=shuffled,
            stage="single",
        )

    def proposed(self, number: int, proposal: Proposal) -> SingleRuns:
        """One run more is under way."""
        return replace(self, asked={**self.asked, number: (proposal.tasks[0], proposal.shuffled)})

    def ended(self, number: int, outcome: Outcome) -> SingleRuns:
        """One run more is over."""
        return replace(self, told={**self.told, self.asked[number]: outcome})

    def key(self, task: str, probe: str, shuffled: int | None = None) -> str | None:
        """Where the evidence of a run is; ``None`` if the run failed or is not over."""
        outcome = self.told.get((task, shuffled))
        return None if outcome is None else outcome.evidence.get(probe)

    def keys(self, probe: str) -> dict[Run, str]:
        """Where the evidence of every run is that gave some, in the order in which they are wanted.

        Last come runs that an earlier version asked for and this one does not.
        """
        runs = dict.fromkeys((*self.wanted, *self.asked.values()))
        return {run: key for run in runs if (key := self.key(run[0], probe, run[1])) is not None}


class FromSingleRuns:
    """The folds of a selector whose whole state is its single-task runs."""

    def proposed(self, state: SingleRuns, number: int, proposal: Proposal) -> SingleRuns:
        """One run more is under way."""
        return state.proposed(number, proposal)

    def told(self, state: SingleRuns, number: int, outcome: Outcome) -> SingleRuns:
        """One run more is over."""
        return state.ended(number, outcome)


@dataclass(frozen=True)
class JointRun:
    """Whether the joint run was asked for, and where its evidence is once it went well."""

    problem: Problem
    asked: bool = False
    key: str | None = None


class FromJointRun(ABC):
    """The folds of a selector whose evidence is one run of all tasks together."""

    @property
    @abstractmethod
    def measure(self) -> Measure:
        """What is measured of the joint run."""

    def start(self, problem: Problem) -> JointRun:
        """Nothing asked for."""
        return JointRun(problem)

    def propose(self, state: JointRun, evidence: Evidence) -> Proposal | Done:
        """All tasks together, once; nothing where there is one task only."""
        if state.asked or len(state.problem.names) == 1:
            return Done()
        seed = state.problem.measure_seed
        return Proposal(state.problem.names, measure=(self.measure,), seed=seed, stage="joint")

    def proposed(self, state: JointRun, number: int, proposal: Proposal) -> JointRun:
        """The joint run is under way."""
        return replace(state, asked=True)

    def told(self, state: JointRun, number: int, outcome: Outcome) -> JointRun:
        """The joint run is over, well or not."""
        return replace(state, key=outcome.evidence.get(self.measure.probe))

    def fewest(self, problem: Problem) -> int:
        """The joint run, unless there is one task only."""
        return min(1, len(problem.names) - 1)


def single_runs(problem: Problem, twins: int = 0) -> SingleRuns:
    """A run of each task, the primary first, and ``twins`` with shuffled labels, of the auxiliaries in turn."""
    first = [] if problem.primary is None else [problem.primary]
    alone: list[Run] = [(task, None) for task in (*first, *(name for name in problem.names if name not in first))]
    seeds = np.random.SeedSequence([problem.measure_seed, 5]).generate_state(twins).tolist()
    return SingleRuns(problem, (*alone, *zip(itertools.cycle(problem.auxiliaries), seeds, strict=False)))
