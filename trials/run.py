"""The interface of a run to its worker, whatever trains it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from auxtune.trials.probes.probe import Arrays
from auxtune.trials.result import Cost, Result
from auxtune.trials.tokens import EncodedTask


class Run(Protocol):
    """One attempt at a training, taken a little further at a time.

        while not run.finished:
            run.advance()
        result = run.result()

    A run that ends early for a reason of its own raises; its cost until then is still asked for. ``measure`` and
    ``save_weights`` are called only after ``result``, and use the weights that count.
    """

    @property
    def step(self) -> int:
        """Optimisation steps taken."""

    @property
    def finished(self) -> bool:
        """Whether the last step was taken and its result scored."""

    @property
    def score(self) -> float | None:
        """The score at exactly this step, higher is better; ``None`` if it was not evaluated here."""

    def advance(self) -> None:
        """Train for at most a few more seconds, and evaluate or save if due. Raises once finished."""

    def interrupt(self) -> None:
        """Have ``advance`` return after the current step; for a signal handler."""

    def save(self) -> None:
        """Write a checkpoint into the run's folder. Raises ``OSError`` on failure; the previous one then stays."""

    def load(self, checkpoint: Path) -> None:
        """Continue from a checkpoint. Raises ``ValueError`` for one that is damaged or of another run."""

    def result(self) -> Result:
        """The end of a finished run, with all its scores and its cost."""

    def cost(self) -> Cost:
        """The cost of this attempt so far; a failed one is charged too."""

    def measure(self, probe: str, texts: EncodedTask | None = None) -> Arrays:
        """The arrays of a probe; ``texts`` is the batch that tasks share. Raises ``ProbeError``."""

    def save_weights(self, folder: Path) -> None:
        """Write the weights into ``folder``, for another run to start from. Raises ``OSError``."""
