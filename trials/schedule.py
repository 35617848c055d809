"""How the order of tasks inside a run may be steered from outside."""

from __future__ import annotations

from typing import Any, Protocol


class TaskSchedule(Protocol):
    """Says which task each step trains.

    With ``probe_every`` set, the run scores the primary on its probe split after every that many steps and calls
    ``observe``. ``save`` gives JSON from which ``load`` continues exactly.
    """

    probe_every: int | None

    def next_task(self) -> str:
        """The task of the next optimisation step."""

    def observe(self, score: float) -> None:
        """The score on the probe split after the last ``probe_every`` steps, of the kind that the recipe names."""

    def save(self) -> Any:
        """All that decides the coming order, as JSON."""

    def load(self, saved: Any) -> None:
        """Continue from what ``save`` gave."""
