"""Adds up the ledger's events: trials, attempts, where each stands and what it took.

A fold like any other, and the one place that knows which attempt counts. Status, budget, tracking and the answer's
price read it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum

from auxtune.orchestrator.errors import LedgerError
from auxtune.orchestrator.record.events import (
    SELECTORS,
    Closed,
    ControlSelected,
    Event,
    Judged,
    Lost,
    Nodes,
    Opened,
    Phase,
    Proposed,
    Remeasured,
    Retried,
    Selected,
    Started,
    Told,
    Tracked,
)
from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.study_file.models import BudgetOptions
from auxtune.selectors.protocol import Proposal
from auxtune.trials.recipe import SearchScore
from auxtune.trials.result import Cost, clip_negative


class _Word(str, Enum):
    """An enum whose members are their words, in JSON and in texts too."""

    def __str__(self) -> str:
        """The word."""
        return str(self.value)


class TrialStatus(_Word):
    """Where a trial is in its life.

    ::

        proposed ──▶ waiting ──▶ running ──▶ finished   told a score
                        ▲           │   ├──▶ stopped    early, as the study asked: no failure
                        │           │   └──▶ failed     its code raised, or all attempts were lost
                        └───────────┘  its worker or its session died, or it could not write: the next attempt
        proposed ──▶ reused   all that it asked for is in the evidence cache: told at once, costs nothing
    """

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    REUSED = "reused"
    STOPPED = "stopped"
    FAILED = "failed"


class StudyStatus(_Word):
    """Where a study is in its life.

    ::

        opened ──▶ running ──▶ done          its answer is written; a larger budget opens it again
                      │   ├──▶ interrupted   stopped in order, paused, or its driver vanished: resumable
                      │   └──▶ failed        too many trials failed: resumable
                      └── any session that is opened runs it again
    """

    RUNNING = "running"
    DONE = "done"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass
class Attempt:
    """One try at a proposal; ``cost`` is ``None`` while it runs."""

    number: int
    session: str
    started: float
    resume_from: int | None = None
    cpus: float | None = None
    gpus: float | None = None
    ended: float | None = None
    cost: Cost | None = None
    lost: Lost | None = None
    again: Remeasured | None = None  # the end of an attempt at evidence that was gone

    @property
    def worker_died(self) -> bool:
        """Whether it was lost with its worker."""
        return self.lost is not None and self.lost.cause == "worker"

    @property
    def was_refused(self) -> bool:
        """Whether it was given up because it could not write its files."""
        return self.lost is not None and self.lost.cause == "storage"


@dataclass
class Trial:
    """A proposal and everything that happened to it."""

    id: int
    phase: Phase
    proposal: Proposal
    proposed: float
    attempts: list[Attempt] = field(default_factory=list)
    stopped: Judged | None = None  # the decision of early stopping that ended it
    told: Told | None = None
    remeasured: list[Attempt] = field(default_factory=list)  # at its evidence, which was gone, after it had been told
    run_id: str | None = None
    tried_again: bool = False  # it failed and no longer counts, because another one tries the same

    @property
    def status(self) -> TrialStatus:
        """Where it is in its life."""
        if self.reused:
            return TrialStatus.REUSED
        if self.told is not None and self.told.outcome.ok:
            return TrialStatus.FINISHED
        if self.told is not None:
            return TrialStatus.STOPPED if self.stopped else TrialStatus.FAILED
        is_running = bool(self.attempts) and self.attempts[-1].ended is None
        return TrialStatus.RUNNING if is_running else TrialStatus.WAITING

    @property
    def latest(self) -> Attempt:
        """The attempt that was started last. Raises ``IndexError`` before the first."""
        return (self.remeasured or self.attempts)[-1]

    @property
    def all_attempts(self) -> list[Attempt]:
        """Every attempt, those included that measured again what was gone."""
        return [*self.attempts, *self.remeasured]

    @property
    def measures_again(self) -> bool:
        """Whether an attempt is at work on evidence that was gone."""
        return bool(self.remeasured) and self.remeasured[-1].ended is None

    @property
    def reused(self) -> bool:
        """Whether all that it asks for was measured before: then it is no trial but a proposal that cost nothing.

        One whose own attempt had measured it, and died before it could say so, is a trial and is charged for.
        """
        return self.told is not None and self.told.attempt == 0 and not self.attempts

    @property
    def shows_throughput(self) -> bool:
        """Whether its cost shows what such a trial takes: it finished, it trained, and nothing was spared."""
        told = self.told
        if told is None or self.status != "finished" or not self.proposal.trains:
            return False
        # Weights that its own study had kept do not count as reused, but no example was seen either.
        return told.attempt > 0 and not told.reused and told.cost.examples != 0

    @property
    def score(self) -> float | None:
        """The score that the search was told, higher is better, once it was told."""
        return self.told.outcome.score if self.told else None

    @property
    def costs(self) -> list[Cost]:
        """The cost of every ended attempt; for a proposal that was measured before, what measuring it again took."""
        own = [self.told.cost] if self.told is not None and self.reused else []
        return own + [attempt.cost for attempt in self.all_attempts if attempt.cost is not None]


@dataclass
class Session:
    """One process that wrote to the ledger; ``last`` is the time of its last event, ``nodes`` its last totals."""

    opened: Opened
    last: float
    nodes: Nodes | None = None
    closed: Closed | None = None


class Accounts:
    """The running account of a study."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.trials: dict[int, Trial] = {}
        self.sessions: list[Session] = []
        self.selected: Selected | None = None
        self.control_selected: dict[str, ControlSelected] = {}  # the last of each control that searches, by its arm
        self.study_run_id: str | None = None
        self.experiment_id: str | None = None  # MLflow's, of the study's run
        self.judged: list[Judged] = []  # all decisions of early stopping, in their order
        self.failed_in_a_row = 0  # trials up to now, in the last session
        self._clipped = 0  # costs below 0, which count as 0
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Fold one event. Negative costs, which earlier versions took from a clock that was set, count as 0."""
        if isinstance(event, Lost | Told | Remeasured):
            event = self._clip(event)
        match event:
            case Opened():
                self.sessions.append(Session(event, event.time))
                self.failed_in_a_row = 0
            case Proposed():
                self.trials[event.id] = Trial(event.id, event.phase, event.proposal, event.time)
            case Started():
                trial = self.trials[event.id]
                (trial.attempts if trial.told is None else trial.remeasured).append(
                    Attempt(event.attempt, event.session, event.time, event.resume_from, event.cpus, event.gpus)
                )
            case Told(attempt=0):  # it was not run, so it says nothing of whether trials work
                self.trials[event.id].told = event
            case Lost() | Told() | Remeasured():
                self._end_attempt(self.trials[event.id], event)
            case Judged():
                self.judged.append(event)
                if event.stop:
                    self.trials[event.id].stopped = event
            case Retried():
                for each in event.ids:
                    self.trials[each].tried_again = True
            case Tracked():
                self._track(event)
            case Selected():
                self.selected = event
            case ControlSelected():
                self.control_selected[event.arm] = event
            case Nodes():
                self.sessions[-1].nodes = event
            case Closed():
                self.sessions[-1].closed = event
        if (moment := getattr(event, "time", None)) is not None:
            self.sessions[-1].last = moment

    def in_phase(self, *phases: Phase) -> list[Trial]:
        """The trials of some phases, in the order they were proposed."""
        return [trial for trial in self.trials.values() if trial.phase in phases]

    @property
    def of_selector(self) -> list[Trial]:
        """The selector's own trials in the order of its proposals, by which it numbers them."""
        return [trial for trial in self.in_phase(*SELECTORS) if not trial.tried_again]

    @property
    def trained(self) -> int:
        """Proposals that count as trials: all but those that were told from the evidence cache."""
        return sum(not trial.reused for trial in self.trials.values())

    @property
    def reused_costs(self) -> list[Cost]:
        """The original cost of reused evidence, each piece once."""
        told = [trial.told for trial in self.trials.values() if trial.told is not None]
        return list({key: cost for one in told for key, cost in one.reused.items()}.values())

    @property
    def search_costs(self) -> list[Cost]:
        """The costs of measure and search: of their ended attempts, and the original ones of what they reused."""
        return [*(cost for trial in self.in_phase(*SELECTORS) for cost in trial.costs), *self.reused_costs]

    @property
    def unfinished(self) -> list[Trial]:
        """Proposals without an outcome."""
        return [trial for trial in self.trials.values() if trial.told is None]

    def selected_under(self, budget: BudgetOptions) -> Selected | None:
        """The selection, if the selector was asked for it under this ``budget``: under another it searches on."""
        selected = self.selected
        return selected if selected is not None and selected.budget == budget.model_dump(mode="json") else None

    def control_selected_under(self, arm: str, budget: BudgetOptions) -> ControlSelected | None:
        """The end of a control that searches, if it ended under this ``budget``: under another it searches on."""
        ended = self.control_selected.get(arm)
        return ended if ended is not None and ended.budget == budget.model_dump(mode="json") else None

    @property
    def search_score(self) -> SearchScore:
        """The kind of the scores: of the main metric, or of the loss."""
        return self.sessions[-1].opened.search_score if self.sessions else "metric"

    @property
    def best(self) -> Trial | None:
        """The search trial with the highest score; the earliest wins ties.

        Probes are scored on tasks of their own. Without a primary there is none: scores of trials of other tasks do
        not compare.
        """
        if self.sessions and self.sessions[-1].opened.problem.primary is None:
            return None
        scored = [trial for trial in self.in_phase("search") if trial.score is not None]
        return max(scored, key=lambda trial: trial.score or 0.0, default=None)

    def elapsed_seconds(self, now: float | None = None) -> float:
        """How long sessions have run, together; a live last session counts until ``now``."""
        total = sum(max(0.0, session.last - session.opened.time) for session in self.sessions)
        if now is not None and self.sessions and self.sessions[-1].closed is None:
            total += max(0.0, now - self.sessions[-1].last)
        return total

    def node_seconds(self, now: float | None = None) -> dict[str, float] | None:
        """How long nodes of each type were up while sessions ran on a cluster; ``None`` where none did.

        After a session's last record the nodes that it saw last count until it was closed or, while it is alive, until
        ``now``; after a kill nothing more is known.
        """
        if all(session.nodes is None for session in self.sessions):
            return None
        total: dict[str, float] = defaultdict(float)
        for session in self.sessions:
            if (word := session.nodes) is None:
                continue
            alive = now if session is self.sessions[-1] else None
            end = session.closed.time if session.closed is not None else alive
            rest = 0.0 if end is None else max(0.0, end - word.time)
            for kind in dict.fromkeys([*word.seconds, *word.up]):
                total[kind] += word.seconds.get(kind, 0.0) + word.up.get(kind, 0) * rest
        return dict(total)

    @property
    def negative_figures(self) -> int:
        """Costs and durations that are below 0 in the ledger, and count as 0."""
        return self._clipped + sum(session.last < session.opened.time for session in self.sessions)

    def _clip(self, event: Lost | Told | Remeasured) -> Lost | Told | Remeasured:
        clipped: Lost | Told | Remeasured = replace(event, cost=clip_negative(event.cost))
        if isinstance(clipped, Told):
            clipped = replace(clipped, reused={key: clip_negative(cost) for key, cost in clipped.reused.items()})
        if clipped == event:
            return event
        self._clipped += 1
        return clipped

    def _end_attempt(self, trial: Trial, event: Lost | Told | Remeasured) -> None:
        attempt = trial.all_attempts[event.attempt - 1]
        attempt.ended, attempt.cost = event.time, event.cost
        if isinstance(event, Lost):
            attempt.lost = event
        elif isinstance(event, Remeasured):
            attempt.again = event
        else:
            trial.told = event
            if trial.status != "stopped":  # early stopping says nothing of whether trials work
                self.failed_in_a_row = 0 if trial.status == "finished" else self.failed_in_a_row + 1

    def _track(self, event: Tracked) -> None:
        if event.id is None:
            self.study_run_id, self.experiment_id = event.run_id, event.experiment
        else:
            self.trials[event.id].run_id = event.run_id


def read_accounts(folder: StoredPath) -> Accounts:
    """The accounts of the study in ``folder``, from its ledger alone: neither its data nor its variables are needed.

    Raises ``LedgerDamaged``, and ``LedgerError`` where the folder holds no study.
    """
    return sum_up(folder, read_events(folder / "ledger"))


def sum_up(folder: StoredPath, events: Iterable[Event]) -> Accounts:
    """The accounts of all ``events`` of the study in ``folder``. Raises ``LedgerError`` where there are none."""
    accounts = Accounts(events)
    if not accounts.sessions:
        raise LedgerError(f"{folder}: expected the folder of a study (<storage>/<study>), found no ledger in it")
    return accounts


def find_study_status(accounts: Accounts, alive: bool) -> StudyStatus:
    """The status of a study; a driver that just vanished leaves it interrupted."""
    closed = accounts.sessions[-1].closed
    if closed is not None:
        return StudyStatus(closed.reason)
    return StudyStatus.RUNNING if alive else StudyStatus.INTERRUPTED


def count_trials(accounts: Accounts) -> dict[str, int]:
    """How many trials have each status, by its word."""
    return {status.value: sum(t.status == status for t in accounts.trials.values()) for status in TrialStatus}


def describe_unanswered(accounts: Accounts, state: str) -> str:
    """Where a study stands that has no answer; ``state`` is ``running``, ``interrupted`` or ``failed``."""
    trials = count_trials(accounts)
    told = len(accounts.trials) - trials["waiting"] - trials["running"]
    stage = "being confirmed" if accounts.selected else "still being searched for"
    return f"There is no answer yet: the study is {state} after {told} ended trials, its answer {stage}."
