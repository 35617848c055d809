"""Lets a selector steer inside a run: each round it picks one task, and hears the score on the probe split."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from auxtune.selectors.protocol import Inner, Outcome, Problem, Proposal
from auxtune.selectors.registry import make_inner


class SelectorSchedule:
    """An inner selector as the ``TaskSchedule`` of a training run.

    Its whole memory is the list of rounds, ``[task, score]`` each: the selector's state is their fold.
    """

    def __init__(self, inner: Inner, problem: Problem, tasks: tuple[str, ...]) -> None:
        """``tasks`` are those of the run, of the study's ``problem``."""
        self.probe_every: int | None = inner.round_steps
        self._selector = make_inner(inner.name, inner.options)
        infos = tuple(info for info in problem.tasks if info.name in tasks)
        self._problem = replace(problem, tasks=infos, seed=inner.seed)
        self._state: Any = None
        self._task = ""
        self._rounds: list[tuple[str, float]] = []
        self.load([])

    def next_task(self) -> str:
        """The task of the present round."""
        return self._task

    def observe(self, score: float) -> None:
        """The present round is over; ask for the next."""
        self._rounds.append((self._task, score))
        self._state = self._selector.told(self._state, len(self._rounds) - 1, Outcome(score))
        self._ask()

    def save(self) -> list[list[Any]]:
        """The rounds so far."""
        return [[task, score] for task, score in self._rounds]

    def load(self, saved: list[list[Any]]) -> None:
        """Fold the rounds that ``save`` gave."""
        self._rounds = []
        self._state = self._selector.start(self._problem)
        self._ask()
        for _, score in saved:
            self.observe(float(score))

    def _ask(self) -> None:
        asked = self._selector.propose(self._state, {})
        if not isinstance(asked, Proposal):
            raise ValueError(f"an inner selector must name a task for every round, got {asked}")
        self._state = self._selector.proposed(self._state, len(self._rounds), asked)
        self._task = asked.tasks[0]
