"""How an inner selector is folded: the only record of its work inside a run is a list of rounds.

An inner selector follows the same protocol as any other. Its proposal is one task for one round of optimisation steps;
its outcome's score is the main metric on the probe split after that round. Rounds follow one another, so the number
of a round is its place in the list. A run's checkpoint saves the list and its result carries it; code that needs the
state folds the list again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from auxtune.selectors.protocol import Inner, Outcome, Problem, Proposal, Selector


def read_inner(problem: Problem, proposal: Proposal) -> tuple[Inner, Problem]:
    """The inner selector of ``proposal``'s run, and the problem it starts with: the run's tasks and the inner seed.

    Raises ``ValueError`` if the proposal has no inner selector.
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
