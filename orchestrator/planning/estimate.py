"""What training will take, from what training took: pure arithmetic on measured seconds.

Two sources, the better one first. Finished trials of the study give seconds per optimisation step with all that comes
with it: evaluations, checkpoints, neighbours on the same machine. A smoke test gives, per task, seconds per step and
per evaluated row. Without either nothing is known, and ``None`` says so: no number here is made up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol

from auxtune.trials.recipe import Recipe
from auxtune.trials.result import SmokeFigures


@dataclass(frozen=True)
class Spread:
    """An estimate with the lowest and highest value it may have; these are unknown where it rests on one trial."""

    mean: float
    low: float | None
    high: float | None

    def __add__(self, other: Spread) -> Spread:
        return combined(sum, [self, other])


def combined(total: Callable[[Sequence[float]], float], parts: Sequence[Spread]) -> Spread:
    """``total`` of the means, of the lows and of the highs; it must rise with each of its values."""
    lows = [part.low for part in parts if part.low is not None]
    highs = [part.high for part in parts if part.high is not None]
    return Spread(
        mean=total([part.mean for part in parts]),
        low=total(lows) if len(lows) == len(parts) else None,
        high=total(highs) if len(highs) == len(parts) else None,
    )


def hull(parts: Sequence[Spread]) -> Spread | None:
    """The mean of all, and a spread that holds those of all; ``None`` of none."""
    if not parts:
        return None
    lows = [part.mean if part.low is None else part.low for part in parts]
    highs = [part.mean if part.high is None else part.high for part in parts]
    return Spread(fmean(part.mean for part in parts), min(lows), max(highs))


@dataclass(frozen=True)
class Work:
    """What a trial does. ``least_steps`` differs from ``steps``, the most, where its tasks are not known yet.

    ``shares`` is ``None`` where they are decided later or inside the run, by a steered trial; they are then those of
    ``tasks`` in some proportion. ``evaluated`` counts the rows scored over the whole trial.
    """

    tasks: tuple[str, ...]
    steps: int
    least_steps: int
    shares: Mapping[str, float] | None
    evaluated: Mapping[str, int]
    steered: bool


def work_of(
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


class Pace(Protocol):
    """Knows how fast trials are."""

    def seconds(self, work: Work) -> Spread | None:
        """Wall seconds of one trial, or ``None`` where they are unknown."""


@dataclass(frozen=True)
class TrialPace:
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
class SmokePace:
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


def average(parts: Sequence[Spread]) -> Spread | None:
    """The mean of estimates; ``None`` of none."""
    return combined(fmean, parts) if parts else None
