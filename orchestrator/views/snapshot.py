"""What there is to see of a study at one moment: plain values, from which the live view is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class RunningTrial:
    """A trial at work. ``started`` is in seconds since the epoch; ``step`` is its last evaluation's, if known."""

    id: int
    phase: str
    tasks: str  # with their shares
    attempt: int
    started: float
    step: int | None
    steps: int  # 0: it only measures


@dataclass(frozen=True)
class Spent:
    """A limit of the budget, and what was spent of it; ``None``: unknown, for want of a price."""

    key: str
    spent: float | None
    limit: float


@dataclass(frozen=True)
class StudySnapshot:
    """One study. ``answer`` are lines on what confirm has shown; ``trouble`` is what should worry people."""

    study: str
    state: str
    selector: str
    counts: Mapping[str, int]  # trials in each state
    running: tuple[RunningTrial, ...]
    best: str
    answer: tuple[str, ...]
    belief: str
    budget: tuple[Spent, ...]
    remaining_work: str
    trouble: tuple[str, ...]
