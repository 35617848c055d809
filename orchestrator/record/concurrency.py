"""How many trials really ran at the same time, measured from what the ledger says of their attempts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auxtune.orchestrator.record.accounts import Accounts


@dataclass(frozen=True)
class Concurrency:
    """Attempts at once: the most, and on average over the time in which any ran."""

    peak: int
    mean: float


def concurrency_of(accounts: Accounts) -> Concurrency | None:
    """From when each ended attempt started and how long it worked; ``None`` before the first ended."""
    attempts = [attempt for trial in accounts.trials.values() for attempt in trial.attempts]
    spans = [(a.started, a.started + a.cost.wall_seconds) for a in attempts if a.cost and a.cost.wall_seconds > 0]
    return _overlap(spans) if spans else None


def _overlap(spans: Sequence[tuple[float, float]]) -> Concurrency:
    # At one moment ends come before starts: what follows at once does not overlap.
    turns = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    running, peak, busy, since = 0, 0, 0.0, 0.0
    for moment, change in turns:
        busy += moment - since if running else 0.0
        running, since = running + change, moment
        peak = max(peak, running)
    return Concurrency(peak, sum(end - start for start, end in spans) / busy)
