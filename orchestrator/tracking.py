"""Mirrors a study in MLflow from a thread of its own: never in the search's way, and never lost.

The thread folds the ledger's events into accounts of its own and brings MLflow's runs to what they say. If the server
is down, trials go on; the mirror tries again, and at the latest the next session fills in what is missing, from the
ledger and the attempts' ``metrics.jsonl``.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# At the top, and so on the main thread: imported here and by Ray at once, MLflow would wait for itself.
from mlflow.tracking import MlflowClient

from auxtune.orchestrator.accounts import Accounts, Trial
from auxtune.orchestrator.budget import Price
from auxtune.orchestrator.events import Event, Tracked
from auxtune.orchestrator.mlflow_runs import StudyRuns
from auxtune.orchestrator.prepare import Prepared
from auxtune.orchestrator.study_paths import tracking_uri
from auxtune.selectors.protocol import Proposal

INTERVAL = 2.0                                         # seconds between looks at running trials
RETRY = 3.0                                            # seconds after the server did not answer


@dataclass(frozen=True)
class Mirrored:
    """What the mirror must know of a study."""

    uri: str
    experiment: str
    children: str                                      # all | best N | none
    study: str
    key: str                                           # the first session's id
    selector: str
    folder: Path
    params: dict[str, Any]                             # the recipe, the same for every child
    steps: Callable[[Proposal], int]
    price: Price


def mirrored(prepared: Prepared, folder: Path, events: Sequence[Event]) -> Mirrored:
    """What the mirror of a prepared study must know; ``events`` are the ledger's, this session's opening included."""
    options = prepared.study.options
    recipe = {**options.model.model_dump(mode="json"), **options.training.model_dump(mode="json")}
    return Mirrored(
        uri=tracking_uri(prepared.study),
        experiment=options.tracking.experiment,
        children=options.tracking.children,
        study=options.study,
        key=Accounts(events).sessions[0].opened.session,
        selector=options.selector.name,
        folder=folder,
        params={key: value for key, value in recipe.items() if value is not None},
        steps=prepared.translator.steps,
        price=prepared.budget.price,
    )


class Tracker(threading.Thread):
    """The mirror. ``hear`` it events; ``made`` gives the runs it made, for the ledger; ``finish`` it."""

    def __init__(self, mirrored: Mirrored, events: Sequence[Event]) -> None:
        super().__init__(name="mlflow", daemon=True)
        self.trouble: str | None = None                # why MLflow could not be reached, while it cannot
        self._study = mirrored
        self._heard: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._made: queue.SimpleQueue[Tracked] = queue.SimpleQueue()
        self._accounts = Accounts(events)
        self._closed: set[int] = set()                 # trials whose runs are final
        self._abandoned = False
        self._children: dict[int, str] = {}            # trial -> run id
        self._described: set[int] = set()              # trials whose parameters are there for sure
        self._told = -1                                # trials told when the totals were last written
        self._parent: str | None = None
        self._status: str | None = None
        self._artifacts: list[Path] = []
        self._runs: Any = None

    def hear(self, event: Event) -> None:
        """Called on the driver's thread for every event of the session."""
        self._heard.put(event)

    def made(self) -> list[Tracked]:
        """The runs made since the last call, on the driver's thread."""
        events = []
        while not self._made.empty():
            events.append(self._made.get())
        return events

    def abandon(self) -> None:
        """Write nothing more: the runs are another driver's now."""
        self._abandoned = True
        self._heard.put(None)

    def finish(self, status: str, artifacts: Sequence[Path], patience: float) -> None:
        """Close the runs within ``patience`` seconds. Where that fails, ``trouble`` says why."""
        self._status, self._artifacts = status, list(artifacts)
        self._heard.put(None)
        self.join(patience)
        if self.is_alive() and self.trouble is None:
            self.trouble = f"not done within {patience:.0f} s"

    def run(self) -> None:
        """The thread: fold what is heard, mirror it, again and again until finished and all is mirrored."""
        last = False
        while not last or self.trouble:
            last = last or self._fold()
            if self._abandoned:
                return
            try:
                self._mirror(last)
                self.trouble = None
            except Exception as error:
                # Whatever a server or a network can do wrong: the search must not hear of it.
                first_line = next(iter(str(error).splitlines()), "")
                self.trouble = f"{type(error).__name__}: {first_line}"
                # A reply may have been lost, or the store be another one by now: look again at what is there.
                self._parent = None
                time.sleep(RETRY)

    def _fold(self) -> bool:
        """Wait for events, at most an interval; whether the last one was heard."""
        try:
            event = self._heard.get(timeout=INTERVAL)
        except queue.Empty:
            return False
        while event is not None:
            self._accounts.add(event)
            if self._heard.empty():
                return False
            event = self._heard.get()
        return True

    def _mirror(self, last: bool) -> None:
        if self._parent is None:
            self._open()
        for trial in self._wanted(last):
            self._mirror_trial(trial)
        told = sum(trial.told is not None for trial in self._accounts.trials.values())
        if told != self._told or last:
            self._runs.totals(self._parent, self._accounts, self._study.price, time.time())
            self._told = told
        if last and self._status is not None:
            for trial_id in set(self._children) - self._closed:
                self._runs.end(self._children[trial_id], "KILLED", [])
            self._runs.end(self._parent, self._status, self._artifacts)

    def _open(self) -> None:
        """Find or make the parent, and learn which children are there and final already."""
        self._runs = self._connect()
        accounts, tags = self._accounts, {"auxtune.selector": self._study.selector}
        parent = self._runs.parent(accounts.study_run_id, accounts.sessions[0].opened.time, tags)
        self._children, self._closed, self._described = {}, set(), set()
        for trial_id, (run_id, status) in self._runs.children(parent).items():
            self._children[trial_id] = run_id
            if status in ("FINISHED", "FAILED"):
                self._closed.add(trial_id)
            elif status != "RUNNING":
                self._runs.reopen(run_id)
        if accounts.study_run_id != parent:
            self._made.put(Tracked(id=None, run_id=parent))
        self._parent = parent

    def _wanted(self, last: bool) -> list[Trial]:
        """The trials whose runs may still change; with ``best N``, those of the highest scores, at the end."""
        trials = list(self._accounts.trials.values())
        rule = self._study.children
        if rule != "all":
            count = int(rule.removeprefix("best ")) if last and rule != "none" else 0
            scored = [trial for trial in trials if trial.score is not None]
            trials = sorted(scored, key=lambda trial: -(trial.score or 0.0))[:count]
        return [trial for trial in trials if trial.id not in self._closed]

    def _mirror_trial(self, trial: Trial) -> None:
        study, proposal = self._study, trial.proposal
        tags = {
            "auxtune.selector": study.selector,
            "auxtune.phase": trial.phase,
            "auxtune.stage": trial.stage,
            "auxtune.tasks": " ".join(proposal.tasks),
        }
        weights = {f"weight/{task}": share for task, share in (proposal.weights or {}).items()}
        steps = study.steps(proposal)
        params = {**study.params, "steps": steps, "seed": proposal.seed, **weights}
        run_id = self._children.get(trial.id)
        if run_id is None:
            run_id = self._children[trial.id] = self._runs.child(trial, self._parent, tags)
            self._made.put(Tracked(id=trial.id, run_id=run_id))
        if trial.id not in self._described:
            self._runs.describe(run_id, params)
            self._described.add(trial.id)
        self._runs.curves(run_id, trial, study.folder, steps)
        if trial.told is not None:
            self._runs.end_child(run_id, trial, study.price, steps)
            self._closed.add(trial.id)

    def _connect(self) -> StudyRuns:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        for noisy in ("alembic", "mlflow"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        client = MlflowClient(tracking_uri=self._study.uri)
        path = self._study.uri.removeprefix("sqlite:///")
        beside = (Path(path).parent / "mlartifacts").as_uri() if path != self._study.uri else None
        return StudyRuns(client, self._study.experiment, beside, self._study.study, self._study.key)
