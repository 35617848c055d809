"""A study that is being watched: its ledger's events folded as they come, and a snapshot of it at any moment.

The same whether this process runs the study or another does. A selector may take long to state its belief; then it is
asked less often, so that watching never takes more than a small part of a processor from the trials.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from auxtune.orchestrator.answer.cost import sum_cost
from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.planning.budget import price_of
from auxtune.orchestrator.planning.context import StudyContext
from auxtune.orchestrator.record.accounts import Accounts, Trial, count_trials, find_study_status
from auxtune.orchestrator.record.driver import is_alive
from auxtune.orchestrator.record.events import Event, Opened
from auxtune.orchestrator.record.fold import SelectorFold
from auxtune.orchestrator.record.results import locate_attempt, read_steps_done
from auxtune.orchestrator.record.scores import show_score, show_value, sign_in
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.study_file.models import StudyOptions
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.orchestrator.views.belief import describe_belief
from auxtune.orchestrator.views.confirmed import describe_confirmed, describe_confirmed_so_far, find_answer
from auxtune.orchestrator.views.live import RunningTrial, Spent, StudySnapshot
from auxtune.orchestrator.views.progress import describe_mixture
from auxtune.orchestrator.views.remaining_work import describe_remaining_work

_REST = 20  # the pause before repeating work, in multiples of the time that it took
_PATIENCE = 30.0  # seconds within which a reachable server has taken a run


class RateLimiter:
    """Limits repeated work to 5 % of wall time."""

    def __init__(self) -> None:
        self._due = 0.0

    @property
    def seconds(self) -> float:
        """How long the work has to wait."""
        return max(0.0, self._due - time.monotonic())

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """While entered, the work is being done."""
        began = time.monotonic()
        try:
            yield
        finally:
            ended = time.monotonic()
            self._due = ended + _REST * (ended - began)


class StudyMonitor:
    """The study in ``folder``; it has a ``snapshot`` once it has observed its ledger's events, from the first on."""

    def __init__(self, study: StudyFile, folder: StoredPath) -> None:
        self._study, self._options, self._folder = study, study.options, folder
        self._accounts = Accounts()
        self._heard: list[Event] = []
        self._fold: SelectorFold | None = None
        self._belief, self._asked, self._limiter = "", -1, RateLimiter()
        self._snapshot: StudySnapshot | None = None  # of the last event
        self._answer = find_answer(self._folder)

    def observe(self, events: Sequence[Event]) -> None:
        """Fold new events."""
        for event in events:
            self._accounts.add(event)
            self._heard.append(event)
        if any(isinstance(event, Opened) for event in events):  # perhaps another question than the last session's
            self._begin()
        elif self._fold is not None:
            for event in events:
                self._fold.add(event)
        if events:
            self._snapshot = None

    @property
    def state(self) -> str:
        """``running``, ``done``, ``interrupted`` or ``failed``, of a study that another process runs."""
        return find_study_status(self._accounts, is_alive(self._folder, self._accounts))

    def closed(self) -> None:
        """The session is over: it may have left an answer."""
        self._answer, self._snapshot = find_answer(self._folder), None

    def snapshot(self, state: str, now: float) -> StudySnapshot | None:
        """The study's snapshot at ``now``, in seconds since the epoch; ``None`` before a session has begun."""
        if self._fold is None:
            return None
        # Values that follow from events alone are computed once, those that the clock changes at every look.
        snapshot = self._snapshot
        if snapshot is None or snapshot.state != state:
            snapshot = self._told(state, self._fold)
        if self._asked != self._fold.after and not self._limiter.seconds:
            snapshot = replace(snapshot, belief=self._ask(self._fold))
        self._snapshot = snapshot
        running = tuple(self._running(t) for t in self._accounts.trials.values() if t.status == "running")
        cost = sum_cost(self._accounts, price_of(self._options), now if state == "running" else None)
        limits = self._options.budget.model_dump(exclude_none=True)
        budget = tuple(Spent(key, getattr(cost, key), limit) for key, limit in limits.items())
        return replace(snapshot, running=running, budget=budget)

    def _begin(self) -> None:
        context = StudyContext.from_accounts(self._study, self._accounts, self._folder)
        self._translator, self._confirmation = context.translator, context.confirmation
        self._selector, self._evidence = context.selector, context.evidence
        self._fold = context.fold(self._heard)

    def _told(self, state: str, fold: SelectorFold) -> StudySnapshot:
        accounts = self._accounts
        settled = accounts.selected_under(self._options.budget) is not None
        return StudySnapshot(
            study=self._options.study,
            state=state,
            selector=self._options.selector.name,
            counts=count_trials(accounts),
            running=(),
            best=self._best(),
            answer=self._shown(state, settled),
            belief=self._belief,
            budget=(),
            remaining_work=""
            if state == "done"
            else describe_remaining_work(accounts, self._confirmation, self._options.budget, self._translator),
            trouble=tuple(list_warnings(accounts, self._options, state)),
        )

    def _best(self) -> str:
        if self._accounts.sessions[-1].opened.problem.primary is None:
            return "none: scores of models of different tasks do not compare; confirm does that"
        best = self._accounts.best
        if best is None:
            return "no search trial has a score yet"
        scored = sum(trial.score is not None for trial in self._accounts.in_phase("search"))
        luck = f" of {scored}, so luck is in it" if scored > 1 else ""
        told_of = self._accounts.search_score
        shown = show_value(show_score(best, told_of) or 0.0, told_of)
        return f"{shown}, the best search score{luck}: trial {best.id:04d}, {describe_mixture(best.proposal)}"

    def _ask(self, fold: SelectorFold) -> str:
        with self._limiter.at_work():
            self._asked = fold.after
            try:
                self._belief = describe_belief(
                    self._selector, fold.state, self._evidence, sign_in(self._accounts), self._accounts.search_score
                )
            except AuxtuneError as error:  # evidence that is gone, say: the study itself will tell
                self._belief = f"cannot be told: {error}"
            except Exception as error:  # a selector from elsewhere may raise, or say, anything
                self._belief = f"cannot be told: {type(error).__name__}: {error}"
        return self._belief

    def _running(self, trial: Trial) -> RunningTrial:
        attempt = trial.attempts[-1]
        return RunningTrial(
            id=trial.id,
            phase=trial.phase,
            tasks=describe_mixture(trial.proposal),
            attempt=attempt.number,
            started=attempt.started,
            step=read_steps_done(locate_attempt(self._folder, trial.id, attempt.number)),
            steps=self._translator.steps(trial.proposal),
        )

    def _shown(self, state: str, settled: bool) -> tuple[str, ...]:
        """The results of confirm: of this selection so far, or as the last answer has it."""
        partial = (
            tuple(describe_confirmed_so_far(self._accounts, self._confirmation)) if settled and state != "done" else ()
        )
        if partial or self._answer is None:
            return partial
        said, *lifts = describe_confirmed(self._answer)
        return (said if state == "done" else f"before this session went on: {said}", *lifts)


def list_warnings(accounts: Accounts, options: StudyOptions, state: str) -> Iterator[str]:
    """A line for each kind of trouble with a study: failed trials, lost attempts, runs that MLflow does not have.

    ``state`` says whether it is ``running``.
    """
    failed = [trial for trial in accounts.trials.values() if trial.status == "failed"]
    if failed:
        last = max(failed, key=lambda trial: trial.told.time if trial.told else 0.0)
        why = last.told.outcome.why if last.told else None
        limit, streak = options.stop_after_failures, accounts.failed_in_a_row
        row = f"; {streak} in a row, {limit} end the session" if streak else ""
        yield f"{len(failed)} of {len(accounts.trials)} trials failed, last {last.id:04d} ({why}){row}"
    if lost := sum(attempt.worker_died for trial in accounts.trials.values() for attempt in trial.attempts):
        yield f"{lost} {'attempt was' if lost == 1 else 'attempts were'} lost with a worker"
    if negative := accounts.negative_figures:
        were = "1 cost or duration in the ledger is" if negative == 1 else f"{negative} costs and durations are"
        yield f"{were} below 0, from a clock that was set, and counted as 0"
    yield from _find_untracked(accounts, options.tracking.children, state)


def _find_untracked(accounts: Accounts, children: str, state: str) -> Iterator[str]:
    """Runs that should exist by now, by the clock of the ledger: a trial that is not in it yet cannot lack one."""
    late, running = accounts.sessions[-1].last - _PATIENCE, state == "running"
    filled = "it is filled in when the server answers" if running else "`auxtune resume` fills it in"
    if accounts.study_run_id is None:
        if accounts.sessions[-1].opened.time < late:
            yield f"MLflow has nothing of this study{' yet; trials continue, and' if running else ';'} {filled}"
    elif children == "all":
        ended = [trial for trial in accounts.trials.values() if trial.told is not None and trial.told.time < late]
        if missing := sum(trial.run_id is None for trial in ended):
            runs = "a trial that" if missing == 1 else f"{missing} trials that"
            yield f"MLflow lacks {runs} ended; {filled}"
