"""The order of tasks inside a run: how it may be steered from outside, and the plain orders that ignore scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from auxtune.trials.recipe import Recipe


class TaskSchedule(Protocol):
    """Decides which task each step trains.

    With ``probe_every`` set, the run scores the primary on its probe split after every that many steps and calls
    ``observe``. ``save`` gives JSON from which ``load`` continues exactly.
    """

    probe_every: int | None

    def next_task(self) -> str:
        """The task of the next optimisation step."""

    def observe(self, score: float) -> None:
        """The score on the probe split after the last ``probe_every`` steps, of the kind that the recipe names."""

    def save(self) -> Any:
        """Everything that decides the further order, as JSON."""

    def load(self, saved: Any) -> None:
        """Continue from what ``save`` gave."""


class InterleavedSchedule:
    """A fixed interleaved order: any ``sum(counts)`` consecutive steps hold exactly ``counts`` of each task."""

    probe_every: int | None = None

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._slots = interleave_tasks(counts)
        self._step = 0

    def next_task(self) -> str:
        """The task in the next slot."""
        self._step += 1
        return self._slots[(self._step - 1) % len(self._slots)]

    def observe(self, score: float) -> None:
        """Does not react, and asks for no probe."""

    def save(self) -> int:
        """Steps taken."""
        return self._step

    def load(self, saved: int) -> None:
        """Continue after ``saved`` steps."""
        self._step = saved


class SampledSchedule:
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
        """Does not react, and asks for no probe."""

    def save(self) -> int:
        """Steps taken."""
        return self._step

    def load(self, saved: int) -> None:
        """Continue after ``saved`` steps."""
        self._step = saved


class SequentialSchedule:
    """One order for ``switch`` steps, then another."""

    probe_every: int | None = None

    def __init__(self, first: TaskSchedule, second: TaskSchedule, switch: int) -> None:
        self._first, self._second, self._switch = first, second, switch
        self._step = 0

    def next_task(self) -> str:
        """The next task of the current order."""
        self._step += 1
        return (self._first if self._step <= self._switch else self._second).next_task()

    def observe(self, score: float) -> None:
        """Does not react, and asks for no probe."""

    def save(self) -> Any:
        """Steps taken, and what both orders save."""
        return [self._step, self._first.save(), self._second.save()]

    def load(self, saved: Any) -> None:
        """Continue from what ``save`` gave."""
        self._step, first, second = saved
        self._first.load(first)
        self._second.load(second)


def interleave_tasks(counts: Mapping[str, int]) -> tuple[str, ...]:
    """One cycle, as even as integers allow: a slot goes to the task furthest behind its share, ties to the first.

    >>> interleave_tasks({"primary": 3, "other": 1})
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


def build_schedule(recipe: Recipe) -> TaskSchedule:
    """The order that ``recipe`` itself asks for."""
    if not recipe.source_tasks:
        return _mix_tasks(recipe, recipe.tasks)
    rest = [task for task in recipe.tasks if task not in recipe.source_tasks]
    return SequentialSchedule(_mix_tasks(recipe, recipe.source_tasks), _mix_tasks(recipe, rest), recipe.transfer_step)


def _mix_tasks(recipe: Recipe, tasks: Sequence[str]) -> TaskSchedule:
    """The order of some of the tasks, in proportion to their shares."""
    if recipe.cycle is None:
        return SampledSchedule({task: recipe.shares[task] for task in tasks if task in recipe.shares}, recipe.seed)
    return InterleavedSchedule({task: recipe.cycle[task] for task in tasks if task in recipe.cycle})
