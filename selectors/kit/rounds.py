"""How an inner selector is folded: all that is kept of what it did inside a run is a list of rounds.

An inner selector speaks the same protocol as any other: its proposal is one task for one round of optimisation steps,
its outcome's score is the main metric on the probe split after that round. Rounds follow one another, so the number
of a round is its number in the list. A run's checkpoint saves the list, its report carries it, and whoever wants the
state folds it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from auxtune.selectors.protocol import Inner, Outcome, Problem, Proposal, Selector


def inside(problem: Problem, proposal: Proposal) -> tuple[Inner, Problem]:
    """What steers ``proposal``'s run, and what it is started with: the tasks of the run and the inner seed.

    Raises ``ValueError`` where the proposal has no inner selector.
    """
    if proposal.inner is None:
        raise ValueError("the proposal has no inner selector")
    tasks = tuple(task for task in problem.tasks if task.name in proposal.tasks)
    return proposal.inner, replace(problem, tasks=tasks, seed=proposal.inner.seed)


def fold_rounds(inner: Selector, problem: Problem, rounds: Iterable[tuple[str, float]]) -> Any:
    """The inner selector's state after ``rounds`` of ``(task, score on probe)``."""
    state = inner.start(problem)
    for number, (task, score) in enumerate(rounds):
        state = inner.proposed(state, number, Proposal((task,)))
        state = inner.told(state, number, Outcome(score))
    return state
