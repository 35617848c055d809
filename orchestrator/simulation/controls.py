"""The controls where all tasks count: each task's own mixture as a group, as confirm trains them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from auxtune.selectors.methods.controls import FixedMixture
from auxtune.selectors.protocol import Answer, Done, Evidence, Outcome, Problem, Proposal, Selection


@dataclass(frozen=True)
class AsGroups:
    """A fixed mixture for each task in turn; equal ones are one group. Trains nothing: its answer is known."""

    version: ClassVar[int] = 1
    paper: ClassVar[str | None] = None
    answers: ClassVar[Answer] = "groups"
    needs_primary: ClassVar[bool] = False
    groups: ClassVar[bool] = True

    control: FixedMixture

    def start(self, problem: Problem) -> Problem:
        """The problem is all there is to know."""
        return problem

    def propose(self, state: Problem, evidence: Evidence) -> Done:
        """Nothing."""
        return Done()

    def proposed(self, state: Problem, number: int, proposal: Proposal) -> Problem:
        """The same state."""
        return state

    def told(self, state: Problem, number: int, outcome: Outcome) -> Problem:
        """The same state."""
        return state

    def select(self, state: Problem, evidence: Evidence) -> Selection:
        """Each task is served by its own mixture, or by the one that another task has, too."""
        serves: dict[frozenset[str], list[str]] = {}
        for task in state.names:
            serves.setdefault(frozenset(self.control.shares(replace(state, primary=task))), []).append(task)
        groups = tuple(
            {"tasks": [name for name in state.names if name in group], "serves": served}
            for group, served in serves.items()
        )
        return Selection("groups", state.names, groups=groups)

    def fewest(self, problem: Problem) -> int:
        """0: the answer is known."""
        return 0
