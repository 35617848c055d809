"""What a selector may have beside its seven functions: protocols that are recognised by their methods.

A selector needs none of these. Whoever runs or wraps selectors asks through the functions below, which answer for
selectors without the method too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from auxtune.selectors.protocol import Evidence, Proposal, Selector


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
