"""One session of a study: open the ledger, train what is left, answer. What ``run`` and ``resume`` do."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from auxtune.orchestrator.answer.answer import Answer, write_answer
from auxtune.orchestrator.answer.build import build_answer
from auxtune.orchestrator.engine.loop import run_tuner
from auxtune.orchestrator.errors import Interrupted, LedgerError, Locked, TooManyFailures
from auxtune.orchestrator.planning.agenda import Agenda
from auxtune.orchestrator.planning.lengths import whole_steps
from auxtune.orchestrator.planning.measuring import Measuring
from auxtune.orchestrator.planning.plan_size import check_confirm
from auxtune.orchestrator.planning.slots import Slots, resized
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.record.events import Event
from auxtune.orchestrator.record.evidence import StoredEvidence
from auxtune.orchestrator.record.fold import SelectorFold
from auxtune.orchestrator.record.heartbeat import Heartbeat
from auxtune.orchestrator.record.ledger import Ledger
from auxtune.orchestrator.record.node_time import NodeTrail
from auxtune.orchestrator.record.results import attempt_folder
from auxtune.orchestrator.report.blocks import Page
from auxtune.orchestrator.report.study_page import write_report
from auxtune.orchestrator.session.closing import close, discard_answer, ending_of, failure_of
from auxtune.orchestrator.session.ground import Ground, on_cluster, on_this_machine
from auxtune.orchestrator.session.opening import open_ledger
from auxtune.orchestrator.session.prepare import Prepared, prepare
from auxtune.orchestrator.session.signals import StopSignals
from auxtune.orchestrator.storage.object_path import ObjectPath
from auxtune.orchestrator.storage.patience import patient
from auxtune.orchestrator.study_file.paths import study_folder, tracking_uri
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.orchestrator.tracking.ending import Reason
from auxtune.orchestrator.tracking.tracker import Tracker, mirrored
from auxtune.orchestrator.typed import typed

PATIENCE = 30.0  # seconds that the end of a session waits for MLflow


@dataclass(frozen=True)
class Result:
    """What a finished study leaves: its folder, its answer, and the accounts.

    ``unpaid`` says what the selector reads anew out of its trials where the budget does not allow to confirm it.
    ``tracking_trouble`` says why MLflow could not be brought up to date, if it could not, and ``report_trouble`` why
    ``report.html`` could not be written.
    """

    folder: Path
    answer: Answer
    accounts: Accounts
    tracking_trouble: str | None
    report_trouble: str | None = None
    unpaid: str | None = None

    @property
    def selection(self) -> dict[str, Any]:
        """The content of ``selection.json``."""
        return self.answer.as_json()


def run_session(
    study: StudyFile,
    listener: Callable[[Event], None] = lambda event: None,
    allow_drift: bool = False,
    address: str | None = None,
) -> Result:
    """Run a study, or go on with it, to its answer: on this machine, or on the cluster at ``address``.

    Raises ``Interrupted`` after Ctrl-C or SIGTERM, ``TooManyFailures``, ``DriftError``, ``Locked``, ``ClusterError``
    and whatever ``prepare`` raises. Whatever is raised, the ledger holds what was done, and another session goes on
    from there.
    """
    folder, session = study_folder(study), uuid.uuid4().hex[:12]
    tracking_uri(study)  # what is wrong with it is said before anything is begun
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        signals = stack.enter_context(StopSignals())
        stack.enter_context(Heartbeat(folder, session, lambda: bool(signals.came)))
        ground = stack.enter_context(on_cluster(address, signals) if address else on_this_machine())
        prepared = prepare(study, ground.machines())
        ledger = open_ledger(folder, prepared, session, allow_drift)
        prepared = replace(prepared, confirmation=prepared.confirmation.recalling(Accounts(ledger.events)))
        listener(ledger.events[-1])  # the opening itself
        stack.enter_context(patient())  # not before: what cannot be reached at all is said at once
        (folder / "study.yaml").write_text(study.text, encoding="utf-8")
        steps, price = prepared.translator.steps, prepared.budget.price
        runs = mirrored(study, folder, ledger.events, steps, price, prepared.rows)
        tracker = Tracker(runs, list(ledger.events))
        tracker.start()
        reason: Reason = "failed"
        answer: Answer | None = None
        page: Page | None = None
        untold: str | None = "interrupted"  # why there is no report.html
        failure = ""  # why there is no answer, up to what is to be done
        try:
            measuring = prepared.measuring(ledger.events)
            agenda = _agenda(folder, ledger, prepared, measuring, tracker, listener)
            check_confirm(study.options.budget.trials, agenda.accounts.trained, agenda.owed)
            if not agenda.finished:
                _train(prepared, agenda, measuring, tracker, folder, session, signals, ground)
            reason = "done" if agenda.finished else "interrupted" if signals.came else "failed"
            if reason == "done":
                answer = _answer(prepared, agenda, folder)
                page, untold = write_report(folder, study, ledger.events, answer)
            elif reason == "failed":
                discard_answer(folder, agenda.vain)
                failure = failure_of(agenda, folder)
            ending = ending_of(reason, folder, answer, page)
            for event in close(ledger, tracker, reason, ending, PATIENCE, failure or None):
                agenda.accounts.add(event)
        except Locked:
            tracker.abandon()  # the runs are the other driver's now
            raise
        except KeyboardInterrupt:  # at a moment when it could be obeyed at once
            reason = "done" if reason == "done" else "interrupted"
            close(ledger, tracker, reason, ending_of(reason, folder, answer, page), patience=0.0)
        except BaseException:
            with contextlib.suppress(OSError, LedgerError):  # the first error is the one to show
                close(ledger, tracker, "failed", ending_of("failed", folder, None, None), PATIENCE)
            raise
    if reason == "done" and answer is not None:
        trained, limit = agenda.accounts.trained, study.options.budget.trials
        unpaid = agenda.unpaid.describe(folder, trained, limit) if agenda.unpaid else None
        return Result(folder, answer, agenda.accounts, tracker.trouble, untold, unpaid)
    go_on = f"`auxtune resume {typed(folder)}` goes on from here"
    if reason == "interrupted":
        raise Interrupted(f"Interrupted; {go_on}.")
    raise TooManyFailures(failure + go_on)


def _agenda(
    folder: Path,
    ledger: Ledger,
    prepared: Prepared,
    measuring: Measuring,
    tracker: Tracker,
    listener: Callable[[Event], None],
) -> Agenda:
    def heard(event: Event) -> None:
        tracker.hear(event)
        listener(event)

    fold = SelectorFold(prepared.selector, prepared.problem, StoredEvidence(measuring.store))
    return Agenda(
        folder, ledger, fold, prepared.translator, prepared.budget, prepared.confirmation, heard, measuring.served
    )


def _train(
    prepared: Prepared,
    agenda: Agenda,
    measuring: Measuring,
    tracker: Tracker,
    folder: Path,
    session: str,
    signals: StopSignals,
    ground: Ground,
) -> None:
    """Let Ray work through the agenda, until it is through or a signal comes."""
    with signals.held(), ground.ray():
        signals.listen()
        # These import Ray, whose settings must be in the environment before.
        from auxtune.orchestrator.engine.search import LedgerSearcher
        from auxtune.orchestrator.engine.trainable import Assignment
        from auxtune.orchestrator.engine.watch import HangWatch, LoopWatch

        def slots() -> Slots:
            return resized(prepared.slots, prepared.study.options.resources, ground.machines())

        def assign(trial: Trial) -> Assignment:
            attempt = trial.attempts[-1]
            former, given = attempt.resume_from, prepared.slots.of(trial.proposal)
            return Assignment(
                trial=trial.id,
                attempt=attempt.number,
                recipe=prepared.translator.recipe(trial.proposal, trial.phase),
                folder=attempt_folder(folder, trial.id, attempt.number),
                checkpoint=attempt_folder(folder, trial.id, former) / "checkpoint" if former else None,
                start=agenda.start_of(trial),
                judged=agenda.may_stop(trial),
                cpus=given.cpus,
                gpus=given.gpus,
                wanted=given.wanted,
                proposal=trial.proposal,
                problem=prepared.problem,
                study=folder,
                measure=measuring.plan(trial.proposal),
            )

        trail = NodeTrail(ground.node_time, agenda.record, agenda.flush)

        def each_turn() -> None:
            for event in tracker.made():
                agenda.record(event)
            agenda.resize(slots())
            trail.each_turn()
            signals.end_loop()

        minutes = prepared.study.options.resources.trial_minutes
        watch = LoopWatch(each_turn)
        callbacks = [watch, *([HangWatch(minutes * 60, slots)] if minutes else [])]
        searcher = LedgerSearcher(agenda, assign, watch.error_of, slots)
        try:
            with _scratch(folder) as scratch, contextlib.suppress(KeyboardInterrupt):  # the second Ctrl-C: at once
                scheduler = _scheduler(prepared, agenda)
                run_tuner(searcher, scheduler, callbacks, prepared.tasks, prepared.base, scratch / session)
        finally:
            trail.end()


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder of this machine for what Tune writes and nobody reads: the study's own, if that is here."""
    if not isinstance(folder, ObjectPath):
        yield folder / "tune"
        return
    with TemporaryDirectory(prefix="auxtune-tune-") as scratch:
        yield Path(scratch)


def _scheduler(prepared: Prepared, agenda: Agenda) -> Any:
    """What hands trials to workers, and stops trials early if the study asks for it."""
    from auxtune.orchestrator.engine.scheduling import OwnActors
    from auxtune.orchestrator.engine.stopping import EarlyStopping

    training = prepared.study.options.training
    if training.early_stopping is None:
        return OwnActors()
    steps = whole_steps(training, prepared.problem)
    grace = min(training.evaluate_every, steps)
    return EarlyStopping(grace, steps, agenda.record, agenda.accounts.judged)


def _answer(prepared: Prepared, agenda: Agenda, folder: Path) -> Answer:
    options = prepared.study.options
    metrics = {name: task.metrics[0] for name, task in prepared.tasks.items()}
    price = prepared.budget.price
    answer = build_answer(options.study, folder, agenda.accounts, prepared.confirmation, metrics, price)
    write_answer(folder, answer)
    return answer
