"""Mirrors a study in MLflow from a thread of its own: never in the search's way, and never lost.

The thread folds the ledger's events into accounts of its own and brings MLflow's runs to what they say. If the server
is down, trials go on; the mirror tries again, and at the latest the next session fills in what is missing, from the
ledger and the attempts' ``metrics.jsonl``.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from auxtune.orchestrator.planning.context import StudyContext
from auxtune.orchestrator.planning.translate import search_score_of
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.events import Event, Tracked
from auxtune.orchestrator.study_file.models import StudyOptions
from auxtune.orchestrator.study_file.paths import resolve_tracking_uri
from auxtune.orchestrator.tracking.datasets import datasets_of
from auxtune.orchestrator.tracking.mirror import Mirror, Mirrored
from auxtune.orchestrator.tracking.run_words import Ending
from auxtune.orchestrator.tracking.trouble import is_refused, said_of

INTERVAL = 2.0  # seconds between looks at running trials
RETRY = 3.0  # seconds after the server did not answer
REFUSED = 60.0  # seconds after it did not want our credentials


def mirrored(context: StudyContext) -> Mirrored:
    """A study as its mirror must know it, once this session's opening is in its ledger."""
    study, options, sessions = context.study, context.options, context.accounts.sessions
    return Mirrored(
        uri=resolve_tracking_uri(study),
        experiment=options.tracking.experiment,
        children=options.tracking.children,
        study=options.study,
        key=sessions[0].opened.session,
        selector=options.selector.name,
        folder=context.folder,
        params=_params(options),
        datasets=datasets_of(study, context.rows, sessions[-1].opened.fingerprint),
        steps=context.translator.steps,
        price=context.price,
    )


class Tracker(threading.Thread):
    """The mirror's thread. ``hear`` it events, note what it ``made``; in the end ``finish`` it, or ``abandon`` it."""

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
        self._not_before = 0.0  # nothing is written until then
        self._mirror: Mirror | None = None

    def hear(self, event: Event) -> None:
        """Called on the driver's thread for every event of the session."""
        self._heard.append(event)
        self._news.set()

    def made(self) -> list[Tracked]:
        """Since the last call: the runs that the ledger does not name yet. On the driver's thread."""
        events = []
        while not self._made.empty():
            events.append(self._made.get())
        return events

    def abandon(self) -> None:
        """Write nothing more: the runs are another driver's now."""
        self._abandoned = True
        self._news.set()

    def finish(self, ending: Ending, patience: float) -> None:
        """Close the runs within ``patience`` seconds. Where that fails, ``trouble`` says why."""
        self._ended = ending
        self._news.set()
        self.join(patience)
        if self.is_alive() and self.trouble is None:
            self.trouble = f"not done within {patience:.0f} s"

    def run(self) -> None:
        """The thread: fold what is heard, mirror it, again and again until the study has ended and all is mirrored."""
        while not self._abandoned:
            ended = self._ended  # looked at before the events: then all of them are there
            try:
                self._fold()
                if ended is not None or time.monotonic() >= self._not_before:
                    self._write(ended)
                    self.trouble = None
                if ended is not None:
                    return
            except Exception as error:
                # Whatever a server, a network or this mirror can do wrong: the search must not hear of it.
                self.trouble = said_of(error, self._study.uri)
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
            self._heard.popleft()  # only now: what cannot be folded stays a trouble

    def _write(self, ended: Ending | None) -> None:
        if self._mirror is None:
            self._mirror = Mirror(self._study, self._accounts, self._note)
        for _ in self._mirror.update(ended):
            if self._abandoned:
                return

    def _note(self, made: Tracked) -> None:
        if made not in self._noted:
            self._noted.add(made)
            self._made.put(made)


def _params(options: StudyOptions) -> dict[str, Any]:
    """How every trial is trained and what its score is of. In epochs, how many steps that are differs by trial."""
    training = options.training
    values = {
        **options.model.model_dump(mode="json"),
        **training.model_dump(mode="json", exclude={"steps"} if training.epochs is not None else None),
        "search_score": search_score_of(options) if options.search_score != "metric" else None,
    }
    return {key: value for key, value in values.items() if value is not None}
