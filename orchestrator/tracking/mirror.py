"""Brings a study's runs in MLflow to what the accounts say: which are made, what they are told, how they end.

It knows what was there when it began and what it has written since. After any failure that knowledge is worth nothing
(a reply may have been lost, a run deleted, the store be another one): throw the mirror away and begin another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow.entities import Dataset

from auxtune.orchestrator.planning.budget import Price
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.record.events import Tracked
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.tracking.mlflow_runs import NOTE, StudyRuns, is_final
from auxtune.orchestrator.tracking.run_metrics import trained_shares
from auxtune.orchestrator.tracking.run_words import Ending, standing_note, trial_name, trial_note
from auxtune.selectors.protocol import Problem, Proposal


@dataclass(frozen=True)
class Mirrored:
    """What the mirror must know of a study."""

    uri: str
    experiment: str
    children: str  # all | best N | none
    study: str
    key: str  # the first session's id
    selector: str
    folder: StoredPath
    params: dict[str, Any]  # the recipe, the same for every child
    datasets: Mapping[str, Dataset]  # of the tasks
    steps: Callable[[Proposal], int]
    price: Price


class Mirror:
    """One study's runs; ``made`` is called with each run that is found or made, as an event for the ledger."""

    def __init__(self, study: Mirrored, accounts: Accounts, made: Callable[[Tracked], None]) -> None:
        self._study, self._accounts, self._made = study, accounts, made
        self._runs = StudyRuns(study.uri, study.experiment, study.study, study.key)
        started, tags = accounts.sessions[0].opened.time, {"auxtune.selector": study.selector}
        self._parent = self._runs.parent(accounts.study_run_id, started, tags)
        made(Tracked(id=None, run_id=self._parent, experiment=self._runs.experiment_id))
        self._runs.describe(self._parent, {}, study.datasets, "study")
        known = (trial.run_id for trial in accounts.trials.values())
        found = self._runs.children(self._parent, set(filter(None, known)))
        self._children = {trial: str(run.info.run_id) for trial, run in found.items()}
        self._open = {trial for trial, run in found.items() if run.info.status == "RUNNING"}
        self._closed: set[int] = set()  # trials whose runs are final
        self._described: set[int] = set()  # trials whose runs are open and have their parameters
        self._told = -1  # trials told when the totals were last written
        for trial in accounts.trials.values():
            if trial.id in found:
                made(Tracked(id=trial.id, run_id=self._children[trial.id]))
                if is_final(found[trial.id], trial, study.price):
                    self._closed.add(trial.id)

    def update(self, ended: Ending | None) -> Iterator[None]:
        """Write what is new, and close all runs where the study has ``ended``.

        Yields between any two runs, so that the caller can leave off.
        """
        for trial in self._wanted(ended):
            self._update_trial(trial, ended)
            yield
        told = sum(trial.told is not None for trial in self._accounts.trials.values())
        if told != self._told or ended is not None:
            note = (ended.note if ended else "") or standing_note(self._accounts, self._study.folder, ended)
            self._runs.totals(self._parent, self._accounts, self._study.price, time.time(), note)
            self._told = told
        if ended is not None:
            yield
            for trial_id in self._open:  # left by a session that wanted more runs than this one
                self._runs.end(self._children[trial_id], "KILLED")
                yield
            self._runs.answer(self._parent, ended, time.time())
            self._runs.end(self._parent, ended.status)

    def _wanted(self, ended: Ending | None) -> list[Trial]:
        """The trials whose runs may still change.

        With ``best N`` those of the highest scores, of search and confirm alike, once the study is done: before, they
        are not known.
        """
        trials, rule = list(self._accounts.trials.values()), self._study.children
        done = ended is not None and ended.reason == "done"
        if rule != "all":
            count = int(rule.removeprefix("best ")) if rule != "none" and done else 0
            scored = [trial for trial in trials if trial.score is not None]
            trials = sorted(scored, key=lambda trial: -(trial.score or 0.0))[:count]
        return [trial for trial in trials if trial.id not in self._closed]

    @property
    def _problem(self) -> Problem:
        """The question, as the last session asked it."""
        return self._accounts.sessions[-1].opened.problem

    def _update_trial(self, trial: Trial, ended: Ending | None) -> None:
        steps = self._study.steps(trial.proposal)
        run_id = self._run_of(trial, steps)
        self._runs.curves(run_id, trial, self._study.folder, steps)
        if trial.told is not None or ended is not None:
            self._runs.end_child(run_id, trial, self._study.price, steps, trained_shares(trial, self._problem.names))
            self._open.discard(trial.id)
            self._closed.add(trial.id)

    def _run_of(self, trial: Trial, steps: int) -> str:
        """The trial's run, made if absent, open, and with its parameters."""
        study, proposal = self._study, trial.proposal
        if trial.id not in self._children:
            name = trial_name(trial, self._problem.primary)
            tags = {
                "auxtune.selector": study.selector,
                "auxtune.phase": trial.phase,
                "auxtune.stage": trial.proposal.stage,
                "auxtune.tasks": " ".join(proposal.tasks),
                NOTE: trial_note(trial),
            }
            self._children[trial.id] = self._runs.child(trial, name, self._parent, tags)
            self._made(Tracked(id=trial.id, run_id=self._children[trial.id]))
        run_id = self._children[trial.id]
        if trial.id not in self._described:
            shares = trained_shares(trial, self._problem.names)
            params = {**study.params, "steps": steps, "seed": proposal.seed, **shares}
            datasets = {task: study.datasets[task] for task in proposal.tasks if task in study.datasets}
            self._runs.describe(run_id, params, datasets, "training" if proposal.trains else "measuring")
            self._described.add(trial.id)
            self._open.add(trial.id)
        return run_id
