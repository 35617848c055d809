"""How many trials really ran at the same time, measured from what the ledger says of their attempts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auxtune.orchestrator.record.accounts import Accounts, Attempt, Trial


@dataclass(frozen=True)
class Concurrency:
    """Attempts at once: the most, and on average over the time in which any ran."""

    peak: int
    mean: float


def concurrency_of(accounts: Accounts) -> Concurrency | None:
    """From when each ended attempt was at work, and for how long; ``None`` before the first ended."""
    attempts = [(trial, attempt) for trial in accounts.trials.values() for attempt in trial.attempts]
    spans = [_span(trial, attempt, a.wall_seconds) for trial, attempt in attempts if (a := attempt.cost)]
    worked = [(start, end) for start, end in spans if end > start]
    return _overlap(worked) if worked else None


def _span(trial: Trial, attempt: Attempt, seconds: float) -> tuple[float, float]:
    """A result comes at the end of the work; before its beginning a process, or a whole node, may have had to start.

    Of an attempt without a result only the beginning is known: its end was noticed some time later.
    """
    told = trial.told
    end = told.time if told is not None and told.attempt == attempt.number else attempt.started + seconds
    return end - seconds, end


def _overlap(spans: Sequence[tuple[float, float]]) -> Concurrency:
    # At one moment ends come before starts: what follows at once does not overlap.
    turns = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    running, peak, busy, since = 0, 0, 0.0, 0.0
    for moment, change in turns:
        busy += moment - since if running else 0.0
        running, since = running + change, moment
        peak = max(peak, running)
    return Concurrency(peak, sum(end - start for start, end in spans) / busy)
