"""A whole study without training: real agenda, ledger, evidence and answer, in a world whose truth is known.

The files that a worker would leave (report, predictions, evidence) are written from ``selectors.testing.benchmark``. So
any selector, any failure and any name of a task makes a study's folder within a second.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from test_agenda import World as Workers

from auxtune.orchestrator.answer.answer import write_answer
from auxtune.orchestrator.answer.build import build_answer
from auxtune.orchestrator.planning.agenda import Agenda
from auxtune.orchestrator.planning.budget import Budget, has_equal_cost, price_of
from auxtune.orchestrator.planning.context import StudyContext
from auxtune.orchestrator.planning.control_search import list_control_versions
from auxtune.orchestrator.planning.slots import Slots
from auxtune.orchestrator.record.accounts import Trial
from auxtune.orchestrator.record.events import Opened
from auxtune.orchestrator.record.ledger import Ledger
from auxtune.orchestrator.record.results import Entry, EvidenceStore, write_result
from auxtune.selectors.protocol import Problem, TaskInfo
from auxtune.selectors.testing.benchmark import SyntheticBenchmark
from auxtune.trials.checkpoint import write_checkpoint
from auxtune.trials.result import Cost, Result

NAMES = ("p", "helps", "idle", "hurts", "aids")
EFFECTS = {"helps": 0.06, "idle": 0.0, "hurts": -0.06, "aids": 0.04}
STUDY = """
study: x
primary: p
tasks: {p: {path: p}, helps: {path: a}, idle: {path: b}, hurts: {path: c}, aids: {path: d}}
selector: SELECTOR
confirm: {seeds: 1}
budget: {trials: 80}
prices: {cpu_hour: 0.5}
seed: 5
"""
GROUPS = STUDY.replace("primary: p", "objective: groups\nmodels: 2")
SPENT = Cost(10.0, 0.0, 10.0, examples=5, tokens=50)
LABELS = np.random.default_rng(0).integers(2, size=300)


@dataclass
class SimulatedStudy(Workers):
    """A study named after its folder, over five tasks or others; ``broken`` trials fail with the given reason."""

    text: str = STUDY.replace("SELECTOR", "{name: random_subset, trials: 4}")
    names: tuple[str, ...] = NAMES
    broken: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tasks = tuple(TaskInfo(name, "classification", 1000, 300, 300, "alike") for name in self.names)
        options = self.study.options
        self.problem = Problem(tasks, None if options.objective else self.names[0], options.seed, options.models)
        self.truth = SyntheticBenchmark(dict(zip(self.names[1:], EFFECTS.values(), strict=False)), noise=0.01)
        self.store = EvidenceStore(self.folder.parent)

    def session(self) -> Agenda:
        study = self.study
        opened = Opened(
            session=f"session{time.time_ns()}",
            time=time.time(),
            study=study.text,
            overrides=study.overrides,
            study_folder=str(self.folder),
            working_folder=str(self.folder),
            problem=self.problem,
            fingerprint={"study": self.folder.name, **{f"tasks.{name}": f"digest of {name}" for name in self.names}},
            versions={"python": "3.0", "auxtune": "0.0"},
            control_versions=list_control_versions() if has_equal_cost(study.options) else {},
        )
        ledger = Ledger(self.folder / "ledger", opened)
        context = StudyContext.from_events(study, ledger.events, self.folder)
        return Agenda(context, ledger, Budget(study.options, context.translator.steps, Slots(1, 0, 2)))

    def report(self, trial: Trial, **changes: object) -> None:
        proposal, folder = trial.proposal, self.attempt(trial)
        folder.mkdir(parents=True)
        if trial.id in self.broken:
            write_result(folder, Result(None, SPENT, why="error", message=self.broken[trial.id]))
            return
        outcome = self.truth.train(self.problem, trial.id, proposal)
        keys = {probe: hashlib.sha256(key.encode()).hexdigest() for probe, key in outcome.evidence.items()}
        arrays = self.truth.evidence(self.problem, proposal)
        for probe, key in outcome.evidence.items():
            entry = Entry(probe, "run", proposal.tasks, "x", trial.id, SPENT, outcome.score, outcome.metrics)
            self.store.create(keys[probe], entry, arrays[key])
        good = 0.7 + (outcome.score or 0.0)
        metrics = {task: {"accuracy": good} for task in proposal.tasks}
        if trial.phase == "confirm":
            self._predict(folder, proposal.tasks, good, proposal.seed)
        if proposal.continuation is not None:
            write_checkpoint(folder / "weights", {}, {})
        reported = metrics if trial.phase == "confirm" else {}
        told = Result(good, SPENT, 60, 60, metrics, reported, rounds=outcome.rounds, evidence=keys)
        write_result(folder, told)

    def finish(self, agenda: Agenda) -> Path:
        """Run to the answer, write ``selection.json``, close; return the folder."""
        self.run(agenda)
        assert agenda.finished
        metrics = dict.fromkeys(self.names, "accuracy")
        confirmation, price = agenda._confirmation, price_of(self.study.options)
        answer = build_answer(self.folder.name, self.folder, agenda.accounts, confirmation, metrics, price)
        write_answer(self.folder, answer)
        return self.close(agenda, "done")

    def close(self, agenda: Agenda, reason: str) -> Path:
        """End the session; return the folder."""
        agenda.flush()
        agenda._ledger.close(reason)  # type: ignore[arg-type]
        return self.folder

    def _predict(self, folder: Path, tasks: tuple[str, ...], good: float, seed: int) -> None:
        arrays = {}
        for task in tasks:
            wrong = np.random.default_rng([seed, self.names.index(task)]).random(len(LABELS)) >= good
            arrays |= {
                f"{task}/labels": LABELS,
                f"{task}/rows": np.arange(len(LABELS)),
                f"{task}/predictions": np.where(wrong, 1 - LABELS, LABELS),
            }
        np.savez(folder / "predictions.npz", **arrays)


def simulated(home: Path, selector: str, text: str = STUDY, **changes: object) -> SimulatedStudy:
    """A study with ``selector``, as a study file writes it, in ``home/x``."""
    return SimulatedStudy(home / "x", text=text.replace("SELECTOR", selector), **changes)  # type: ignore[arg-type]
