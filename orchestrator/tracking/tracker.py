"""Mirrors a study in MLflow from a thread of its own: never in the search's way, and never lost.

The thread folds the ledger's events into accounts of its own and brings MLflow's runs to what they say. If the server
is down, trials go on; the mirror tries again, and at the latest the next session fills in what is missing, from the
ledger and the attempts' ``metrics.jsonl``.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from auxtune.orchestrator.planning.budget import Price
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.events import Event, Tracked
from auxtune.orchestrator.study_file.paths import tracking_uri
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.orchestrator.tracking.mirror import Mirror, Mirrored
from auxtune.selectors.protocol import Proposal

INTERVAL = 2.0                                         # seconds between looks at running trials
RETRY = 3.0                                            # seconds after the server did not answer


def mirrored(
    study: StudyFile, folder: Path, events: Sequence[Event], steps: Callable[[Proposal], int], price: Price
) -> Mirrored:
    """What the mirror of a study must know; ``events`` are the ledger's, this session's opening included."""
    options = study.options
    recipe = {**options.model.model_dump(mode="json"), **options.training.model_dump(mode="json")}
    return Mirrored(
        uri=tracking_uri(study),
        experiment=options.tracking.experiment,
        children=options.tracking.children,
        study=options.study,
        key=Accounts(events).sessions[0].opened.session,
        selector=options.selector.name,
        folder=folder,
        params={key: value for key, value in recipe.items() if value is not None},
        steps=steps,
        price=price,
    )


class Tracker(threading.Thread):
    """The mirror's thread. ``hear`` it events, note what it ``made``; in the end ``finish`` it, or ``abandon`` it."""

    def __init__(self, mirrored: Mirrored, events: Sequence[Event]) -> None:
        super().__init__(name="mlflow", daemon=True)
        self.trouble: str | None = None                # why MLflow is not up to date, while it is not
        self._study = mirrored
        self._accounts = Accounts(events)
        self._heard: deque[Event] = deque()
        self._news = threading.Event()
        self._noted: dict[int | None, str | None] = {
            None: self._accounts.study_run_id,
            **{trial.id: trial.run_id for trial in self._accounts.trials.values()},
        }
        self._made: queue.SimpleQueue[Tracked] = queue.SimpleQueue()
        self._status: str | None = None                # the study's, once it has ended
        self._artifacts: list[Path] = []
        self._abandoned = False
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

    def finish(self, status: str, artifacts: Sequence[Path], patience: float) -> None:
        """Close the runs within ``patience`` seconds. Where that fails, ``trouble`` says why."""
        self._artifacts = list(artifacts)
        self._status = status                          # last: the thread acts on it
        self._news.set()
        self.join(patience)
        if self.is_alive() and self.trouble is None:
            self.trouble = f"not done within {patience:.0f} s"

    def run(self) -> None:
        """The thread: fold what is heard, mirror it, again and again until the study has ended and all is mirrored."""
        while not self._abandoned:
            ended = self._status                       # looked at before the events: then all of them are there
            try:
                self._fold()
                self._write(ended)
                self.trouble = None
                if ended is not None:
                    return
            except Exception as error:
                # Whatever a server, a network or this mirror can do wrong: the search must not hear of it.
                self.trouble = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")
                self._mirror = None
            self._news.wait(RETRY if self.trouble else INTERVAL)
            self._news.clear()

    def _fold(self) -> None:
        while self._heard:
            self._accounts.add(self._heard[0])
            self._heard.popleft()                      # only now: what cannot be folded stays a trouble

    def _write(self, ended: str | None) -> None:
        if self._mirror is None:
            self._mirror = Mirror(self._study, self._accounts, self._note)
        for _ in self._mirror.update(ended, self._artifacts):
            if self._abandoned:
                return

    def _note(self, trial: int | None, run_id: str) -> None:
        if self._noted.get(trial) != run_id:
            self._noted[trial] = run_id
            self._made.put(Tracked(id=trial, run_id=run_id))
