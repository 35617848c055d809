"""Optional abilities of a selector beyond its seven functions: protocols that are recognised by their methods.

A selector needs none of these. Callers that run or wrap selectors use the functions below, which also answer for
selectors without the method.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from auxtune.selectors.beliefs import Belief
from auxtune.selectors.protocol import JSON, Evidence, Proposal, Selector


@runtime_checkable
class Continues(Protocol):
    """The method of a selector whose proposals continue each other (``Continuation``)."""

    def checkpoints_in_use(self, state: Any) -> frozenset[int]:
        """The proposals from whose weights a pending or future one may start; weights of all others may be deleted."""


@runtime_checkable
class Wraps(Protocol):
    """The property of a selector for which other selectors propose."""

    @property
    def parts(self) -> tuple[Selector, ...]:
        """The selectors that propose."""


@runtime_checkable
class Reads(Protocol):
    """The method of a selector that draws another answer from the same trials than an earlier version did.

    An answer is recorded with its reading. If a study's recorded reading is older, the study is read again: its report
    shows today's choice, and `resume` confirms it.
    """

    def reading(self, state: Any) -> int:
        """The number of the reading that ``select`` uses in ``state``; 1 is the first, and that of other selectors."""


@runtime_checkable
class Predicts(Protocol):
    """The method of a selector that can predict the scores of trials that were never run."""

    def predict(self, state: Any, evidence: Evidence, asked: Sequence[Proposal]) -> list[Mapping[str, float]]:
        """For each proposal the predicted score (higher is better) of each task that counts, empty where unknown.

        That is the primary if there is one, what is ``scored`` if something is, and else every task of the proposal.
        """


@runtime_checkable
class Believes(Protocol):
    """What a selector has besides the seven functions for reports and live views to show what it believes."""

    def beliefs(self, belief: Mapping[str, JSON]) -> Iterable[Belief]:
        """The beliefs in the JSON of a ``Selection.belief`` of its own, in the order in which to show them.

        It only reads and computes nothing: the answer may come from an earlier version.
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
    """What a selector, or an inner one, has besides the seven functions if it learns about tasks pull by pull."""

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
    """What a wrapper has besides the seven functions so that its parts can be shown apart."""

    def active_parts(self, state: Any) -> Iterable[ActivePart]:
        """The parts at work in ``state``, with their own states."""

    def divide_belief(self, belief: Mapping[str, JSON]) -> Iterable[tuple[str, Selector, Mapping[str, JSON]]]:
        """Stage, selector and own belief of each part that ``belief`` covers."""


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


def renumber_start(proposal: Proposal, numbers: Mapping[int, int]) -> Proposal:
    """``proposal`` with the start of its continuation under another count: a wrapper counts differently."""
    if proposal.continuation is None or proposal.continuation.start is None:
        return proposal
    return replace(proposal, continuation=replace(proposal.continuation, start=numbers[proposal.continuation.start]))


def list_checkpoints_in_use(selector: Selector, state: Any) -> frozenset[int]:
    """The proposals whose checkpoints ``selector`` may still use; none if it never continues one."""
    return selector.checkpoints_in_use(state) if isinstance(selector, Continues) else frozenset()


def sum_versions(selector: Selector) -> int:
    """The version of ``selector``'s proposals: its own, plus one for each further version of a part that it wraps."""
    parts = selector.parts if isinstance(selector, Wraps) else ()
    own: int = getattr(selector, "version", 1)
    return own + sum(sum_versions(part) - 1 for part in parts)


def find_reading(selector: Selector, state: Any) -> int:
    """The number of the reading behind the answer of ``selector`` in ``state``; 1 if it only ever had one."""
    return selector.reading(state) if isinstance(selector, Reads) else 1
