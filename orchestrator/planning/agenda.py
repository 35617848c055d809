"""Decides what is trained next: unfinished work, then the selector's proposals, a control that searches, and confirm.

The agenda knows nothing of Ray. It is asked for work and told of endings; every decision is an event in the ledger, so
a new agenda over the same ledger continues exactly where the old one stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from auxtune.orchestrator.errors import EvidenceError, SelectorError
from auxtune.orchestrator.planning.arms import EQUAL_COST
from auxtune.orchestrator.planning.attempts import (
    build_lost,
    build_told,
    end_early,
    find_digests,
    find_result,
    give_up,
)
from auxtune.orchestrator.planning.budget import NOTHING, Budget, count_control_trials, has_equal_cost
from auxtune.orchestrator.planning.confirm import (
    FailedPart,
    NewReading,
    find_failed_part,
    find_new_reading,
    list_failed_trials,
)
from auxtune.orchestrator.planning.context import StudyContext
from auxtune.orchestrator.planning.control_search import ControlSearch
from auxtune.orchestrator.planning.remeasuring import Remeasuring
from auxtune.orchestrator.planning.slots import Slots
from auxtune.orchestrator.record.accounts import Trial
from auxtune.orchestrator.record.events import (
    Event,
    Judged,
    Phase,
    Proposed,
    Remeasured,
    Retried,
    Selected,
    Started,
    Told,
    read_time,
    round_trip,
)
from auxtune.orchestrator.record.ledger import Announcer, Ledger
from auxtune.orchestrator.record.results import (
    Refusal,
    delete_useless_weights,
    has_checkpoint,
    locate_attempt,
    read_kept_rows,
    start_of,
)
from auxtune.orchestrator.record.scores import describe_value, sign_in
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.selectors.protocol import Done, Outcome, Proposal, Selection, Wait
from auxtune.trials.result import Result, clip_negative

if TYPE_CHECKING:  # it loads torch
    from auxtune.orchestrator.planning.measure_plan import KnownOutcome


class Agenda:
    """Decides what is trained next in one session of a study."""

    def __init__(
        self,
        context: StudyContext,
        ledger: Ledger,
        budget: Budget,
        listener: Callable[[Event], None] = lambda event: None,
        find_known: Callable[[Proposal], KnownOutcome | None] = lambda proposal: None,
    ) -> None:
        """``context`` is of all events of ``ledger``, this session's opening included, and is kept up to date.

        ``listener`` hears every event of this session once it is durable. ``find_known`` gives the outcome of a
        proposal that need not be trained, because all it measures is known.
        """
        self.folder, self.accounts = context.folder, context.accounts
        self.exhausted: str | None = None  # the limit that ended the search, if one did
        self.refused: str | None = None  # where a trial could not write, and why: the study is paused
        self.unpaid: NewReading | None = None  # another answer by now, which the budget does not allow to confirm
        self._ledger, self._announcer, self._fold = ledger, Announcer(ledger, listener), context.fold(ledger.events)
        self._context, self._translator, self._confirmation = context, context.translator, context.confirmation
        self._control: ControlSearch | None = None
        if has_equal_cost(context.options):
            self._control = ControlSearch(context.fold_control(ledger.events), context.translator.execute)
        self._budget, self._find_known = budget, find_known
        self._answer: tuple[int, Proposal | Wait | Done] | None = None  # the last one, and by how many events
        self._without_weights: set[tuple[int, int]] = set()  # attempts, by trial and number, that have none any more
        retries = budget.options.resources.retries
        self._remeasuring = Remeasuring(self.folder, self.accounts, context.evidence, retries)
        self._settled = context.is_searched
        self._again = [trial.id for trial in self.accounts.unfinished]
        self._reconcile()
        self._retry()
        self._apply_new_reading()

    @property
    def finished(self) -> bool:
        """Whether confirm is over too, and has confirmed something."""
        over = self._settled and not self._context.has_open_control and not self.accounts.unfinished
        return over and not self.owed and self.failed_part is None

    @property
    def failed_part(self) -> FailedPart | None:
        """The part that ended with nothing but failures, so that there can be no answer."""
        return find_failed_part(self.accounts, self._confirmation)

    @property
    def failing(self) -> bool:
        """Whether so many trials failed in a row, in this session, that going on is pointless."""
        return self.accounts.failed_in_a_row >= self._budget.options.stop_after_failures

    def next(self, has_room: Callable[[Proposal], bool] = lambda proposal: True) -> Trial | None:
        """The trial to start now, its attempt recorded and durable; ``None``: nothing until something ends.

        A trial without room is not proposed yet: by the time it begins, the selector would know more.
        """
        trial = None if self.failing or self.refused is not None else self._find_next(has_room)
        if trial is None:
            self.flush()  # what has ended is not kept waiting for the next start
        return trial

    def _find_next(self, has_room: Callable[[Proposal], bool]) -> Trial | None:
        try:
            if not self._remeasuring.waiting:
                return self._choose(has_room)
        except EvidenceError:
            if not self._remeasuring.find_damage():
                raise
        if (damaged := self._remeasuring.find_next()) is None:
            return None if self._remeasuring.is_at_work else self._find_next(has_room)
        if not has_room(damaged.proposal):
            return None
        return self._start(self._remeasuring.waiting.pop(0))

    def _choose(self, has_room: Callable[[Proposal], bool]) -> Trial | None:
        while self._again:
            trial = self.accounts.trials[self._again[0]]
            if not has_room(trial.proposal):
                return None
            self._keep_rows(trial.proposal)
            self._again.pop(0)
            if (begun := self._begin(trial)) is not None:
                return begun
        if not self._settled:
            while isinstance(asked := self._ask(), Proposal):
                if not has_room(asked):
                    return None
                phase: Phase = "measure" if asked.measure else "search"
                executed = self._keep_rows(self._translator.execute(asked))
                if (begun := self._begin(self._propose(executed, phase, self._fold.after))) is not None:
                    return begun
            if self.accounts.unfinished:
                return None
            if isinstance(asked, Wait):
                raise SelectorError("the selector waits though nothing of its own is pending: a defect in it")
            if self.failed_part == "search":
                return None
            self._select()
        selected = self.accounts.selected
        return None if selected is None else self._next_compared(selected.selection, has_room)

    def end_attempt(self, trial: int, attempt: int, error: str | None = None, refusal: Refusal | None = None) -> None:
        """An attempt is over: tell its result, or, without one, put its proposal first again.

        ``error`` is what else is known of an attempt that left no result. ``refusal``: it could not write its files.
        Then nothing more is begun in this session, since the next attempt could not either.
        """
        record = self.accounts.trials[trial]
        if record.measures_again and attempt == record.latest.number:
            self._end_remeasuring(record, error, refusal)
        if record.told is not None or attempt != len(record.attempts):
            return
        if (result := find_result(self.folder, record)) is not None:
            self._tell(record, result)
            return
        if record.stopped is not None:
            self._end_stopped(record, record.stopped)
            return
        if refusal is not None:
            self.refused = self.refused or refusal.message
            self.record(build_lost(self.folder, record, "storage", refusal))
            self._again.insert(0, trial)
            return
        retries = self._budget.options.resources.retries
        if sum(a.worker_died for a in record.attempts) >= retries:
            self._tell(record, give_up(self.folder, record, retries, error))
        else:
            self.record(build_lost(self.folder, record, "worker"))
            self._again.insert(0, trial)

    def _end_remeasuring(self, trial: Trial, error: str | None, refusal: Refusal | None) -> None:
        """Raises ``EvidenceError`` where evidence that is needed could not be measured again."""
        ended = self._remeasuring.end_attempt(trial, error, refusal)
        self.record(ended)
        if refusal is not None:
            self.refused = self.refused or refusal.message
        if isinstance(ended, Remeasured) and ended.message is not None:
            raise self._remeasuring.explain_failure(ended)

    @property
    def owed(self) -> int:
        """Trials that an answer that stands still takes of confirm, and of a control; 0 before there is one."""
        selected = self.accounts.selected
        if not self._settled or selected is None:
            return 0
        if self._context.has_open_control:
            held = self._confirmation.missing_with_control(selected.selection, self.accounts)
            return len(held) + count_control_trials(self.accounts)
        return sum(1 for _ in self._confirmation.missing(selected.selection, self.accounts))

    def start_of(self, trial: Trial) -> StoredPath | None:
        """The weights of another trial that ``trial`` begins with, if it continues one."""
        return start_of(self.folder, self.accounts, trial)

    def may_stop(self, trial: Trial) -> bool:
        """Whether early stopping may judge ``trial``: a whole training of the search."""
        asked = trial.proposal
        return trial.phase == "search" and asked.inner is None and asked.continuation is None

    def resize(self, slots: Slots) -> None:
        """Machines have come or gone: estimate the budget by the present ``slots``."""
        self._budget = replace(self._budget, slots=slots.at_least_one)

    def flush(self) -> None:
        """Make what was recorded durable, and heard. Raises ``LedgerError`` or ``Locked``."""
        self._announcer.flush()

    def record(self, event: Event) -> None:
        """Note an event; it is durable with the next start or flush."""
        self._announcer.append(event)
        self.accounts.add(event)
        self._fold.add(event)
        if self._control is not None:
            self._control.add(event)

    def _ask(self) -> Proposal | Wait | Done:
        left = self._confirmation.left(self.accounts)
        self.exhausted = self._budget.exhausted(self.accounts, left, read_time())
        if self.exhausted:
            return Done()
        if self._answer is None or self._answer[0] != self._fold.after:  # only after something happened
            self._answer = (self._fold.after, self._fold.propose())
        return self._answer[1]

    def _next_compared(self, selection: Selection, has_room: Callable[[Proposal], bool]) -> Trial | None:
        """The next training of the control that searches by itself, and then of confirm."""
        if self._control is not None and self._context.has_open_control:
            held = [proposal for _, proposal in self._confirmation.missing_with_control(selection, self.accounts)]
            mixture = self._control.propose(self.accounts, self._budget, held, read_time())
            if mixture is not None:
                if not has_room(mixture):
                    return None
                return self._start(self._propose(mixture, "control", self._control.after, EQUAL_COST))
            if self.accounts.unfinished:
                return None
            self.record(self._control.end(self.accounts, self._budget.options.budget, read_time()))
        for arm, proposal in self._confirmation.missing(selection, self.accounts):
            if not has_room(proposal):
                return None
            return self._start(self._propose(self._keep_rows(proposal), "confirm", self._fold.after, arm))
        return None

    def _keep_rows(self, proposal: Proposal) -> Proposal:
        """The proposal, once the rows that it keeps are written down: a worker may find the evidence gone."""
        for kept in proposal.rows.values():
            if kept.kept < kept.rows:
                read_kept_rows(kept, self.folder, self._context.evidence)
        return proposal

    def _propose(self, proposal: Proposal, phase: Phase, after: int, arm: str | None = None) -> Trial:
        number = len(self.accounts.trials)
        self.record(
            Proposed(
                id=number,
                time=read_time(),
                # As it will be read back: the fold of a resumed session must not see other types than this one.
                proposal=round_trip(proposal),
                phase=phase,
                after=after,
                arm=arm,
            )
        )
        return self.accounts.trials[number]

    def _begin(self, trial: Trial) -> Trial | None:
        """Start ``trial``, or tell its outcome at once where all that it measures is known."""
        known = self._find_known(trial.proposal) if trial.proposal.measure else None
        if known is None:
            return self._start(trial)
        self.record(
            Told(
                id=trial.id,
                attempt=0,
                time=read_time(),
                outcome=known.outcome,
                cost=NOTHING,
                reused={key: clip_negative(cost) for key, cost in known.reused.items()},
                source=known.source,
                arrays=find_digests(self._context.evidence, known.outcome),
            )
        )
        return None

    def _start(self, trial: Trial) -> Trial:
        slots = self._budget.slots.of(trial.proposal)
        self.record(
            Started(
                id=trial.id,
                attempt=len(trial.all_attempts) + 1,
                time=read_time(),
                session=self._ledger.session,
                resume_from=self._checkpoint(trial),
                cpus=slots.cpus,
                gpus=slots.gpus,
            )
        )
        self.flush()
        return trial

    def _checkpoint(self, trial: Trial) -> int | None:
        """The latest previous attempt of ``trial`` whose checkpoint can be continued."""
        for attempt in reversed(trial.all_attempts):
            if has_checkpoint(locate_attempt(self.folder, trial.id, attempt.number) / "checkpoint"):
                return attempt.number
        return None

    def _select(self) -> None:
        selection = self._fold.select()
        self._confirmation.arms(selection)  # raises for a selection that is not an answer, before it is recorded
        self._settle(selection)

    def _settle(self, selection: Selection) -> None:
        limits, after = self._budget.options.budget.model_dump(mode="json"), self._fold.after
        reading = self._fold.reading
        self.record(Selected(time=read_time(), selection=selection, after=after, budget=limits, reading=reading))
        self._settled = True

    def _apply_new_reading(self) -> None:
        """Replace an answer that was read in an older way by the new reading, if the budget allows to confirm it."""
        try:
            anew = find_new_reading(self.accounts, self._fold, self._confirmation) if self._settled else None
        except EvidenceError:  # the recorded answer stands, and nothing is measured for another reading of it
            return
        if anew is None:
            return
        unpaid = self._budget.forbids(self.accounts, anew.owed, read_time()) if anew.owed else None
        if anew.is_another and unpaid:
            self.unpaid = anew
        else:
            self._settle(anew.now)

    def _reconcile(self) -> None:
        """Recover earlier sessions: record attempts that finished but were never reported, requeue the others first."""
        for trial in list(self.accounts.unfinished):
            if not trial.attempts:
                continue
            if (result := find_result(self.folder, trial)) is not None:
                self._again.remove(trial.id)
                self._tell(trial, result)
            elif trial.stopped is not None:
                self._again.remove(trial.id)
                self._end_stopped(trial, trial.stopped)
            elif trial.attempts[-1].ended is None:
                self.record(build_lost(self.folder, trial, "driver"))
        for trial in self.accounts.trials.values():
            if trial.measures_again:
                self.record(self._remeasuring.recover(trial))

    def _retry(self) -> None:
        """Where an earlier session ended with nothing but failures, begin that part again: its cause may be mended."""
        part = self.failed_part
        if part == "search":
            self._settled = False  # by a version that took a selection from such a search
            if self.accounts.unfinished or isinstance(self._ask(), Proposal):
                return  # the search continues by itself
        if part is not None:
            self.record(Retried(ids=list_failed_trials(self.accounts, part), time=read_time()))

    def _tell(self, trial: Trial, result: Result) -> None:
        self._record_end(trial, self._translator.outcome(result), result)

    def _end_stopped(self, trial: Trial, judged: Judged) -> None:
        """Tell of a trial that early stopping ended."""
        said = describe_value(sign_in(self.accounts) * judged.score, self.accounts.search_score)
        self._record_end(trial, *end_early(self.folder, trial, judged, said))

    def _record_end(self, trial: Trial, outcome: Outcome, result: Result) -> None:
        """Tell, and delete weights that no later training will start from.

        The ledger is durable first: another session must come to the same incumbent.
        """
        self.record(build_told(trial, outcome, result, find_digests(self._context.evidence, outcome)))
        delete_useless_weights(self.folder, self.accounts, self._fold.held(), self._without_weights, self.flush)
