"""A selector's state as the fold of the ledger's events, and the check that every recorded proposal follows from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from auxtune.orchestrator.errors import AuxtuneError, SelectorError
from auxtune.orchestrator.record.events import SELECTORS, Event, Opened, Proposed, Retried, Told, as_recorded
from auxtune.selectors.extensions import Predicts, checkpoints_used_by, reading_of, version_of
from auxtune.selectors.protocol import Done, Evidence, Problem, Proposal, Selection, Selector, Wait


class SelectorFold:
    """Folds what concerns the selector (proposals and outcomes of its own, not those of other phases) and asks it.

    ``after`` counts the folded events: a question asked at the same count always has the same answer.
    """

    def __init__(self, selector: Selector, problem: Problem, evidence: Evidence) -> None:
        self._selector, self._problem = selector, problem
        self._evidence = evidence
        self._state: Any = selector.start(problem)
        self._numbers: dict[int, int] = {}  # proposal id -> the selector's own count
        self.after = 0

    @property
    def state(self) -> Any:
        """What the selector has come to: for who shows how it got there."""
        return self._state

    def add(self, event: Event) -> None:
        """Fold one event; what does not concern the selector changes nothing."""
        if isinstance(event, Proposed) and event.phase in SELECTORS:
            number = self._numbers[event.id] = len(self._numbers)
            with _own_defects("was handed back a proposal"):
                self._state = self._selector.proposed(self._state, number, event.proposal)
        elif isinstance(event, Told) and event.id in self._numbers:
            with _own_defects("was told of an outcome"):
                self._state = self._selector.told(self._state, self._numbers[event.id], event.outcome)
        elif isinstance(event, Retried) and not self._numbers.keys().isdisjoint(event.ids):
            self._state, self._numbers = self._selector.start(self._problem), {}
        else:
            return
        self.after += 1

    def held(self) -> frozenset[int]:
        """The ids of the proposals from whose weights the selector may still start others."""
        held = checkpoints_used_by(self._selector, self._state)
        return frozenset(trial for trial, number in self._numbers.items() if number in held)

    def propose(self) -> Proposal | Wait | Done:
        """What the selector wants next, given what was folded."""
        with _own_defects("was asked for a proposal"):
            return self._selector.propose(self._state, self._evidence)

    def predict(self, asked: Sequence[Proposal]) -> list[Mapping[str, float]] | None:
        """What the selector expects of proposals that were never run; ``None`` where it expects nothing of any."""
        if not isinstance(self._selector, Predicts):
            return None
        with _own_defects("was asked for predictions"):
            return self._selector.predict(self._state, self._evidence, asked)

    @property
    def version(self) -> int:
        """The version of the selector that is asked now."""
        return version_of(self._selector)

    @property
    def reading(self) -> int:
        """The way in which the selector reads its answer out of what was folded."""
        with _own_defects("was asked how it reads its answer"):
            return reading_of(self._selector, self._state)

    def select(self) -> Selection:
        """The selector's answer, given what was folded."""
        with _own_defects("was asked for its answer"):
            return self._selector.select(self._state, self._evidence)


@contextmanager
def _own_defects(moment: str) -> Iterator[None]:
    """Whatever a selector raises is its own defect, and is said so; the ledger is not to blame."""
    try:
        yield
    except AuxtuneError:  # of the evidence, say, that it looked at
        raise
    except Exception as error:
        raise SelectorError(f"the selector broke when it {moment}: {type(error).__name__}: {error}") from error


@dataclass
class Verification:
    """What became of asking a selector again for every recorded proposal."""

    differences: list[str] = field(default_factory=list)
    """A line for each proposal that does not follow from the events before it."""
    version: int = 1
    """The version of the selector that was asked."""
    other_versions: list[int] = field(default_factory=list)
    """The version that made each proposal that was not asked again, for this one cannot be held to it."""

    @property
    def not_asked_again(self) -> str | None:
        """One line about the proposals of other versions; ``None`` without any."""
        if not self.other_versions:
            return None
        named = ", ".join(str(version) for version in sorted(set(self.other_versions)))
        return (
            f"not asked again: {len(self.other_versions)} proposals of version {named} of the selector, "
            f"which is at version {self.version} now"
        )


def verify(events: Iterable[Event], fold: SelectorFold, execute: Callable[[Proposal], Proposal]) -> Verification:
    """Ask again at every recorded ``after``, and compare.

    ``execute`` turns what a selector asks for into what is recorded (its executed shares). ``fold`` is fresh. Events
    told between a question and its recorded proposal are folded after the question, as they were then. What another
    version of the selector proposed is folded, and not asked again.
    """
    verification = Verification(version=fold.version)
    made_by = fold.version
    late: list[Event] = []
    for event in events:
        if isinstance(event, Opened):
            made_by = event.selector_version
        if not isinstance(event, Proposed) or event.phase not in SELECTORS:
            late.append(event)
            continue
        while late and fold.after < event.after:
            fold.add(late.pop(0))
        if made_by != fold.version:
            verification.other_versions.append(made_by)
        verification.differences += _compare_proposal(event, fold, execute, is_asked=made_by == fold.version)
        while late:
            fold.add(late.pop(0))
        fold.add(event)
    return verification


def _compare_proposal(
    event: Proposed, fold: SelectorFold, execute: Callable[[Proposal], Proposal], is_asked: bool
) -> Iterator[str]:
    """A line if the selector, where it is asked, now answers otherwise than is recorded."""
    answer = fold.propose() if is_asked else None
    if fold.after != event.after:
        yield f"proposal {event.id}: asked after {event.after} events, but only {fold.after} are recorded"
    elif answer is None:
        return
    elif not isinstance(answer, Proposal):
        yield f"proposal {event.id}: recorded, but the selector answers {type(answer).__name__}"
    elif as_recorded(execute(answer)) != event.proposal:
        yield f"proposal {event.id}: the selector now asks for {answer}, recorded is {event.proposal}"
