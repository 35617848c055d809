"""Trainings of a target after one source, from a recorded table; what other targets came to is known before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from auxtune.orchestrator.simulation.recorded_evidence import choose_seed
from auxtune.orchestrator.simulation.recording import NOT_RECORDED, Ended, Recording
from auxtune.orchestrator.tables.transfers import TransferTable
from auxtune.selectors.protocol import Outcome, Problem, Proposal


@dataclass
class RecordedTransfers(Recording):
    """One target left out of the log that the selector may read."""

    @property
    def table(self) -> TransferTable:
        """The table of transfers."""
        table = self.recorded.table
        assert isinstance(table, TransferTable)
        return table

    def problem(self, seed: int) -> Problem:
        """The target is the primary, and its recorded sources are the auxiliaries."""
        earlier = self.table.transfers(without=self.target)
        return Problem(self.tasks([*self.sources, str(self.target)]), self.target, seed, earlier=earlier)

    @property
    def sources(self) -> list[str]:
        """The sources recorded for the target."""
        column = self.table.header.tasks.index(str(self.target))
        known = np.isfinite(self.table.mean[:, column])
        return [source for source, has in zip(self.table.sources, known, strict=True) if source is not None and has]

    def train(self, proposal: Proposal) -> Ended:
        """The recorded training of the target after at most one source."""
        sources = [task for task in proposal.tasks if task != self.target]
        if self.target not in proposal.tasks or len(sources) > 1:
            return self.failed(f"{NOT_RECORDED}: {'+'.join(proposal.tasks)}", proposal)
        pair = (
            self.table.sources.index(sources[0] if sources else None),
            self.table.header.tasks.index(self.target),
        )
        place = (*pair, choose_seed(self.table.values[pair], proposal.seed))
        value = self.table.values[place]
        if not np.isfinite(value):
            return self.failed(f"{NOT_RECORDED}: {'+'.join(proposal.tasks)}", proposal)
        score = float(self.table.header.sign * value)
        seconds = self.table.seconds[place] if self.table.seconds is not None else np.nan
        metrics = {self.target: {self.table.header.metric: score}}
        took = float(seconds) if np.isfinite(seconds) else len(proposal.tasks) * self.pace
        return Ended(Outcome(score, metrics), took)

    @property
    def pace(self) -> float:
        """Half the mean seconds of a transfer, because it has two tasks; 1 without recorded times."""
        return 1.0 if self.table.seconds is None else float(np.nanmean(self.table.seconds)) / 2
