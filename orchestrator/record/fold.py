"""A selector's state as the fold of the ledger's events, and the check that every recorded proposal follows from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any, TypeGuard

from auxtune.orchestrator.errors import AuxtuneError, SelectorError
from auxtune.orchestrator.record.events import (
    SELECTORS,
    Event,
    Opened,
    Proposed,
    Remeasured,
    Retried,
    Told,
    is_same_proposal,
)
from auxtune.selectors.border import IllegalAnswerError, check_answer
from auxtune.selectors.extensions import Predicts, find_reading, list_checkpoints_in_use, sum_versions
from auxtune.selectors.protocol import Done, Evidence, Problem, Proposal, Selection, Selector, Wait


class SelectorFold:
    """Folds what concerns a selector (proposals and outcomes of its own, not those of other phases) and asks it.

    It is the study's own or, where an ``arm`` is named, that of a control that searches by itself. ``after`` counts the
    folded events: a question asked at the same count always has the same answer. Every answer is checked
    (``selectors.border``) before anyone gets it; whatever a selector raises, or answers against its protocol, is a
    ``SelectorError``.
    """

    def __init__(
        self, selector: Selector, problem: Problem, evidence: Evidence, arm: str | None = None, title: str = ""
    ) -> None:
        """``title`` is the selector's name in errors. Raises ``ValueError`` where it refuses the problem."""
        self._selector, self._problem, self._arm = selector, problem, arm
        self._evidence, self._title = evidence, title or arm or type(selector).__name__
        with blame_selector(self._title, "was given the problem", expected=(ValueError,)):
            self._state: Any = selector.start(problem)
        self._numbers: dict[int, int] = {}  # proposal id -> the selector's own count
        self.after = 0

    @property
    def state(self) -> Any:
        """The selector's present state, for views of how it got there."""
        return self._state

    def add(self, event: Event) -> None:
        """Fold one event; events that do not concern the selector change nothing."""
        if self.has_asked_for(event):
            number = self._numbers[event.id] = len(self._numbers)
            with self._blame("was handed back a proposal"):
                self._state = self._selector.proposed(self._state, number, event.proposal)
        elif isinstance(event, Told) and event.id in self._numbers:
            with self._blame("was told of an outcome"):
                self._state = self._selector.told(self._state, self._numbers[event.id], event.outcome)
        elif isinstance(event, Retried) and not self._numbers.keys().isdisjoint(event.ids):
            with self._blame("was given the problem"):
                self._state, self._numbers = self._selector.start(self._problem), {}
        else:
            return
        self.after += 1

    def has_asked_for(self, event: Event) -> TypeGuard[Proposed]:
        """Whether ``event`` records a proposal of this selector."""
        if not isinstance(event, Proposed):
            return False
        return event.phase in SELECTORS if self._arm is None else (event.phase, event.arm) == ("control", self._arm)

    def held(self) -> frozenset[int]:
        """The ids of the proposals from whose weights the selector may still start others."""
        with self._blame("was asked for its checkpoints in use"):
            held = list_checkpoints_in_use(self._selector, self._state)
            check_answer("checkpoints_in_use", self._problem, held)
        return frozenset(trial for trial, number in self._numbers.items() if number in held)

    def propose(self) -> Proposal | Wait | Done:
        """The selector's next wish, given the events folded so far."""
        with self._blame("was asked for a proposal"):
            answer = self._selector.propose(self._state, self._evidence)
            check_answer("propose", self._problem, answer)
        return answer

    def predict(self, asked: Sequence[Proposal]) -> list[Mapping[str, float]] | None:
        """The selector's predictions for proposals that were never run; ``None`` where it makes none."""
        if not isinstance(self._selector, Predicts):
            return None
        with self._blame("was asked for predictions"):
            predictions = self._selector.predict(self._state, self._evidence, asked)
            check_answer("predict", self._problem, predictions)
        return predictions

    @property
    def version(self) -> int:
        """The version of the selector that is asked now."""
        return sum_versions(self._selector)

    def read_version(self, opened: Opened) -> int:
        """The version of this selector that made a session's proposals; 0: the session had none."""
        return opened.selector_version if self._arm is None else opened.control_versions.get(self._arm, 0)

    @property
    def name(self) -> str:
        """Whose selector it is, in words."""
        return "selector" if self._arm is None else f"control {self._arm}"

    @property
    def reading(self) -> int:
        """The way in which the selector reads its answer out of what was folded."""
        with self._blame("was asked how it reads its answer"):
            reading = find_reading(self._selector, self._state)
            check_answer("reading", self._problem, reading)
        return reading

    def select(self) -> Selection:
        """The selector's answer, given the events folded so far."""
        with self._blame("was asked for its answer"):
            selection = self._selector.select(self._state, self._evidence)
            check_answer("select", self._problem, selection)
        return selection

    def _blame(self, moment: str) -> AbstractContextManager[None]:
        return blame_selector(self._title, moment)


@contextmanager
def blame_selector(title: str, moment: str, expected: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Report whatever the selector called ``title`` raises as a defect of its own; the ledger is not to blame.

    Errors that are ``expected`` at this ``moment`` pass, as do ours: of the evidence, say, that it looked at.
    ``sys.exit`` in a selector ends no command.
    """
    try:
        yield
    except AuxtuneError:
        raise
    except expected:
        raise
    except (Exception, SystemExit) as error:
        said = str(error) if isinstance(error, IllegalAnswerError) else f"{type(error).__name__}: {error}"
        raise SelectorError(
            f"the selector {title} broke when it {moment}: {said}. All that was recorded is safe; mend the selector "
            "and resume the study, or begin one under another name with another selector"
        ) from error


class EvidenceTrail:
    """Which arrays the questions of a ledger rested on: of each key that was told of, the digest recorded last.

    ``present`` gives the digest of what is stored under a key now, ``None`` where it cannot be read.
    """

    def __init__(self, events: Iterable[Event], present: Callable[[str], str | None]) -> None:
        self._again = {key for event in events if isinstance(event, Remeasured) for key in event.arrays}
        self._present = cache(present)
        self._recorded: dict[str, str | None] = {}

    def add(self, event: Event) -> None:
        """Take note of what an event says of arrays."""
        if isinstance(event, Told):
            keys = event.outcome.evidence.values()
            # Earlier versions recorded no digest: what was never measured again since is taken to be the same.
            self._recorded |= {key: event.arrays.get(key, "" if key in self._again else None) for key in keys}
        elif isinstance(event, Remeasured):
            self._recorded |= event.arrays

    @property
    def has_changed(self) -> bool:
        """Whether a question asked now would not see the arrays that it rested on."""
        return any(
            self._present(key) is None or (recorded is not None and recorded != self._present(key))
            for key, recorded in self._recorded.items()
        )


def verify(
    events: Sequence[Event],
    fold: SelectorFold,
    execute: Callable[[Proposal], Proposal],
    present: Callable[[str], str | None],
    unasked: list[int],
) -> Iterator[str]:
    """Ask again at every recorded ``after`` and yield a line for each proposal that differs.

    ``execute`` turns what a selector asks for into what is recorded (its executed shares). ``fold`` is fresh. Events
    told between a question and its recorded proposal are folded after the question, as they were then. What another
    version of the selector proposed is folded, and not asked again; nor is what rests on evidence that is not what it
    was, by ``present`` (see ``EvidenceTrail``): the ids of these proposals are added to ``unasked``.
    """
    late: list[Event] = []
    same_version, trail = True, EvidenceTrail(events, present)
    for event in events:
        if isinstance(event, Opened):
            same_version = fold.read_version(event) == fold.version
        if not fold.has_asked_for(event):
            late.append(event)
            continue
        while late and (fold.after < event.after or isinstance(late[0], Remeasured)):
            trail.add(late[0])
            fold.add(late.pop(0))
        asked = None
        if same_version and fold.after == event.after:
            if trail.has_changed:
                unasked.append(event.id)
            else:
                asked = fold.propose()
        if fold.after != event.after:
            yield f"proposal {event.id}: asked after {event.after} events, but only {fold.after} are recorded"
        elif asked is None:
            pass
        elif not isinstance(asked, Proposal):
            yield f"proposal {event.id}: recorded, but the selector answers {type(asked).__name__}"
        elif not is_same_proposal(execute(asked), event.proposal):
            yield f"proposal {event.id}: the selector now asks for {asked}, recorded is {event.proposal}"
        while late:
            trail.add(late[0])
            fold.add(late.pop(0))
        fold.add(event)
