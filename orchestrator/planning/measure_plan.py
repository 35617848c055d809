"""The evidence of a proposal: its keys in the cache, what of it is known already, and the tasks it is measured on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auxtune.orchestrator.errors import SelectorError
from auxtune.orchestrator.planning.probe_texts import ProbeTexts
from auxtune.orchestrator.planning.translate import Translator, apply_variant
from auxtune.orchestrator.record.results import EvidenceStore, StoredEvidence
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.selectors.protocol import Outcome, Proposal
from auxtune.trials.probes.probe import READS_TEXTS, RUNNING, ProbeError, hash_probe, hash_run
from auxtune.trials.result import Cost
from auxtune.trials.tokens import EncodedTask

if TYPE_CHECKING:  # it loads torch
    from auxtune.trials.encoder import BaseEncoder


@dataclass(frozen=True)
class MeasurePlan:
    """Keys of a proposal's evidence: of the run's weights, and of each probe. ``maker`` is what entries will name."""

    run: str
    keys: Mapping[str, str]
    texts: StoredPath | None  # the shared probe batch, where a probe reads it
    maker: str


@dataclass(frozen=True)
class KnownOutcome:
    """A proposal whose evidence was there: the outcome of its run, and the original cost by key."""

    outcome: Outcome
    reused: Mapping[str, Cost]
    source: str  # the study and trial that measured it


@dataclass(frozen=True)
class MeasurePlanner:
    """Plans the evidence of one study; ``maker`` is its name and the key of its first session."""

    study: StoredPath  # the study's folder
    translator: Translator
    tasks: Mapping[str, EncodedTask]
    base: BaseEncoder
    texts: ProbeTexts
    gpus: float
    maker: str

    @property
    def store(self) -> EvidenceStore:
        """The evidence of the storage."""
        return EvidenceStore(self.study.parent)

    def plan(self, proposal: Proposal) -> MeasurePlan:
        """The keys of the evidence of a ``proposal`` that measures something.

        Raises ``SelectorError`` where it asks for a probe, or an option of one, that there is not, or for one twice.
        """
        names = [measure.probe for measure in proposal.measure]
        if len(set(names)) < len(names):
            raise SelectorError(f"the selector asks for probes of one run twice: {', '.join(names)}; ask for two runs")
        tasks = apply_variant(self.tasks, proposal, self.study, StoredEvidence(self.store))
        recipe = self.translator.recipe(proposal, "measure")
        run = hash_run(recipe, tasks, self.base, self.gpus)
        probes = {measure.probe: measure.options for measure in proposal.measure}
        texts = self.texts.folder if any(probe in READS_TEXTS for probe in probes) else None
        try:
            keys = {p: hash_probe(run, p, options, texts.name if texts else None) for p, options in probes.items()}
        except ProbeError as error:
            raise SelectorError(f"the selector asks for what cannot be measured: {error}") from error
        return MeasurePlan(run, keys, texts, self.maker)

    def find_known(self, proposal: Proposal) -> KnownOutcome | None:
        """The outcome of ``proposal`` where all that it measures is in the cache; else ``None``."""
        plan = self.plan(proposal)
        entries = {key: self.store.find(key) for key in plan.keys.values()}
        found = {key: entry for key, entry in entries.items() if entry is not None}
        if len(found) < len(entries):
            return None
        first = next(iter(found.values()))
        # A probe that observed a training has that training in its own cost.
        trained = None if any(entry.probe in RUNNING for entry in found.values()) else self.store.find(plan.run)
        if trained is not None:
            found[plan.run] = trained
        # Evidence that this study measured itself, in another stage or a lost attempt, is on its bill already.
        reused = {key: entry.cost for key, entry in found.items() if entry.study != self.maker}
        outcome = Outcome(first.score, first.metrics, evidence=dict(plan.keys))
        return KnownOutcome(outcome, reused, f"{first.study.partition(' ')[0]}, trial {first.trial}")
