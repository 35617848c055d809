"""Mirrors a study in MLflow from a thread of its own, so that MLflow neither delays the search nor loses a run.

The thread folds the ledger's events into accounts of its own and updates MLflow's runs to them. If the server is down,
trials continue and the mirror tries again; at the latest the next session fills in what is missing, from the ledger
and the attempts' ``metrics.jsonl``.

The mirror knows which runs it found at the start and what it has written since. After a failure that knowledge is
worthless (a reply may have been lost, a run deleted, the store replaced), so a new mirror is begun.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from auxtune.orchestrator.planning.budget import Price
from auxtune.orchestrator.planning.context import StudyContext
from auxtune.orchestrator.planning.translate import search_score_of
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.record.events import Event, Tracked, read_time
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.study_file.models import StudyOptions
from auxtune.orchestrator.study_file.paths import resolve_tracking_uri
from auxtune.orchestrator.tracking.run_content import (
    NOTE,
    Ending,
    TaskData,
    describe_datasets,
    describe_trial,
    list_trained_shares,
    name_trial,
    write_status_note,
)
from auxtune.orchestrator.tracking.store import describe_error, describe_silence, is_refused
from auxtune.selectors.protocol import Problem, Proposal

INTERVAL = 2.0  # seconds between looks at running trials
RETRY = 3.0  # seconds after the server did not answer
REFUSED = 60.0  # seconds after it refused our credentials


def describe_study(context: StudyContext) -> Mirrored:
    """The facts about a study that its mirror needs, once this session's opening is in its ledger."""
    study, options, sessions = context.study, context.options, context.accounts.sessions
    return Mirrored(
        uri=resolve_tracking_uri(study),
        experiment=options.tracking.experiment,
        children=options.tracking.children,
        study=options.study,
        key=sessions[0].opened.session,
        selector=options.selector.name,
        folder=context.folder,
        params=_list_params(options),
        datasets=describe_datasets(study, context.rows, sessions[-1].opened.fingerprint),
        steps=context.translator.steps,
        price=context.price,
    )


class Tracker(threading.Thread):
    """The mirror's thread: ``begin`` it, ``hear`` takes events, ``made`` returns new runs.

    End it by ``finish`` or ``abandon``.
    """

    def __init__(self, mirrored: Mirrored, events: Sequence[Event]) -> None:
        super().__init__(name="mlflow", daemon=True)
        self.trouble: str | None = None  # why MLflow is not up to date, while it is not
        self._study = mirrored
        self._accounts = Accounts(events)
        self._heard: deque[Event] = deque()
        self._news = threading.Event()
        known = self._accounts
        self._noted: set[Tracked] = {Tracked(id=t.id, run_id=t.run_id) for t in known.trials.values() if t.run_id}
        if known.study_run_id is not None:
            self._noted.add(Tracked(id=None, run_id=known.study_run_id, experiment=known.experiment_id))
        self._made: queue.SimpleQueue[Tracked] = queue.SimpleQueue()
        self._ended: Ending | None = None
        self._abandoned = False
        self._over = threading.Event()  # the thread has ended
        self._moved = 0.0  # when the end of the study last made progress, by the clock that is never set
        self._reached = 0  # how much of it one pass has written so far
        self._not_before = 0.0  # nothing is written until then
        self._mirror: Mirror | None = None

    def begin(self) -> None:
        """Start the thread, unless that was done before.

        It imports MLflow, so Ray is imported first: where two threads import them at once, both may hang.
        """
        if self.ident is None:
            self.start()

    def hear(self, event: Event) -> None:
        """Queue an event of the session. Called on the driver's thread."""
        self._heard.append(event)
        self._news.set()

    def made(self) -> list[Tracked]:
        """The runs made since the last call that the ledger does not name yet. Called on the driver's thread."""
        events = []
        while not self._made.empty():
            events.append(self._made.get())
        return events

    def abandon(self) -> None:
        """Stop writing: the runs belong to another driver now."""
        self._abandoned = True
        self._news.set()

    def finish(self, ending: Ending, patience: float, at_most: float = math.inf) -> None:
        """Close the runs. Where that fails, ``trouble`` says why.

        Gives up after ``patience`` seconds without progress, and after ``at_most`` seconds. May be interrupted, and
        called again then.
        """
        self._ended, self._moved = ending, time.monotonic()
        self._news.set()
        last = self._moved + at_most
        # Not ``join``: a signal's exception in it would leave a thread that still writes for dead.
        while (left := min(last, self._moved + patience) - time.monotonic()) > 0 and not self._over.wait(left):
            pass
        if not self._over.is_set() and self.trouble is None:
            self.trouble = describe_silence(self._study.uri, patience)

    def run(self) -> None:
        """The thread: mirror the study until it has ended."""
        try:
            self._keep_mirroring()
        finally:
            self._over.set()

    def _keep_mirroring(self) -> None:
        """Fold and mirror events until the study has ended and all of it is mirrored."""
        while not self._abandoned:
            ended = self._ended  # read before the events: once it is set, all of them are queued
            try:
                self._fold()
                if ended is not None or time.monotonic() >= self._not_before:
                    self._write(ended)
                    self.trouble = None
                if ended is not None:
                    return
            except Exception as error:
                # Any error of the server, the network or this mirror: the search must not suffer from it.
                self.trouble = describe_error(error, self._study.uri)
                self._mirror = None
                if is_refused(error):
                    self._not_before = time.monotonic() + REFUSED
                    if ended is not None:
                        return
            self._news.wait(RETRY if self.trouble else INTERVAL)
            self._news.clear()

    def _fold(self) -> None:
        while self._heard:
            self._accounts.add(self._heard[0])
            self._heard.popleft()  # only now: an event that cannot be folded stays, and so does the trouble

    def _write(self, ended: Ending | None) -> None:
        if self._mirror is None:
            self._mirror = Mirror(self._study, self._accounts, self._note)
        for count, _ in enumerate(self._mirror.update(ended), 1):
            if ended is not None and count > self._reached:  # a pass that fails where one failed before is no progress
                self._reached, self._moved = count, time.monotonic()
            if self._abandoned:
                return

    def _note(self, made: Tracked) -> None:
        if made not in self._noted:
            self._noted.add(made)
            self._made.put(made)


def _list_params(options: StudyOptions) -> dict[str, Any]:
    """How every trial is trained and scored, without ``steps`` where ``epochs`` is given: they differ by trial then."""
    training = options.training
    values = {
        **options.model.model_dump(mode="json"),
        **training.model_dump(mode="json", exclude={"steps"} if training.epochs is not None else None),
        "search_score": search_score_of(options) if options.search_score != "metric" else None,
    }
    return {key: value for key, value in values.items() if value is not None}


@dataclass(frozen=True)
class Mirrored:
    """The facts about a study that its mirror needs."""

    uri: str
    experiment: str
    children: str  # all | best N | none
    study: str
    key: str  # the first session's id
    selector: str
    folder: StoredPath
    params: dict[str, Any]  # the recipe, the same for every child
    datasets: Mapping[str, TaskData]  # of the tasks
    steps: Callable[[Proposal], int]
    price: Price


class Mirror:
    """One study's runs; ``made`` is called with each run that is found or made, as an event for the ledger."""

    def __init__(self, study: Mirrored, accounts: Accounts, made: Callable[[Tracked], None]) -> None:
        # MLflow takes a second or two to import, and its tables as long to create: not before a trial can begin.
        from auxtune.orchestrator.tracking.mlflow_runs import StudyRuns, is_final

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
        self._closed: dict[int, int] = {}  # trials whose runs are final -> how many of their attempts had ended
        self._described: set[int] = set()  # trials whose runs are open and have their parameters
        self._told = -1  # trials told when the totals were last written
        for trial in accounts.trials.values():
            if trial.id in found:
                made(Tracked(id=trial.id, run_id=self._children[trial.id]))
                if is_final(found[trial.id], trial, study.price):
                    self._closed[trial.id] = len(trial.costs)

    def update(self, ended: Ending | None) -> Iterator[None]:
        """Write what is new, and close all runs where the study has ``ended``.

        Yields between any two runs, so that the caller can stop.
        """
        for trial in self._wanted(ended):
            self._update_trial(trial, ended)
            yield
        told = sum(trial.told is not None for trial in self._accounts.trials.values())
        if told != self._told or ended is not None:
            note = (ended.note if ended else "") or write_status_note(self._accounts, self._study.folder, ended)
            self._runs.totals(self._parent, self._accounts, self._study.price, read_time(), note)
            self._told = told
        if ended is not None:
            yield
            for trial_id in self._open:  # left by a session that wanted more runs than this one
                self._runs.end(self._children[trial_id], "KILLED")
                yield
            self._runs.answer(self._parent, ended, read_time())
            self._runs.end(self._parent, ended.status)

    def _wanted(self, ended: Ending | None) -> list[Trial]:
        """The trials whose runs may still change.

        With ``best N`` those with the highest scores, of search and confirm alike, once the study is done; they are not
        known earlier.
        """
        trials, rule = list(self._accounts.trials.values()), self._study.children
        done = ended is not None and ended.reason == "done"
        if rule != "all":
            count = int(rule.removeprefix("best ")) if rule != "none" and done else 0
            scored = [trial for trial in trials if trial.score is not None]
            trials = sorted(scored, key=lambda trial: -(trial.score or 0.0))[:count]
        # An attempt that ended later, since evidence was measured again, is charged for, too.
        return [trial for trial in trials if self._closed.get(trial.id) != len(trial.costs)]

    @property
    def _problem(self) -> Problem:
        """The question, as the last session asked it."""
        return self._accounts.sessions[-1].opened.problem

    def _update_trial(self, trial: Trial, ended: Ending | None) -> None:
        steps = self._study.steps(trial.proposal)
        run_id = self._run_of(trial, steps)
        self._runs.curves(run_id, trial, self._study.folder, steps)
        if trial.told is not None or ended is not None:
            self._runs.end_child(
                run_id, trial, self._study.price, steps, list_trained_shares(trial, self._problem.names)
            )
            self._open.discard(trial.id)
            self._closed[trial.id] = len(trial.costs)

    def _run_of(self, trial: Trial, steps: int) -> str:
        """The trial's run, made if absent, open, and with its parameters."""
        study, proposal = self._study, trial.proposal
        if trial.id not in self._children:
            name = name_trial(trial, self._problem.primary)
            tags = {
                "auxtune.selector": study.selector,
                "auxtune.phase": trial.phase,
                "auxtune.stage": trial.proposal.stage,
                "auxtune.tasks": " ".join(proposal.tasks),
                NOTE: describe_trial(trial),
            }
            self._children[trial.id] = self._runs.child(trial, name, self._parent, tags)
            self._made(Tracked(id=trial.id, run_id=self._children[trial.id]))
        run_id = self._children[trial.id]
        if trial.id not in self._described:
            shares = list_trained_shares(trial, self._problem.names)
            params = {**study.params, "steps": steps, "seed": proposal.seed, **shares}
            datasets = {task: study.datasets[task] for task in proposal.tasks if task in study.datasets}
            self._runs.describe(run_id, params, datasets, "training" if proposal.trains else "measuring")
            self._described.add(trial.id)
            self._open.add(trial.id)
        return run_id
