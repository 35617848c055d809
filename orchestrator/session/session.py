"""One session of a study: open the ledger, train what is left, answer, close. What ``run`` and ``resume`` do."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auxtune.orchestrator.answer.answer import answer, write_answer
from auxtune.orchestrator.errors import Interrupted, LedgerError, Locked, TooManyFailures
from auxtune.orchestrator.planning.agenda import Agenda
from auxtune.orchestrator.planning.budget import check_confirm
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.events import Event
from auxtune.orchestrator.record.heartbeat import Heartbeat
from auxtune.orchestrator.record.ledger import Ledger
from auxtune.orchestrator.report.blocks import Page
from auxtune.orchestrator.report.study_page import write_report
from auxtune.orchestrator.session.closing import close, discard_answer, ending_of, failure_of
from auxtune.orchestrator.session.prepare import Prepared, open_ledger, prepare
from auxtune.orchestrator.session.ray_backend import RayBackend, RaySearch, cluster_ray, local_ray
from auxtune.orchestrator.session.signals import StopSignals
from auxtune.orchestrator.storage.patience import patient
from auxtune.orchestrator.study_file.paths import study_folder, tracking_uri
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.orchestrator.tracking.ending import Reason
from auxtune.orchestrator.tracking.tracker import Tracker, mirrored
from auxtune.orchestrator.typed import typed

PATIENCE = 30.0  # seconds that the end of a session waits for MLflow


@dataclass(frozen=True)
class Result:
    """What a finished study leaves."""

    folder: Path
    selection: Mapping[str, Any]
    """The content of ``selection.json``."""
    accounts: Accounts
    tracking_trouble: str | None
    """Why MLflow could not be brought up to date, if it could not."""
    report_trouble: str | None = None
    """Why ``report.html`` could not be written, if it could not."""
    unpaid: str | None = None
    """The selector's new reading of its trials, where the budget does not allow to confirm it."""


def run_session(
    study: StudyFile,
    listener: Callable[[Event], None] = lambda event: None,
    allow_drift: bool = False,
    address: str | None = None,
) -> Result:
    """Run a study, or resume it, to its answer: on this machine, or on the cluster at ``address``.

    Raises ``Interrupted`` after Ctrl-C or SIGTERM, ``TooManyFailures``, ``DriftError``, ``Locked``, ``ClusterError``
    and whatever ``prepare`` raises. Whatever is raised, the ledger holds what was done, and another session continues
    from there.
    """
    tracking_uri(study)  # what is wrong with it is said before anything is begun
    with Session.open(study, listener, allow_drift, address) as session:
        session.run()
    return session.result()


class Session:
    """A session whose ledger is open; ``run`` it once, and then ask for its ``result``."""

    def __init__(
        self,
        key: str,
        prepared: Prepared,
        ledger: Ledger,
        backend: RayBackend,
        signals: StopSignals,
        listener: Callable[[Event], None],
    ) -> None:
        """``key`` names it in the ledger. ``prepared`` knows of all events of ``ledger``."""
        context = prepared.context
        self._key, self._prepared, self._context = key, prepared, context
        self._ledger, self._backend, self._signals, self._listener = ledger, backend, signals, listener
        self._tracker = Tracker(mirrored(context), list(ledger.events))
        self._agenda: Agenda | None = None
        self._reason: Reason = "failed"
        self._selection: Mapping[str, Any] = {}
        self._page: Page | None = None
        self._report_trouble: str | None = "interrupted"
        self._failure = ""  # why there is no answer, up to what is to be done

    @classmethod
    @contextlib.contextmanager
    def open(
        cls, study: StudyFile, listener: Callable[[Event], None], allow_drift: bool, address: str | None
    ) -> Iterator[Session]:
        """Take the study, read its data and begin a session in its ledger; within the context nobody else has it.

        Raises ``Locked``, ``ClusterError``, ``DriftError``, ``LedgerError`` and whatever ``prepare`` raises.
        """
        folder, key = study_folder(study), uuid.uuid4().hex[:12]
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            signals = stack.enter_context(StopSignals())
            stack.enter_context(Heartbeat(folder, key, lambda: bool(signals.came)))
            backend = stack.enter_context(cluster_ray(address, signals) if address else local_ray())
            ledger, prepared = open_ledger(prepare(study, backend.machines()), key, allow_drift)
            listener(ledger.events[-1])  # the opening itself
            stack.enter_context(patient())  # not before: what cannot be reached at all is said at once
            (folder / "study.yaml").write_text(study.text, encoding="utf-8")
            yield cls(key, prepared, ledger, backend, signals, listener)

    def run(self) -> None:
        """Search, answer and close; an error closes the session too, as a failed one."""
        self._tracker.start()
        try:
            agenda = self.search()
            self.answer(agenda)
            self.close(agenda)
        except Locked:
            self._tracker.abandon()  # the runs are the other driver's now
            raise
        except KeyboardInterrupt:  # at a moment when it could be obeyed at once
            self._reason = "done" if self._reason == "done" else "interrupted"
            ending = ending_of(self._reason, self._context.folder, self._selection, self._page)
            close(self._ledger, self._tracker, self._reason, ending, patience=0.0)
        except BaseException:
            with contextlib.suppress(OSError, LedgerError):  # the first error is the one to show
                ending = ending_of("failed", self._context.folder, {}, None)
                close(self._ledger, self._tracker, "failed", ending, PATIENCE)
            raise

    def search(self) -> Agenda:
        """Recover what earlier sessions left open, and train until the agenda is through or a signal comes."""
        measuring = self._prepared.measuring()
        agenda = Agenda(self._context, self._ledger, self._prepared.budget, self._hear, measuring.served)
        self._agenda = agenda
        check_confirm(self._context.options.budget.trials, agenda.accounts.trained, agenda.owed)
        if not agenda.finished:
            search = RaySearch(
                self._prepared, agenda, measuring, self._tracker, self._signals, self._backend, self._key
            )
            search.run()
        self._reason = "done" if agenda.finished else "interrupted" if self._signals.came else "failed"
        return agenda

    def answer(self, agenda: Agenda) -> None:
        """Write the answer and its page where the study has come to one; else keep none that is not one."""
        context, folder = self._context, self._context.folder
        if self._reason == "done":
            metrics = {name: task.metrics[0] for name, task in self._prepared.tasks.items()}
            name, confirmation, price = context.options.study, context.confirmation, context.price
            self._selection = answer(name, folder, agenda.accounts, confirmation, metrics, price)
            write_answer(folder, self._selection)
            self._page, self._report_trouble = write_report(
                folder, context.study, self._ledger.events, self._selection, context.accounts
            )
        elif self._reason == "failed":
            discard_answer(folder, agenda.vain)
            self._failure = failure_of(agenda, folder)

    def close(self, agenda: Agenda) -> None:
        """Bring MLflow up to date and write the session's last events."""
        ending = ending_of(self._reason, self._context.folder, self._selection, self._page)
        message = self._failure or None
        for event in close(self._ledger, self._tracker, self._reason, ending, PATIENCE, message):
            agenda.accounts.add(event)

    def result(self) -> Result:
        """The study's answer. Raises ``Interrupted`` or ``TooManyFailures`` where the session came to none."""
        folder = self._context.folder
        resume = f"`auxtune resume {typed(folder)}` goes on from here"
        if self._reason == "interrupted":
            raise Interrupted(f"Interrupted; {resume}.")
        if self._reason == "failed" or self._agenda is None:
            raise TooManyFailures(self._failure + resume)
        accounts, unpaid = self._agenda.accounts, self._agenda.unpaid
        limit = self._context.options.budget.trials
        said = unpaid.describe(folder, accounts.trained, limit) if unpaid else None
        return Result(folder, self._selection, accounts, self._tracker.trouble, self._report_trouble, said)

    def _hear(self, event: Event) -> None:
        self._tracker.hear(event)
        self._listener(event)
