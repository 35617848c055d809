"""Trainings of groups from a recorded table: for a target, or for all tasks under a budget of models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from auxtune.orchestrator.simulation.recorded_evidence import choose_seed
from auxtune.orchestrator.simulation.recording import NOT_RECORDED, Ended, Recording, has_equal_shares
from auxtune.orchestrator.tables.groups import GroupsTable
from auxtune.orchestrator.tables.rows import TableError
from auxtune.selectors.protocol import Outcome, Problem, Proposal


@dataclass
class RecordedGroups(Recording):
    """Scores are of the split ``validation``, one recorded seed for each trial; parts of a training are ``early``."""

    models: int | None = None
    inference_budget: float | None = None

    @property
    def table(self) -> GroupsTable:
        """The table of groups."""
        table = self.recorded.table
        assert isinstance(table, GroupsTable)
        return table

    def problem(self, seed: int) -> Problem:
        """With a target it is the primary; without one all tasks count."""
        names = self.table.header.tasks
        usual = max(network.cost for network in self.table.networks)
        models = self.models
        if models is None and self.inference_budget is not None:
            models = max(1, int(min(self.inference_budget / usual + 1e-9, len(names))))
        return Problem(
            self.tasks(names),
            self.target,
            seed,
            models=None if self.target else models,
            networks=self.table.networks,
            inference_budget=None if self.target else self.inference_budget,
            offered=self._list_offered() if self.target else (),
        )

    def _list_offered(self) -> tuple[tuple[float, ...], ...]:
        """The mixtures that were trained with the target: each group that holds it, in equal shares."""
        names = self.table.header.tasks
        groups = dict.fromkeys(frozenset(network.tasks) for network in self.table.networks)
        return tuple(
            tuple(1 / len(group) if name in group else 0.0 for name in names)
            for group in groups
            if self.target in group
        )

    def train(self, proposal: Proposal) -> Ended:
        """The recorded training of just these tasks."""
        if not has_equal_shares(proposal):
            return self.failed(f"{NOT_RECORDED}: groups are recorded in equal shares only", proposal)
        place = self.table.place(proposal.tasks, proposal.network)
        if place is None:
            return self.failed(f"{NOT_RECORDED}: {'+'.join(proposal.tasks)}", proposal)
        split = "validation" if proposal.portion == 1 else "early"
        if split not in self.table.values:
            raise TableError(f"{self.table.path}: a part of a training needs rows of the split early, found none")
        seed = choose_seed(np.moveaxis(self.table.values[split][place], -1, 0), proposal.seed)
        values = self.table.header.sign * self.table.values[split][place, :, seed]
        each = {task: values[self.table.header.tasks.index(task)] for task in proposal.tasks}
        counted = [each[self.target]] if self.target in each else list(each.values())
        seconds = self._seconds(place, seed, split, proposal)
        if not np.isfinite(counted).all():
            return Ended(Outcome(None, why=f"{NOT_RECORDED}: a member of {'+'.join(proposal.tasks)}"), seconds)
        metric = self.table.header.metric
        metrics = {task: {metric: float(value)} for task, value in each.items() if np.isfinite(value)}
        return Ended(Outcome(float(np.mean(counted)), metrics), seconds)

    @property
    def pace(self) -> float:
        """Mean seconds per member task on validation; 1 without recorded times."""
        if self.table.seconds is None:
            return 1.0
        sizes = np.array([len(network.tasks) for network in self.table.networks])
        return float(np.nanmean(self.table.seconds["validation"] / sizes[:, None]))

    def _seconds(self, place: int, seed: int, split: str, proposal: Proposal) -> float:
        if self.table.seconds is not None and np.isfinite(took := self.table.seconds[split][place, seed]):
            return float(took)
        return len(proposal.tasks) * proposal.portion * self.pace
