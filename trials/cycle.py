"""The plain orders of tasks: an integer cycle, draws by share, and one after the other. None looks at any score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from auxtune.trials.recipe import Recipe
from auxtune.trials.schedule import TaskSchedule


class Cycle:
    """A fixed interleaved order: any ``sum(counts)`` steps in a row hold exactly ``counts`` of each task."""

    probe_every: int | None = None

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._slots = interleave(counts)
        self._step = 0

    def next_task(self) -> str:
        """The task in the next slot."""
        self._step += 1
        return self._slots[(self._step - 1) % len(self._slots)]

    def observe(self, score: float) -> None:
        """A cycle does not react; it asks for no probe."""

    def save(self) -> int:
        """Steps taken."""
        return self._step

    def load(self, saved: int) -> None:
        """Continue after ``saved`` steps."""
        self._step = saved


class Draws:
    """Tasks drawn by share; the draw of step t depends on the seed and t alone."""

    probe_every: int | None = None

    def __init__(self, shares: Mapping[str, float], seed: int) -> None:
        self._tasks = tuple(task for task, share in shares.items() if share > 0)
        weights = np.array([shares[task] for task in self._tasks])
        self._bounds = np.cumsum(weights / weights.sum())[:-1]
        self._seed = seed
        self._step = 0

    def next_task(self) -> str:
        """The task drawn for the next step."""
        draw = np.random.default_rng([self._seed, self._step]).random()
        self._step += 1
        return self._tasks[int(np.searchsorted(self._bounds, draw, side="right"))]

    def observe(self, score: float) -> None:
        """Draws do not react; they ask for no probe."""

    def save(self) -> int:
        """Steps taken."""
        return self._step

    def load(self, saved: int) -> None:
        """Continue after ``saved`` steps."""
        self._step = saved


class InTurn:
    """One order for ``turn`` steps, then another."""

    probe_every: int | None = None

    def __init__(self, first: TaskSchedule, second: TaskSchedule, turn: int) -> None:
        self._first, self._second, self._turn = first, second, turn
        self._step = 0

    def next_task(self) -> str:
        """The task that the order in force names."""
        self._step += 1
        return (self._first if self._step <= self._turn else self._second).next_task()

    def observe(self, score: float) -> None:
        """Plain orders do not react; they ask for no probe."""

    def save(self) -> Any:
        """Steps taken, and what both orders save."""
        return [self._step, self._first.save(), self._second.save()]

    def load(self, saved: Any) -> None:
        """Continue from what ``save`` gave."""
        self._step, first, second = saved
        self._first.load(first)
        self._second.load(second)


def interleave(counts: Mapping[str, int]) -> tuple[str, ...]:
    """One cycle, as even as integers allow: a slot goes to the task furthest behind its share, ties to the first.

    >>> interleave({"primary": 3, "other": 1})
    ('primary', 'primary', 'other', 'primary')
    """
    total = sum(counts.values())
    served = dict.fromkeys(counts, 0)
    slots = []
    for slot in range(1, total + 1):
        task = max(counts, key=lambda name: slot * counts[name] - total * served[name])
        served[task] += 1
        slots.append(task)
    return tuple(slots)


def plain_schedule(recipe: Recipe) -> TaskSchedule:
    """The order that ``recipe`` itself asks for."""
    if not recipe.first:
        return _mixed(recipe, recipe.tasks)
    rest = [task for task in recipe.tasks if task not in recipe.first]
    return InTurn(_mixed(recipe, recipe.first), _mixed(recipe, rest), recipe.turn)


def _mixed(recipe: Recipe, tasks: Sequence[str]) -> TaskSchedule:
    """The order of some of the tasks, in proportion to their shares."""
    if recipe.cycle is None:
        return Draws({task: recipe.shares[task] for task in tasks if task in recipe.shares}, recipe.seed)
    return Cycle({task: recipe.cycle[task] for task in tasks if task in recipe.cycle})
