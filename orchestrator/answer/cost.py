"""The cost of a study: of every attempt, in all and by phase, and of nodes; and how many attempts ran at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from auxtune.orchestrator.planning.budget import HOUR, Price
from auxtune.orchestrator.record.accounts import Accounts, Attempt, Trial
from auxtune.orchestrator.record.events import PHASES, SELECTORS
from auxtune.trials.result import Cost

COST_TOLERANCE = 0.1  # share by which costs that are called equal may differ


@dataclass(frozen=True)
class PhaseCost:
    """The cost of some trials. Hours are of allocated devices."""

    trials: int
    """Trials that trained; what was reused is counted apart."""
    attempts: int
    """All attempts at them, lost ones included."""
    gpu_hours: int | float
    cpu_hours: int | float
    usd: int | float | None
    """Allocated time by the study's prices; ``None``, unknown, where one of them is lacking."""


@dataclass(frozen=True)
class NodeCost:
    """The cost of the nodes of one type."""

    hours: int | float
    usd: int | float | None
    """``None``, unknown, where ``prices.nodes`` lacks the type."""


@dataclass(frozen=True)
class StudyCost(PhaseCost):
    """The cost of a whole study."""

    wall_hours: int | float
    """The sum over its sessions."""
    cluster_usd: int | float | None
    """The price of all nodes; ``None`` off a cluster, and where a type that was up has no price."""
    nodes: Mapping[str, NodeCost] | None
    """By node type; ``None`` off a cluster."""
    phases: Mapping[str, PhaseCost]
    reused: PhaseCost
    """The original cost of evidence taken from the cache; no other number includes it."""

    @property
    def control_share(self) -> float | None:
        """What a control that searches by itself cost, as a share of the search; ``None`` where either cost nothing.

        The search's cost is that of measure and search with reused evidence: money where it is known, else GPU hours
        where any were used, else CPU hours.
        """
        control = self.phases.get("control")
        search = [*(self.phases[phase] for phase in SELECTORS if phase in self.phases), self.reused]
        for unit in ("usd", "gpu_hours", "cpu_hours"):
            theirs, ours = getattr(control, unit, None), [getattr(part, unit) for part in search]
            if theirs and None not in ours and sum(ours):
                return float(theirs / sum(ours))
        return None

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> StudyCost:
        """A cost from the values that ``dataclasses.asdict`` made of one."""
        nodes, phases = content["nodes"], content["phases"]
        parts = {
            "nodes": None if nodes is None else {kind: NodeCost(**node) for kind, node in nodes.items()},
            "phases": {phase: PhaseCost(**cost) for phase, cost in phases.items()},
            "reused": PhaseCost(**content["reused"]),
        }
        return cls(**{**content, **parts})


def sum_cost(accounts: Accounts, price: Price, now: float | None) -> StudyCost:
    """Add up the cost of the study so far.

    ``now``, in seconds since the epoch, is given where a session is alive: its time counts until then.
    """
    trials = list(accounts.trials.values())
    up = accounts.node_seconds(now)
    whole = _sum_trained(trials, price)
    return StudyCost(
        **vars(whole),
        wall_hours=accounts.elapsed_seconds(now) / HOUR,
        cluster_usd=price.cluster_usd(up),
        nodes=None
        if up is None
        else {kind: NodeCost(up[kind] / HOUR, price.node_usd(kind, up[kind])) for kind in sorted(up)},
        phases={phase: _sum_trained(accounts.in_phase(phase), price) for phase in PHASES},
        reused=_sum_costs([trial for trial in trials if trial.reused], accounts.reused_costs, price),
    )


def _sum_trained(trials: Sequence[Trial], price: Price) -> PhaseCost:
    costs = [attempt.cost for trial in trials for attempt in trial.all_attempts if attempt.cost is not None]
    # What was reused is no trial, also where its evidence was lost since and had to be measured.
    return replace(_sum_costs(trials, costs, price), trials=sum(not trial.reused for trial in trials))


def _sum_costs(trials: Sequence[Trial], costs: Sequence[Cost], price: Price) -> PhaseCost:
    return PhaseCost(
        trials=len(trials),
        attempts=sum(len(trial.all_attempts) for trial in trials),
        gpu_hours=sum(cost.gpu_seconds for cost in costs) / HOUR,
        cpu_hours=sum(cost.cpu_seconds for cost in costs) / HOUR,
        usd=price.total(costs),
    )


@dataclass(frozen=True)
class Concurrency:
    """Attempts at once: the most, and on average over the time in which any ran."""

    peak: int
    mean: float


def measure_concurrency(accounts: Accounts) -> Concurrency | None:
    """From when each ended attempt was at work, and for how long; ``None`` before the first ended."""
    attempts = [(trial, attempt) for trial in accounts.trials.values() for attempt in trial.all_attempts]
    spans = [_find_span(trial, attempt, a.wall_seconds) for trial, attempt in attempts if (a := attempt.cost)]
    worked = [(start, end) for start, end in spans if end > start]
    return _measure_overlap(worked) if worked else None


def _find_span(trial: Trial, attempt: Attempt, seconds: float) -> tuple[float, float]:
    """A result comes at the end of the work; before its beginning a process, or a whole node, may have had to start.

    Of an attempt without a result only the beginning is known: its end was noticed some time later.
    """
    told = trial.told
    end = told.time if told is not None and told.attempt == attempt.number else attempt.started + seconds
    return end - seconds, end


def _measure_overlap(spans: Sequence[tuple[float, float]]) -> Concurrency:
    # At the same moment ends come before starts: attempts that follow each other do not overlap.
    turns = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    running, peak, busy, since = 0, 0, 0.0, 0.0
    for moment, change in turns:
        busy += moment - since if running else 0.0
        running, since = running + change, moment
        peak = max(peak, running)
    return Concurrency(peak, sum(end - start for start, end in spans) / busy)
