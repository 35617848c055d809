"""Estimates what training will take from what it took: pure arithmetic on measured seconds.

Two sources, the better one first. Finished trials of the study give seconds per optimisation step with all that comes
with it: evaluations, checkpoints, neighbours on the same machine. A smoke test gives, per task, seconds per step and
per evaluated row. Without either nothing is known, and ``None`` says so: no number here is made up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol

from auxtune.orchestrator.planning.budget import HOUR, Price, estimate_passing
from auxtune.orchestrator.planning.slots import Slots
from auxtune.trials.recipe import Recipe
from auxtune.trials.result import Cost, SmokeFigures


@dataclass(frozen=True)
class Spread:
    """An estimate with the lowest and highest value it may have; these are unknown where it rests on one trial."""

    mean: float
    low: float | None
    high: float | None

    def __add__(self, other: Spread) -> Spread:
        return combine_spreads(sum, [self, other])


def combine_spreads(total: Callable[[Sequence[float]], float], parts: Sequence[Spread]) -> Spread:
    """``total`` of the means, of the lows and of the highs; it must rise with each of its values."""
    lows = [part.low for part in parts if part.low is not None]
    highs = [part.high for part in parts if part.high is not None]
    return Spread(
        mean=total([part.mean for part in parts]),
        low=total(lows) if len(lows) == len(parts) else None,
        high=total(highs) if len(highs) == len(parts) else None,
    )


def enclose_spreads(parts: Sequence[Spread]) -> Spread | None:
    """The mean of all, and a spread that holds those of all; ``None`` of none."""
    if not parts:
        return None
    lows = [part.mean if part.low is None else part.low for part in parts]
    highs = [part.mean if part.high is None else part.high for part in parts]
    return Spread(fmean(part.mean for part in parts), min(lows), max(highs))


@dataclass(frozen=True)
class Work:
    """The work of a trial. ``least_steps`` differs from ``steps``, the most, where its tasks are not known yet.

    ``shares`` is ``None`` where they are decided later or inside the run, by a steered trial; they are then those of
    ``tasks`` in some proportion. ``evaluated`` counts the rows scored over the whole trial.
    """

    tasks: tuple[str, ...]
    steps: int
    least_steps: int
    shares: Mapping[str, float] | None
    evaluated: Mapping[str, int]
    steered: bool


def estimate_work(
    recipe: Recipe, rows: Mapping[str, Mapping[str, int]], rounds: int | None, least_steps: int | None = None
) -> Work:
    """The work of ``recipe`` on tasks with ``rows`` per split; ``rounds`` are those of a steered trial.

    ``least_steps`` is given where the recipe only stands for one that is not known yet.
    """
    evaluations = -(-recipe.steps // recipe.evaluate_every)  # the last step is evaluated too
    evaluated = {
        name: evaluations * rows[name]["validation"]
        + (rounds or 0) * rows[name]["probe"]
        + (rows[name]["test"] if name in recipe.test else 0)
        for name in recipe.evaluate
    }
    known = rounds is None and least_steps is None
    return Work(
        tasks=recipe.tasks,
        steps=recipe.steps,
        least_steps=recipe.steps if least_steps is None else least_steps,
        shares=recipe.shares if known else None,
        evaluated=evaluated,
        steered=rounds is not None,
    )


class Throughput(Protocol):
    """Knows how fast trials are."""

    def seconds(self, work: Work) -> Spread | None:
        """Wall seconds of one trial, or ``None`` where they are unknown."""


@dataclass(frozen=True)
class TrialThroughput:
    """Seconds per optimisation step of finished trials: of those that were steered inside, and of the others."""

    plain: tuple[float, ...]
    steered: tuple[float, ...]

    def seconds(self, work: Work) -> Spread | None:
        """As trials of its kind took, else as those of the other kind; without any, unknown."""
        like, other = (self.steered, self.plain) if work.steered else (self.plain, self.steered)
        measured = like or other
        if not measured:
            return None
        mean = fmean(measured) * work.steps
        if len(measured) == 1:  # one trial does not tell how far others may be from it
            return Spread(mean, None, None)
        return Spread(mean, min(measured) * work.least_steps, max(measured) * work.steps)


@dataclass(frozen=True)
class SmokeThroughput:
    """Figures of a smoke test by task; tasks that failed it are absent."""

    figures: Mapping[str, SmokeFigures]

    def seconds(self, work: Work) -> Spread | None:
        """Steps by the tasks' shares and evaluations by their rows; unknown where a task's figures are.

        Where shares are not known, the mean is of equal ones, and fastest and slowest task are the limits.
        """
        if not {*work.tasks, *work.evaluated} <= self.figures.keys():
            return None
        tasks = [self.figures[name] for name in work.tasks]
        evaluating = sum(
            rows * self.figures[name].seconds_per_evaluation / self.figures[name].evaluated_rows
            for name, rows in work.evaluated.items()
        )
        if work.shares is None:
            mean = fmean(task.seconds_per_step for task in tasks)
            low, high = min(task.fastest for task in tasks), max(task.slowest for task in tasks)
        else:
            shares = [work.shares[name] for name in work.tasks]
            mean = sum(share * task.seconds_per_step for share, task in zip(shares, tasks, strict=True))
            low = sum(share * task.fastest for share, task in zip(shares, tasks, strict=True))
            high = sum(share * task.slowest for share, task in zip(shares, tasks, strict=True))
        return Spread(
            mean * work.steps + evaluating, low * work.least_steps + evaluating, high * work.steps + evaluating
        )


def average_spreads(parts: Sequence[Spread]) -> Spread | None:
    """The mean of estimates; ``None`` of none."""
    return combine_spreads(fmean, parts) if parts else None


_NOISE = 1e-9  # of a trial: float noise must not make room for one


@dataclass(frozen=True)
class CostEstimate:
    """The cost of some trials; ``usd`` is unknown without prices."""

    trials: int
    wall_hours: Spread
    cpu_hours: Spread
    gpu_hours: Spread
    usd: Spread | None

    def __add__(self, other: CostEstimate) -> CostEstimate:
        return CostEstimate(
            self.trials + other.trials,
            self.wall_hours + other.wall_hours,
            self.cpu_hours + other.cpu_hours,
            self.gpu_hours + other.gpu_hours,
            self.usd + other.usd if self.usd is not None and other.usd is not None else None,
        )


def estimate_cost(seconds: Sequence[Spread], slots: Slots, price: Price) -> CostEstimate:
    """The cost of trials of ``seconds`` each, side by side in ``slots``."""
    hours = combine_spreads(sum, [Spread(0.0, 0.0, 0.0), *seconds])
    second = price_second(slots, price)
    return CostEstimate(
        trials=len(seconds),
        wall_hours=combine_spreads(lambda each: estimate_passing(each, slots.concurrent) / HOUR, seconds),
        cpu_hours=_scale_spread(hours, slots.cpus / HOUR),
        gpu_hours=_scale_spread(hours, slots.gpus / HOUR),
        usd=None if second is None else _scale_spread(hours, second),
    )


def price_second(slots: Slots, price: Price) -> float | None:
    """The price of one second of one trial in US dollars."""
    return price.usd(Cost(wall_seconds=1.0, gpu_seconds=slots.gpus, cpu_seconds=slots.cpus))


@dataclass(frozen=True)
class Room:
    """How many more search trials a limit allows: at the mean estimate, at the slowest and at the fastest.

    ``None`` is unknown; ``few`` and ``many`` are ``None`` also where the spread is.
    """

    limit: str
    trials: int | None
    few: int | None = None
    many: int | None = None


def find_room(
    limits: Mapping[str, float],
    spent: Mapping[str, float | None],
    each: Spread | None,
    confirm: CostEstimate | None,
    held: int,
    slots: Slots,
    price: Price,
    doubled: bool = False,
) -> list[Room]:
    """The room that each of the budget's ``limits`` leaves, after what is ``spent`` and confirm's ``held`` trials.

    ``each`` is the seconds of a search trial and ``confirm`` the cost of the held ones, where these are known. A limit
    on what trials do not use leaves any room and is left out. ``doubled``: a control will cost as much as the search,
    so a search trial takes twice what it costs itself.
    """
    found = []
    times = 2 if doubled else 1
    each = None if each is None else _scale_spread(each, times)
    for limit, most in limits.items():
        if limit == "trials":
            left = max(0, int(most) - int(spent["trials"] or 0) - held) // times
            found.append(Room(limit, left, left, left))
        elif (per_second := _limit_per_second(limit, slots, price)) != 0:
            reserve: Spread | None = getattr(confirm, limit, None)
            left_over = None if (past := spent[limit]) is None else most - past
            at_once = slots.concurrent if limit == "wall_hours" else 1
            found.append(_find_room_in(limit, left_over, reserve, each, per_second, at_once))
    return found


def _limit_per_second(limit: str, slots: Slots, price: Price) -> float | None:
    """How much of a limit one second of a trial takes; ``None`` where that is unknown."""
    per_second = {
        "wall_hours": 1 / HOUR / slots.concurrent,
        "gpu_hours": slots.gpus / HOUR,
        "usd": price_second(slots, price),
    }
    return per_second[limit]


def _find_room_in(
    limit: str, left: float | None, reserve: Spread | None, each: Spread | None, per_second: float | None, at_once: int
) -> Room:
    """The room in what is ``left`` of a limit, of which confirm takes ``reserve``; unknown where any of it is."""
    if per_second is None or each is None or reserve is None or left is None:
        return Room(limit, None)
    return Room(
        limit,
        _count(left - reserve.mean, each.mean * per_second, at_once),
        _bound(left, reserve.high, each.high, per_second, at_once),
        _bound(left, reserve.low, each.low, per_second, at_once),
    )


def _bound(left: float, reserve: float | None, each: float | None, per_second: float, at_once: int) -> int | None:
    return None if reserve is None or each is None else _count(left - reserve, each * per_second, at_once)


def _count(left: float, each: float, at_once: int) -> int:
    """How many trials of ``each`` stay below ``left``; a limit that is just reached forbids the trial.

    The first trials take as long as one does alone, however many slots stay empty.
    """
    if each * at_once >= left:
        return 0
    return max(0, math.ceil(left / each - _NOISE) - 1)


def _scale_spread(spread: Spread, by: float) -> Spread:
    return combine_spreads(lambda values: values[0] * by, [spread])
