"""What a ledger says: one frozen record per kind of event, and their JSON.

Events are the only thing a study stores about its search; every state is a fold of them. Their JSON stays loadable
for ever: a field may be added with a default, never renamed or removed.

Their times are of a clock of the session: the time of day as it began, and from then on a clock that no one sets. The
system's clock may be set while a study runs, by a user, by its time service or by a virtual machine that continues, and
then differences of its times are no durations. So differences within a session are right, and the wall time of a study
is the sum of its sessions. Time in which the machine slept counts nowhere. Other processes of the machine find a
session's time in its heartbeat (``driver.read_study_time``).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import Field, TypeAdapter

from auxtune.selectors.protocol import Outcome, Problem, Proposal, Selection
from auxtune.trials.recipe import SearchScore
from auxtune.trials.result import Cost

Phase: TypeAlias = Literal["measure", "search", "tune", "control", "confirm"]
PHASES: tuple[Phase, ...] = get_args(Phase)
SELECTORS: tuple[Phase, ...] = ("measure", "search")  # whose trials the selector asked for, and is told of
JUMP = 60.0  # seconds that the system's clock may come to differ before that is said


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A session began to write, having read its data: its folders are where relative paths start."""

    session: str
    time: float  # seconds since the epoch, as in every event
    study: str  # the study file, unexpanded
    overrides: tuple[str, ...]
    study_folder: str  # relative task and encoder paths start here
    working_folder: str  # relative storage and tracking paths start here
    problem: Problem  # with it, the ledger can be verified without the data
    fingerprint: Mapping[str, str]
    versions: Mapping[str, str]
    drift: tuple[str, ...] = ()  # fingerprint keys that differed and were allowed
    search_score: SearchScore = "metric"  # the kind of the scores
    splits: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # task -> held-out split -> its origin
    selector_version: int = 1  # of this session's selector: another version's proposals are not asked again
    control_versions: Mapping[str, int] = field(default_factory=dict)  # likewise of controls that search, by arm
    event: Literal["opened"] = "opened"


@dataclass(frozen=True, kw_only=True)
class Proposed:
    """A proposal was accepted under ``id``; ``after`` selector events had been folded when it was asked for.

    ``arm`` names the comparison arm that it is trained for; ``None`` for what the selector asked for. Of a control that
    searches by itself ``after`` counts the events of its own selector.
    """

    id: int
    time: float
    proposal: Proposal
    phase: Phase
    after: int
    arm: str | None = None
    event: Literal["proposed"] = "proposed"


@dataclass(frozen=True, kw_only=True)
class Started:
    """Attempt ``attempt`` (from 1) of a proposal is about to begin, perhaps from a previous attempt's checkpoint."""

    id: int
    attempt: int
    time: float
    session: str
    resume_from: int | None = None  # the attempt whose checkpoint it continues
    cpus: float | None = None  # what it was allotted, for its cost if it is lost
    gpus: float | None = None
    event: Literal["started"] = "started"


@dataclass(frozen=True, kw_only=True)
class Lost:
    """An attempt ended without a result: its process, its node or the driver went away, or it could not write."""

    id: int
    attempt: int
    time: float
    cost: Cost  # up to its last sign of life
    cause: Literal["worker", "driver", "storage"] = "worker"  # only a worker's death counts against the retries
    message: str | None = None  # where it could not write, and why
    event: Literal["lost"] = "lost"


@dataclass(frozen=True, kw_only=True)
class Told:
    """A proposal ended: the attempt that counts, what the selector is told, and what the attempt took.

    ``reused`` names existing evidence or weights by key, with their original cost. Where nothing else was asked for, no
    attempt was started: ``attempt`` is 0, and ``source`` says which study and trial measured it. ``arrays`` has the
    SHA-256 of the arrays under each key of its evidence; earlier versions recorded none.
    """

    id: int
    attempt: int
    time: float
    outcome: Outcome
    cost: Cost
    test: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # confirm only
    reused: Mapping[str, Cost] = field(default_factory=dict)
    source: str | None = None
    message: str | None = None
    arrays: Mapping[str, str] = field(default_factory=dict)
    event: Literal["told"] = "told"


@dataclass(frozen=True, kw_only=True)
class Remeasured:
    """Evidence that a trial had been told of was gone or damaged, and ``attempt`` has measured it again.

    The selector is not told: the trial ended as it did. ``arrays`` has the SHA-256 of the arrays that now count, by
    key, and is empty where they could not be measured; ``message`` then says why. An attempt at this is one that was
    ``started`` after its trial had been told of.
    """

    id: int
    attempt: int
    time: float
    cost: Cost
    arrays: Mapping[str, str] = field(default_factory=dict)
    message: str | None = None
    event: Literal["remeasured"] = "remeasured"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Early stopping saw a trial's ``score`` at a ``step`` and let it continue or stopped it."""

    id: int
    attempt: int
    step: int
    score: float
    stop: bool
    event: Literal["judged"] = "judged"


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """The MLflow run of a proposal, or of the study itself (``id`` is ``None``), then with its ``experiment``'s id."""

    id: int | None
    run_id: str
    experiment: str | None = None
    event: Literal["tracked"] = "tracked"


@dataclass(frozen=True, kw_only=True)
class Retried:
    """Failed trials no longer count, because the whole part they belong to failed: their proposals are tried again.

    Where ``ids`` are of the search, they are all it had, and the selector starts over, as if it had asked for nothing.
    """

    ids: tuple[int, ...]
    time: float
    event: Literal["retried"] = "retried"


@dataclass(frozen=True, kw_only=True)
class Selected:
    """The selector was asked for its answer after ``after`` selector events, under this budget.

    ``reading`` is the way in which it read its answer out of them: selectors learn to read better.
    """

    time: float
    selection: Selection
    after: int
    budget: Mapping[str, Any]
    reading: int = 1
    event: Literal["selected"] = "selected"


@dataclass(frozen=True, kw_only=True)
class ControlSelected:
    """A control that searches by itself ended, under this budget: ``selection`` is what its ``arm`` trains.

    ``selection`` is ``None`` where none of its trials gave a score. ``exhausted`` is the limit that ended it before it
    had cost as much as the search.
    """

    arm: str
    time: float
    selection: Selection | None
    after: int
    budget: Mapping[str, Any]
    exhausted: str | None = None
    event: Literal["control_selected"] = "control_selected"


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """How many nodes of each type are up in the session's cluster, and for how long they were, together, so far.

    Node-seconds count from the moment the session's driver was connected; the session's last word on them holds.
    """

    time: float
    up: Mapping[str, int]
    seconds: Mapping[str, float]
    event: Literal["nodes"] = "nodes"


@dataclass(frozen=True, kw_only=True)
class Closed:
    """A session ended by itself: the study is done, was interrupted, or failed."""

    session: str
    time: float
    reason: Literal["done", "interrupted", "failed"]
    message: str | None = None
    event: Literal["closed"] = "closed"


Event: TypeAlias = Annotated[
    Opened
    | Proposed
    | Started
    | Lost
    | Judged
    | Told
    | Remeasured
    | Retried
    | Tracked
    | Selected
    | ControlSelected
    | Nodes
    | Closed,
    Field(discriminator="event"),
]

_event: TypeAdapter[Any] = TypeAdapter(Event)
# Two numbers whose relative difference is below this were computed alike and rounded differently.
ROUNDING = 1e-9
_proposal = TypeAdapter(Proposal)


def write_event(event: Event) -> Any:
    """The event as plain JSON values."""
    return _event.dump_python(event, mode="json")


def read_event(value: Any) -> Event:
    """The event that ``write_event`` gave. Raises ``pydantic.ValidationError`` (a ``ValueError``) for anything else."""
    event: Event = _event.validate_python(value)
    return event


def find_impossible_cost(event: Event) -> str | None:
    """A figure of the event's costs that is below 0 or no number; earlier versions wrote some, and they are read."""
    costs = [event.cost] if isinstance(event, Lost | Told | Remeasured) else []
    costs += event.reused.values() if isinstance(event, Told) else []
    figures = [(name, value) for cost in costs for name, value in vars(cost).items() if value is not None]
    return next((f"{name} {value}" for name, value in figures if not 0 <= value < math.inf), None)


def round_trip(proposal: Proposal) -> Proposal:
    """The proposal as it reads after a trip through JSON, as the ledger will give it back."""
    return _proposal.validate_json(_proposal.dump_json(proposal))


def is_same_proposal(asked: Proposal, recorded: Proposal) -> bool:
    """Whether a proposal that is asked for again is the recorded one, but for the last digits of its numbers.

    Processors round differently: powers, logarithms and whatever is fitted differ in the last digits between machines,
    and what a search proposed on one must be verified on another.
    """
    return _is_alike(_proposal.dump_python(asked, mode="json"), _proposal.dump_python(recorded, mode="json"))


def _is_alike(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=ROUNDING, abs_tol=ROUNDING)
    return bool(one == other)


class SessionClock:
    """Seconds since the epoch that never go back."""

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        """``wall`` may be set by anyone, ``steady`` by no one."""
        self._wall, self._steady = wall, steady
        self.restart()

    def restart(self) -> None:
        """Take the time of day from the system again, as a session begins."""
        self._base = self._wall() - self._steady()
        self._said = 0.0  # by how much the system's clock was ahead when that was last said

    def read(self) -> float:
        """The time of the session."""
        return self._base + self._steady()

    def find_jump(self) -> float | None:
        """By how many seconds the system's clock was set forward since the last jump; ``None``: by few or none."""
        ahead = self._wall() - self.read()
        jump = ahead - self._said
        if abs(jump) < JUMP:
            return None
        self._said = ahead
        return jump


CLOCK = SessionClock()  # of this process, which runs one session at a time
read_time = CLOCK.read


def warn_of_jump(clock: SessionClock = CLOCK) -> None:
    """Say it once where the system's clock was set."""
    if (jump := clock.find_jump()) is not None:
        was = f"was set back by {-jump / 3600:.3g} h" if jump < 0 else f"is {jump / 3600:.3g} h further"
        why = "" if jump < 0 else ": it was set, or this machine slept"
        logging.getLogger(__name__).warning(
            "the system's clock %s%s; what the study takes is counted by another clock, which did not change", was, why
        )
