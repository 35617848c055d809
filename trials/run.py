"""What a worker asks of a run, whatever trains it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from auxtune.trials.encoded import EncodedTask
from auxtune.trials.probes.probe import Arrays
from auxtune.trials.result import Cost, Result


class Run(Protocol):
    """One attempt at a training, taken a little further at a time.

        while not run.finished:
            run.advance()
        result = run.result()

    A run that ends early for a reason of its own raises; what it cost until then is still asked for. ``measure`` and
    ``save_weights`` are called after ``result`` alone, and of the weights that count.
    """

    @property
    def step(self) -> int:
        """Optimisation steps taken."""

    @property
    def finished(self) -> bool:
        """Whether the last step was taken, and what came of it was scored."""

    @property
    def score(self) -> float | None:
        """The score at this very step, higher is better; ``None`` where it was not evaluated here."""

    def advance(self) -> None:
        """Train for at most a few more seconds, and evaluate or save where that is due. Raises once finished."""

    def interrupt(self) -> None:
        """Have ``advance`` return after the step that it is taking; for a signal's handler."""

    def save(self) -> None:
        """Write a checkpoint into the run's folder. Raises ``OSError``; the one before then stays."""

    def load(self, checkpoint: Path) -> None:
        """Continue from a checkpoint. Raises ``ValueError`` for one that is damaged or of another run."""

    def result(self) -> Result:
        """The end of a finished run, with all its scores and its cost."""

    def cost(self) -> Cost:
        """What this attempt took so far; a failed one is charged too."""

    def measure(self, probe: str, texts: EncodedTask | None = None) -> Arrays:
        """The arrays of a probe, ``texts`` being the batch that tasks share. Raises ``ProbeError``."""

    def save_weights(self, folder: Path) -> None:
        """Write the weights into ``folder``, for another run to start from. Raises ``OSError``."""
