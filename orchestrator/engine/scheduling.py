"""Which worker a trial waits for: its own."""

from __future__ import annotations

from typing import Any

from ray.tune.schedulers import FIFOScheduler


class OwnActors(FIFOScheduler):
    """First come, first served, and a trial keeps the actor that was requested for it.

    Ray's scheduler names a waiting trial at every turn, and Ray then gives that trial the next actor that becomes free
    and ends the one that is still starting for it. Where trials are shorter than the start of a process, that never
    ends: one worker does all the work, and the others are started for nothing. Here no trial is named; Ray gives a free
    actor to the next trial that has none.
    """

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """None in particular."""
