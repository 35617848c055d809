"""One session of a study: open the ledger, train what is left, answer, close. What ``run`` and ``resume`` do."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from auxtune.orchestrator.answer.answer import Answer, read_answer, write_answer
from auxtune.orchestrator.answer.build import build_answer
from auxtune.orchestrator.engine.embedded_ray import locate_ray_folder
from auxtune.orchestrator.errors import AuxtuneError, Interrupted, LedgerError, Locked, TooManyFailures, Unwritable
from auxtune.orchestrator.planning.agenda import Agenda
from auxtune.orchestrator.planning.budget import check_confirm
from auxtune.orchestrator.planning.confirm import FailedPart
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.record.driver import Heartbeat, StopSignals
from auxtune.orchestrator.record.events import Closed, Event, Tracked
from auxtune.orchestrator.record.ledger import Ledger, LedgerReader
from auxtune.orchestrator.record.results import locate_attempt
from auxtune.orchestrator.report.blocks import Page
from auxtune.orchestrator.report.markdown import write_note
from auxtune.orchestrator.report.page import FIGURES, draw_figures
from auxtune.orchestrator.report.study_page import FILE, write_report
from auxtune.orchestrator.session.prepare import Prepared, check_ledger_is_there, open_ledger, prepare
from auxtune.orchestrator.session.ray_backend import RayBackend, RaySearch, cluster_ray, local_ray
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import is_local, quote_path, store_of
from auxtune.orchestrator.study_file.paths import locate_study, resolve_tracking_uri
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.orchestrator.tracking.run_content import Ending, Reason
from auxtune.orchestrator.tracking.tracker import Tracker, describe_study

PATIENCE = 8.0  # seconds that the end of a session waits for MLflow while it makes no progress
_LONGEST_WAIT = 30.0  # seconds that it waits altogether: the next session fills in what is missing


@dataclass(frozen=True)
class Result:
    """The result of a finished study."""

    folder: StoredPath
    answer: Answer
    accounts: Accounts
    tracking_trouble: str | None
    """Why MLflow could not be brought up to date, if it could not."""
    report_trouble: str | None = None
    """Why ``report.html`` could not be written, if it could not."""
    unpaid: str | None = None
    """The selector's new reading of its trials, where the budget does not allow to confirm it."""

    @property
    def selection(self) -> dict[str, Any]:
        """The content of ``selection.json``."""
        return self.answer.as_json()


def run_session(
    study: StudyFile,
    listener: Callable[[Event], None] = lambda event: None,
    allow_drift: bool = False,
    address: str | None = None,
    reader: LedgerReader | None = None,
) -> Result:
    """Run a study, or resume it, to its answer: on this machine, or on the cluster at ``address``.

    ``reader`` is of the study's ledger, if it was read before: what it has read is not read again.

    Raises ``Interrupted`` after Ctrl-C or SIGTERM, ``Unwritable`` where a trial cannot write its files,
    ``TooManyFailures``, ``DriftError``, ``Locked``, ``ClusterError`` and whatever ``prepare`` raises. Whatever is
    raised, the ledger holds what was done, and another session continues from there.
    """
    resolve_tracking_uri(study)  # raises before anything is begun
    with Session.open(study, listener, allow_drift, address, reader) as session:
        session.run()
    return session.result()


class Session:
    """A session with an open ledger; ``run`` it once, then ask for its ``result``."""

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
        self._tracker = Tracker(describe_study(context), list(ledger.events))
        self._agenda: Agenda | None = None
        self._reason: Reason = "failed"
        self._answer: Answer | None = None
        self._page: Page | None = None
        self._report_trouble: str | None = "interrupted"
        self._ending: Ending | None = None  # what MLflow is told, once the study has ended
        self._failure = ""  # why there is no answer, up to what is to be done

    @classmethod
    @contextlib.contextmanager
    def open(
        cls,
        study: StudyFile,
        listener: Callable[[Event], None],
        allow_drift: bool,
        address: str | None,
        reader: LedgerReader | None,
    ) -> Iterator[Session]:
        """Take the study, read its data and begin a session in its ledger; within the context no other process has it.

        Raises ``Locked``, ``ClusterError``, ``DriftError``, ``LedgerError``, also where the ledger alone is gone, and
        whatever ``prepare`` raises.
        """
        folder, key = locate_study(study), uuid.uuid4().hex[:12]
        reader = reader or LedgerReader(folder / "ledger")
        reader.read_new()
        check_ledger_is_there(folder, reader)
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            signals = stack.enter_context(StopSignals())
            stack.enter_context(Heartbeat(folder, key, lambda: bool(signals.came)))
            backend = stack.enter_context(cluster_ray(address, signals) if address else local_ray())
            if not _is_done(reader):  # else there may be nothing to train
                backend.begin(study.options.resources)
            ledger, prepared = open_ledger(prepare(study, backend.machines()), key, allow_drift, reader)
            listener(ledger.events[-1])  # the opening itself
            # Not earlier: a store that cannot be reached at all is an error at once.
            stack.enter_context(store_of(folder).survive_silence())
            (folder / "study.yaml").write_text(study.text, encoding="utf-8")
            yield cls(key, prepared, ledger, backend, signals, listener)

    def run(self) -> None:
        """Search, answer and close; an error closes the session too, as a failed one."""
        try:
            agenda = self.search()
            self.answer(agenda)
            self.close(agenda)
        except Locked:
            self._tracker.abandon()  # the runs are the other driver's now
            raise
        except KeyboardInterrupt:  # raised only where it can be obeyed at once
            self._reason = "done" if self._reason == "done" else "interrupted"
            # Nothing is drawn any more: the next session tells MLflow what it lacks.
            ending = self._ending or Ending(self._reason, files=(self._context.folder / "study.yaml",))
            close_session(self._ledger, self._tracker, self._reason, ending, patience=0.0)
        except BaseException as error:
            with contextlib.suppress(OSError, LedgerError):  # the first error is the one to show
                if self._agenda is not None:
                    self._agenda.flush()
                ending = build_ending("failed", self._context.folder, None, None)
                said = str(error) if isinstance(error, AuxtuneError) else f"{type(error).__name__}: {error}"
                close_session(self._ledger, self._tracker, "failed", ending, PATIENCE, said)
            raise

    def search(self) -> Agenda:
        """Recover what earlier sessions left open, and train until the agenda is through or a signal comes."""
        planner = self._prepared.measure_planner()
        agenda = Agenda(self._context, self._ledger, self._prepared.budget, self._hear, planner.find_known)
        self._agenda = agenda
        check_confirm(self._context.options.budget.trials, agenda.accounts.trained, agenda.owed)
        if not agenda.finished:
            search = RaySearch(self._prepared, agenda, planner, self._tracker, self._signals, self._backend, self._key)
            search.run()
        agenda.flush()
        stopped = self._signals.came or agenda.refused is not None
        self._reason = "done" if agenda.finished else "interrupted" if stopped else "failed"
        return agenda

    def answer(self, agenda: Agenda) -> None:
        """Write the answer and its page if the study is done; after a failure delete one that no longer holds."""
        context, folder = self._context, self._context.folder
        if self._reason == "done":
            metrics = {name: task.metrics[0] for name, task in self._prepared.tasks.items()}
            name, confirmation, price = context.options.study, context.confirmation, context.price
            answer = build_answer(name, folder, agenda.accounts, confirmation, metrics, price)
            write_answer(folder, answer)
            self._answer = answer
            self._page, self._report_trouble = write_report(
                folder, context.study, self._ledger.events, answer, context.accounts
            )
        elif self._reason == "failed":
            discard_answer(folder, agenda.failed_part)
            self._failure = describe_failure(agenda, folder)

    def close(self, agenda: Agenda) -> None:
        """Bring MLflow up to date and write the session's last events."""
        self._ending = build_ending(self._reason, self._context.folder, self._answer, self._page)
        message = self._failure or agenda.refused
        for event in close_session(self._ledger, self._tracker, self._reason, self._ending, PATIENCE, message):
            agenda.accounts.add(event)

    def result(self) -> Result:
        """The study's answer. Raises ``Interrupted``, ``Unwritable`` or ``TooManyFailures`` where there is none."""
        folder = self._context.folder
        resume = f"`auxtune resume {quote_path(folder)}` continues from here"
        refused = None if self._agenda is None else self._agenda.refused
        if self._reason == "interrupted" and refused is not None:
            raise Unwritable(
                f"Paused: {refused}. No trial has failed for it: `auxtune run` on the study file, or "
                f"`auxtune resume {quote_path(folder)}`, tries again what could not write."
            )
        if self._tracker.trouble:
            resume += f", and fills in what MLflow does not have yet ({self._tracker.trouble})"
        if self._reason == "interrupted":
            raise Interrupted(f"Interrupted; {resume}.")
        if self._reason == "failed" or self._agenda is None or self._answer is None:
            raise TooManyFailures(self._failure + resume)
        accounts, unpaid = self._agenda.accounts, self._agenda.unpaid
        limit = self._context.options.budget.trials
        said = unpaid.describe(folder, accounts.trained, limit) if unpaid else None
        return Result(folder, self._answer, accounts, self._tracker.trouble, self._report_trouble, said)

    def _hear(self, event: Event) -> None:
        self._tracker.hear(event)
        self._listener(event)


def build_ending(reason: Reason, folder: StoredPath, answer: Answer | None, page: Page | None) -> Ending:
    """The files, note and figures that MLflow keeps of a study that ended for a ``reason``."""
    if answer is None:
        return Ending(reason, files=(folder / "study.yaml",))
    files = [path for name in ("study.yaml", "selection.json", FILE) if (path := folder / name).exists()]
    try:
        drawings = {f"{FIGURES}/{name}": drawing for name, drawing in draw_figures(page).items()} if page else {}
        return Ending(reason, answer, write_note(page, answer, folder), files, drawings)
    except Exception as error:  # an answer must not be lost over what MLflow shows of it
        said = f"{type(error).__name__}: {error}"
        logging.getLogger(__name__).warning("MLflow gets neither note nor figures of the report: %s", said)
        return Ending(reason, answer, write_note(None, answer, folder), files)


def close_session(
    ledger: Ledger, tracker: Tracker, reason: Reason, ending: Ending, patience: float, message: str | None = None
) -> list[Tracked]:
    """End the mirror and the session, with a ``message`` for later readers.

    Returns the runs that were made last, which it has still noted.
    """
    tracker.begin()
    tracker.finish(ending, patience, _LONGEST_WAIT)
    made = tracker.made()
    for event in made:
        ledger.append(event)
    ledger.close(reason, message)
    return made


def describe_failure(agenda: Agenda, folder: StoredPath) -> str:
    """Why a study cannot continue, up to the remedy."""
    trials = agenda.accounts.trials.values()
    part = agenda.failed_part
    if part is None and not agenda.failing:
        logs = folder / "tune" if is_local(folder) else f"{locate_ray_folder()}, on a cluster in /tmp/ray"
        return f"Ray ended before the study did (its logs are in {logs}); "
    failed = [trial for trial in trials if trial.status == "failed"]
    last = failed[-1]
    what = f"{len(failed)} of {len(trials)} trials failed, the last ones in a row"
    if part == "search" and not agenda.failing:
        what = f"There is no answer: nothing came of the search, {_count_all(agenda.accounts.of_selector)} failed"
    elif part == "confirm":
        what = "There is no answer: every training that was to confirm the selection failed"
    return (
        f"{what}. Trial {last.id} said: {last.told.message if last.told else 'nothing'} (log: "
        f"{locate_attempt(folder, last.id, len(last.attempts)) / 'log.txt'}). When it is mended, "
    )


def discard_answer(folder: StoredPath, part: FailedPart | None) -> None:
    """Delete an answer that an earlier version took from a ``part`` that failed altogether, and its page.

    What an earlier budget had confirmed stays.
    """
    if part is None:
        return
    try:
        answer = read_answer(folder)
    except AuxtuneError:  # unreadable, so it misleads no one
        return
    if answer is not None and (part == "search" or not answer.report):
        for name in ("selection.json", FILE):
            (folder / name).unlink(missing_ok=True)


def _is_done(reader: LedgerReader) -> bool:
    last = reader.events[-1] if reader.events else None
    return isinstance(last, Closed) and last.reason == "done"


def _count_all(trials: Sequence[Trial]) -> str:
    return "its one trial" if len(trials) == 1 else f"all of its {len(trials)} trials"
