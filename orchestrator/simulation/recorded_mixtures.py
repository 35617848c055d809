"""Trainings of mixtures from a recorded table: the nearest one that was not used yet stands for what was asked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from auxtune.orchestrator.simulation.recording import NOT_RECORDED, Ended, Recording
from auxtune.orchestrator.tables.mixtures import MixturesTable
from auxtune.selectors.protocol import Outcome, Problem, Proposal, TaskInfo


@dataclass
class RecordedMixtures(Recording):
    """Scores are of the split ``train``; a row without a value of the target is not there."""

    used: list[int] = field(default_factory=list)

    @property
    def table(self) -> MixturesTable:
        """The table of mixtures."""
        table = self.recorded.table
        assert isinstance(table, MixturesTable)
        return table

    def problem(self, seed: int) -> Problem:
        """The target is the primary where it is a task, else what is scored of any mixture."""
        names, target = self.table.header.tasks, self.target
        # Sizes are not recorded; mixtures are drawn around them, so that the mean mixture stands for them.
        sizes = np.rint(1e6 * self.table.weights["train"].mean(axis=0)).astype(int).tolist()
        tasks = tuple(TaskInfo(name, "recorded", max(1, rows)) for name, rows in zip(names, sizes, strict=True))
        recorded = self.table.weights["train"][np.isfinite(self.values("train"))]
        offered = tuple(map(tuple, recorded.tolist()))
        if target in names:
            return Problem(tasks, target, seed, offered=offered)
        return Problem(tasks, None, seed, scored=target, offered=offered)

    @property
    def exhausted(self) -> bool:
        """Whether every row was used."""
        return len(self.used) >= int(np.isfinite(self.values("train")).sum())

    def values(self, split: str) -> np.ndarray:
        """The target's values, (rows,)."""
        column: np.ndarray = self.table.values[split][:, self.table.targets.index(str(self.target))]
        return column

    def execute(self, proposal: Proposal) -> Proposal:
        """The nearest recorded mixture (L1) that was not used yet; of equals the first row."""
        proposal = super().execute(proposal)
        if proposal.measure:
            return proposal
        distance = np.abs(self.table.weights["train"] - self.shares(proposal)).sum(axis=1)
        distance[~np.isfinite(self.values("train"))] = np.inf
        distance[self.used] = np.inf
        row = int(distance.argmin())
        self.used.append(row)
        weights = self.weights_of("train", row)
        return replace(proposal, tasks=tuple(weights), weights=weights)

    def shares(self, proposal: Proposal) -> np.ndarray:
        """A proposal's weights as (tasks,); a subset has equal shares."""
        return np.array([proposal.shares.get(task, 0.0) for task in self.table.header.tasks])

    def weights_of(self, split: str, row: int) -> dict[str, float]:
        """A recorded mixture: the shares above 0."""
        shares = zip(self.table.header.tasks, self.table.weights[split][row].tolist(), strict=True)
        return {task: share for task, share in shares if share > 0}

    def train(self, proposal: Proposal) -> Ended:
        """The row that ``execute`` found."""
        if proposal.measure:
            return self.failed(f"{NOT_RECORDED}: single tasks", proposal)
        row = self.used[-1]
        score = float(self.table.header.sign * self.values("train")[row])
        seconds = self.table.seconds["train"][row] if self.table.seconds is not None else np.nan
        took = float(seconds) if np.isfinite(seconds) else len(proposal.tasks) * self.pace
        return Ended(Outcome(score, {str(self.target): {self.table.header.metric: score}}), took)

    @property
    def pace(self) -> float:
        """Mean seconds per task of a mixture; 1 without recorded times."""
        if self.table.seconds is None:
            return 1.0
        sizes = (self.table.weights["train"] > 0).sum(axis=1)
        return float(np.nanmean(self.table.seconds["train"] / sizes))
