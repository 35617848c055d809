"""What a selector may have beside its seven functions: protocols that are recognised by their methods.

A selector needs none of these. Whoever runs or wraps selectors asks through the functions below, which answer for
selectors without the method too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from auxtune.selectors.beliefs import Belief
from auxtune.selectors.protocol import JSON, Evidence, Proposal, Selector


@runtime_checkable
class Continues(Protocol):
    """What a selector has beside the seven functions if its proposals continue each other (``Continuation``)."""

    def checkpoints_in_use(self, state: Any) -> frozenset[int]:
        """The proposals from whose weights a pending or coming one may start; of all others they may be deleted."""


@runtime_checkable
class Wraps(Protocol):
    """What a selector has beside the seven functions if other selectors propose for it."""

    @property
    def parts(self) -> tuple[Selector, ...]:
        """The selectors that propose."""


@runtime_checkable
class Reads(Protocol):
    """What a selector has beside the seven functions if it has learned to read another answer out of the same trials.

    An answer is recorded with its reading. Where a study's recorded one is older, the study is read anew: its report
    says what it would choose now, and `resume` confirms that.
    """

    def reading(self, state: Any) -> int:
        """Which way of reading ``select`` uses in ``state``, counted from 1: that of all selectors without one."""


@runtime_checkable
class Predicts(Protocol):
    """What a selector has beside the seven functions if it can say what trials would come to that were never run."""

    def predict(self, state: Any, evidence: Evidence, asked: Sequence[Proposal]) -> list[Mapping[str, float]]:
        """For each proposal the score (higher is better) it would give each task that counts, empty where unknown.

        With a primary that is the primary, with something ``scored`` that; else every task of the proposal.
        """


@runtime_checkable
class Believes(Protocol):
    """What a selector has beside the seven functions if reports and live views shall show what it believes."""

    def beliefs(self, belief: Mapping[str, JSON]) -> Iterable[Belief]:
        """The beliefs in the JSON of a ``Selection.belief`` of its own, in the order in which to show them.

        It reads what is there and computes nothing: the answer may be one of an earlier version.
        """


@dataclass(frozen=True)
class Lesson:
    """The result of one pull of a bandit."""

    task: str
    rewarded: bool | None
    """``None`` where the pull taught nothing."""
    posterior: Mapping[str, float]
    """Task -> the mean of its posterior afterwards, which may forget."""
    rates: Mapping[str, float]
    """Task -> its utility afterwards by all rewards so far."""


@runtime_checkable
class Learns(Protocol):
    """What a selector has beside the seven functions if it learns of tasks pull by pull; an inner one too."""

    def learned(self, before: Any, after: Any) -> Lesson | None:
        """The lesson of the one outcome between two states; ``None`` where no pull ended."""


@dataclass(frozen=True)
class ActivePart:
    """A selector that wraps no other, as it is at work within those that wrap it."""

    stage: str
    """The beginning of its proposals' stages; empty where nothing wraps it."""
    selector: Selector
    state: Any
    best: float | None = None
    """Of several searches, the best score of this one."""
    handed_on: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Each stage that is over -> the tasks that it left to the next."""

    def has_asked(self, stage: str) -> bool:
        """Whether a proposal of ``stage`` is its own."""
        return not self.stage or stage == self.stage or stage.startswith(f"{self.stage}.")


@runtime_checkable
class Divides(Protocol):
    """What a wrapper has beside the seven functions so that its parts can be shown apart."""

    def active_parts(self, state: Any) -> Iterable[ActivePart]:
        """The parts at work in ``state``, with their own states."""

    def divide_belief(self, belief: Mapping[str, JSON]) -> Iterable[tuple[str, Selector, Mapping[str, JSON]]]:
        """Stage, selector and own belief of each part that ``belief`` tells of."""


def find_active_parts(selector: Selector, state: Any) -> Iterator[ActivePart]:
    """The selectors at work within ``selector``, whatever wraps them; itself where it wraps none."""
    if not isinstance(selector, Divides):
        yield ActivePart("", selector, state)
        return
    for part in selector.active_parts(state):
        for inner in find_active_parts(part.selector, part.state):
            stage = ".".join(filter(None, (part.stage, inner.stage)))
            best = part.best if inner.best is None else inner.best
            yield replace(inner, stage=stage, best=best, handed_on={**part.handed_on, **inner.handed_on})


def read_beliefs(selector: Selector, belief: Mapping[str, JSON]) -> Iterator[tuple[str, Belief]]:
    """The beliefs of ``selector`` and of all that it wraps, each with its stage: empty where there are none."""
    if isinstance(selector, Believes):
        yield from (("", each) for each in selector.beliefs(belief))
    if isinstance(selector, Divides):
        for stage, part, own in selector.divide_belief(belief):
            yield from ((".".join(filter(None, (stage, inner))), each) for inner, each in read_beliefs(part, own))


def renumber(proposal: Proposal, numbers: Mapping[int, int]) -> Proposal:
    """``proposal`` with the start of its continuation under another count: a wrapper counts differently."""
    if proposal.continuation is None or proposal.continuation.start is None:
        return proposal
    return replace(proposal, continuation=replace(proposal.continuation, start=numbers[proposal.continuation.start]))


def checkpoints_used_by(selector: Selector, state: Any) -> frozenset[int]:
    """The proposals whose checkpoints ``selector`` has in use; none where it never continues one."""
    return selector.checkpoints_in_use(state) if isinstance(selector, Continues) else frozenset()


def version_of(selector: Selector) -> int:
    """The version of what ``selector`` proposes: its own, raised by one for each version of a part that it wraps."""
    parts = selector.parts if isinstance(selector, Wraps) else ()
    own: int = getattr(selector, "version", 1)
    return own + sum(version_of(part) - 1 for part in parts)


def reading_of(selector: Selector, state: Any) -> int:
    """Which way of reading the answer of ``selector`` in ``state`` comes from; 1 where it has had only one."""
    return selector.reading(state) if isinstance(selector, Reads) else 1
