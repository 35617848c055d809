"""Runs that exist to be measured: each task alone, label-shuffled twins of some tasks, or all tasks together.

No source. Methods that measure the same runs all ask for the same ones, with the problem's own seed (in a pipeline that
of its first stage), so that measurements of one stage or study serve the next. All single-task runs may run at once.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from auxtune.selectors.protocol import Done, Evidence, Measure, Outcome, Problem, Proposal

Run: TypeAlias = tuple[str, int | None]  # a task, and the seed that shuffles its labels, if they are shuffled


@dataclass(frozen=True)
class SingleRuns:
    """The runs wanted, those proposed by number, and their outcomes."""

    problem: Problem
    wanted: tuple[Run, ...]
    asked: Mapping[int, Run] = field(default_factory=dict)
    told: Mapping[Run, Outcome] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Whether every run has ended, successfully or not."""
        return all(run in self.told for run in self.wanted)

    def propose_next(self, measure: Sequence[Measure], trains: bool = True) -> Proposal | None:
        """The next run, measured by all of ``measure``; ``None`` if every run was proposed."""
        remaining_runs = [run for run in self.wanted if run not in self.asked.values()]
        if not remaining_runs:
            return None
        task, shuffled = remaining_runs[0]
        return Proposal(
            (task,),
            measure=tuple(measure),
            seed=self.problem.measure_seed,
            trains=trains,
            shuffled=shuffled,
            stage="single",
        )

    def add_proposal(self, number: int, proposal: Proposal) -> SingleRuns:
        """One more run is under way."""
        return replace(self, asked={**self.asked, number: (proposal.tasks[0], proposal.shuffled)})

    def add_outcome(self, number: int, outcome: Outcome) -> SingleRuns:
        """One more run is over."""
        return replace(self, told={**self.told, self.asked[number]: outcome})

    def find_key(self, task: str, probe: str, shuffled: int | None = None) -> str | None:
        """The key of a run's evidence; ``None`` if the run failed or is not over."""
        outcome = self.told.get((task, shuffled))
        return None if outcome is None else outcome.evidence.get(probe)

    def list_keys(self, probe: str) -> dict[Run, str]:
        """The key of the evidence of every run that left some, in the order of ``wanted``.

        Runs that an earlier version proposed and this one does not come last.
        """
        runs = dict.fromkeys((*self.wanted, *self.asked.values()))
        return {run: key for run in runs if (key := self.find_key(run[0], probe, run[1])) is not None}


class FromSingleRuns:
    """The folds of a selector whose whole state is its single-task runs."""

    def proposed(self, state: SingleRuns, number: int, proposal: Proposal) -> SingleRuns:
        """One more run is under way."""
        return state.add_proposal(number, proposal)

    def told(self, state: SingleRuns, number: int, outcome: Outcome) -> SingleRuns:
        """One more run is over."""
        return state.add_outcome(number, outcome)


@dataclass(frozen=True)
class JointRun:
    """Whether the joint run was proposed, and the key of its evidence once it succeeded."""

    problem: Problem
    asked: bool = False
    key: str | None = None


class FromJointRun(ABC):
    """The folds of a selector whose evidence is one run of all tasks together."""

    @property
    @abstractmethod
    def measure(self) -> Measure:
        """The measurement of the joint run."""

    def start(self, problem: Problem) -> JointRun:
        """Nothing proposed yet."""
        return JointRun(problem)

    def propose(self, state: JointRun, evidence: Evidence) -> Proposal | Done:
        """All tasks together, once; nothing for a single task."""
        if state.asked or len(state.problem.names) == 1:
            return Done()
        seed = state.problem.measure_seed
        return Proposal(state.problem.names, measure=(self.measure,), seed=seed, stage="joint")

    def proposed(self, state: JointRun, number: int, proposal: Proposal) -> JointRun:
        """The joint run is under way."""
        return replace(state, asked=True)

    def told(self, state: JointRun, number: int, outcome: Outcome) -> JointRun:
        """The joint run is over, successfully or not."""
        return replace(state, key=outcome.evidence.get(self.measure.probe))

    def fewest(self, problem: Problem) -> int:
        """The joint run, unless there is only one task."""
        return min(1, len(problem.names) - 1)


def plan_single_runs(problem: Problem, twins: int = 0) -> SingleRuns:
    """A run of each task, the primary first, then ``twins`` runs of the auxiliaries in turn with shuffled labels."""
    first = [] if problem.primary is None else [problem.primary]
    alone: list[Run] = [(task, None) for task in (*first, *(name for name in problem.names if name not in first))]
    seeds = np.random.SeedSequence([problem.measure_seed, 5]).generate_state(twins).tolist()
    return SingleRuns(problem, (*alone, *zip(itertools.cycle(problem.auxiliaries), seeds, strict=False)))
