"""Reuses cached evidence; measures and stores what is missing, for all studies of the storage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from auxtune.orchestrator.planning.measure_plan import MeasurePlan
from auxtune.orchestrator.planning.probe_texts import read_texts
from auxtune.orchestrator.record.results import WEIGHTS, Entry, EvidenceStore
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.trials.probes.probe import RUNNING
from auxtune.trials.recipe import Recipe
from auxtune.trials.result import Cost, Result
from auxtune.trials.run import Run


@dataclass
class Measurement:
    """The measuring of one attempt at trial ``trial``, whose proposal is trained by ``recipe``."""

    plan: MeasurePlan
    store: EvidenceStore
    trial: int
    recipe: Recipe
    start: StoredPath | None = field(init=False, default=None)  # cached weights, which replace the training
    _missing: tuple[str, ...] = field(init=False, default=())  # probes
    _reused: dict[str, Cost] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Look up what is cached, and reduce ``recipe`` to what the rest needs."""
        self._missing = tuple(probe for probe, key in self.plan.keys.items() if not self._taken(key))
        trains = self.recipe.steps > 0
        if trains and not any(probe in RUNNING for probe in self._missing):
            self.start = self.store.weights(self.plan.run)
            if self.start is not None:
                self._taken(self.plan.run)
        self.recipe = replace(
            self.recipe,
            probes={probe: self.recipe.probes[probe] for probe in self._missing or self.plan.keys},
            steps=0 if self.start else self.recipe.steps,
        )

    def run(self, run: Run, result: Result) -> Iterator[None]:
        """Measure what is missing of a run that has ended with ``result``; yields after each probe, which may be slow.

        Raises ``ProbeError``, and ``OSError`` where the disk refuses.
        """
        trained = Entry(
            probe=WEIGHTS,
            run=self.plan.run,
            tasks=self.recipe.tasks,
            study=self.plan.maker,
            trial=self.trial,
            cost=result.cost,
            score=result.score,
            metrics=result.validation,
        )
        if self.start is None:
            alone = len(self.recipe.tasks) == 1 and self.recipe.steps > 0
            self.store.create(self.plan.run, trained, None, run.save_weights if alone else None)
        texts = read_texts(self.plan.texts) if self.plan.texts is not None else None
        for probe in self._missing:
            before = run.cost()
            arrays = run.measure(probe, texts)
            # A probe that runs inside the training lengthens it, so the cost of the whole run is its cost.
            cost = result.cost if probe in RUNNING else _subtract_cost(run.cost(), before)
            options = dict(self.recipe.probes[probe])
            self.store.create(self.plan.keys[probe], replace(trained, probe=probe, options=options, cost=cost), arrays)
            yield

    def add_evidence(self, result: Result, cost: Cost) -> Result:
        """``result`` with its evidence; ``cost`` is that of the whole attempt."""
        return replace(result, cost=cost, evidence=dict(self.plan.keys), reused=dict(self._reused))

    def _taken(self, key: str) -> bool:
        """Whether ``key`` is cached; evidence that another study paid for is listed as reused."""
        entry = self.store.find(key)
        if entry is not None and entry.study != self.plan.maker:
            self._reused[key] = entry.cost
        return entry is not None


def _subtract_cost(later: Cost, earlier: Cost) -> Cost:
    return Cost(
        wall_seconds=later.wall_seconds - earlier.wall_seconds,
        gpu_seconds=later.gpu_seconds - earlier.gpu_seconds,
        cpu_seconds=later.cpu_seconds - earlier.cpu_seconds,
        peak_gpu_bytes=later.peak_gpu_bytes,
    )
