"""Lets a selector steer inside a run: each round it picks one task and is told the score on the probe split."""

from __future__ import annotations

from typing import Any

from auxtune.selectors.border import check_answer
from auxtune.selectors.kit.rounds import read_inner
from auxtune.selectors.protocol import Outcome, Problem, Proposal
from auxtune.selectors.registry import make_inner


class SelectorSchedule:
    """The inner selector of a proposal as the ``TaskSchedule`` of its training run.

    Its whole memory is the list of rounds, ``[task, score]`` each: the selector's state is their fold.
    """

    def __init__(self, proposal: Proposal, problem: Problem) -> None:
        """``problem`` is the study's. Raises ``ValueError`` where the proposal has no inner selector."""
        inner, self._problem = read_inner(problem, proposal)
        self.probe_every: int | None = inner.round_steps
        self._selector = make_inner(inner.name, inner.options)
        self._rounds: list[tuple[str, float]] = []
        self._state: Any = None
        self._task = ""
        self._begin()

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
        """Fold the rounds that ``save`` gave. Raises ``ValueError`` where the selector would have chosen otherwise."""
        self._begin()
        for task, score in saved:
            if task != self._task:
                raise ValueError(f"round {len(self._rounds)} trained {task}, the selector now asks for {self._task}")
            self.observe(score)

    def _begin(self) -> None:
        self._rounds = []
        self._state = self._selector.start(self._problem)
        self._ask()

    def _ask(self) -> None:
        asked = self._selector.propose(self._state, {})
        check_answer("round", self._problem, asked)
        assert isinstance(asked, Proposal)  # as was just checked
        self._state = self._selector.proposed(self._state, len(self._rounds), asked)
        self._task = asked.tasks[0]
