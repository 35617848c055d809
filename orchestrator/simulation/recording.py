"""A recorded table in the place of training: the outcome of each proposal, and its cost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from auxtune.orchestrator.simulation.recorded_evidence import serve_evidence
from auxtune.orchestrator.tables.reading import Recorded
from auxtune.orchestrator.tables.rows import TableError
from auxtune.selectors.protocol import Outcome, Problem, Proposal, TaskInfo

NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class Ended:
    """The outcome of a proposal after ``seconds``; without recorded times that is 1 per member task."""

    outcome: Outcome
    seconds: float


@dataclass
class Recording(ABC):
    """One search over a recorded table for one target, or for all tasks where there is none."""

    recorded: Recorded
    target: str | None
    evidence: dict[str, Mapping[str, np.ndarray]] = field(default_factory=dict)

    @abstractmethod
    def problem(self, seed: int) -> Problem:
        """The question that the selector is asked."""

    @abstractmethod
    def train(self, proposal: Proposal) -> Ended:
        """The recorded outcome of an executed proposal."""

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left that could be trained."""
        return False

    @property
    def header_tasks(self) -> tuple[str, ...]:
        """The table's tasks."""
        return self.recorded.table.header.tasks

    def execute(self, proposal: Proposal) -> Proposal:
        """The proposal as it will be trained. Raises ``TableError`` for one that no table can answer."""
        refused = {
            "what steers inside a run": proposal.inner is not None,
            "a continuation of another training": proposal.continuation is not None,
            "training on some rows of a task": bool(proposal.rows),
            "weights of losses": proposal.weighting == "loss",
        }
        for what, asked in refused.items():
            if asked:
                raise TableError(f"{what} cannot be simulated: a recorded table holds whole trainings")
        return proposal

    def run(self, proposal: Proposal, number: int) -> Ended:
        """Train and measure proposal ``number``; its end as the selector is told."""
        ended = self.train(proposal)
        if not proposal.measure:
            return ended
        if proposal.shuffled is not None:
            return Ended(Outcome(None, why=f"{NOT_RECORDED}: a twin with shuffled labels"), ended.seconds)
        table = self.recorded
        served = serve_evidence(table.affinities, self.header_tasks, proposal, proposal.seed)
        keys = {probe: f"{number}/{probe}" for probe in served.arrays}
        self.evidence.update({keys[probe]: arrays for probe, arrays in served.arrays.items()})
        outcome = Outcome(ended.outcome.score, ended.outcome.metrics, evidence=keys)
        return Ended(outcome, served.cost(ended.seconds) if self.timed else ended.seconds)

    @property
    def timed(self) -> bool:
        """Whether the table holds seconds."""
        return self.recorded.table.seconds is not None

    def tasks(self, names: Iterable[str]) -> tuple[TaskInfo, ...]:
        """The tasks, of which only the names are known."""
        return tuple(TaskInfo(name, "recorded", train_rows=1) for name in names)

    def failed(self, why: str, proposal: Proposal) -> Ended:
        """A proposal that the table does not hold: it fails, and is charged like one that it does."""
        return Ended(Outcome(None, why=why), float(len(proposal.tasks)) * self.pace)

    @property
    @abstractmethod
    def pace(self) -> float:
        """Mean seconds per member task; 1 without recorded times."""


def has_equal_shares(proposal: Proposal) -> bool:
    """Whether a proposal is a subset in equal shares, the only kind that groups are recorded for."""
    shares = list((proposal.weights or {}).values())
    return not shares or bool(np.allclose(shares, shares[0]))
