"""Optional abilities of a selector beyond its seven functions: protocols that are recognised by their methods.

A selector needs none of these. Callers that run or wrap selectors use the functions below, which also answer for
selectors without the method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from auxtune.selectors.protocol import Evidence, Proposal, Selector


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
    """The method of a selector that, since an earlier version, reads another answer out of the same trials.

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


def renumber_start(proposal: Proposal, numbers: Mapping[int, int]) -> Proposal:
    """``proposal`` with the start of its continuation translated by ``numbers``: a wrapper counts differently."""
    if proposal.continuation is None or proposal.continuation.start is None:
        return proposal
    return replace(proposal, continuation=replace(proposal.continuation, start=numbers[proposal.continuation.start]))


def list_checkpoints_in_use(selector: Selector, state: Any) -> frozenset[int]:
    """The proposals whose checkpoints ``selector`` may still use; none if it never continues one."""
    return selector.checkpoints_in_use(state) if isinstance(selector, Continues) else frozenset()


def add_versions(selector: Selector) -> int:
    """The version of ``selector``'s proposals: its own, plus one for each further version of a part that it wraps."""
    parts = selector.parts if isinstance(selector, Wraps) else ()
    own: int = getattr(selector, "version", 1)
    return own + sum(add_versions(part) - 1 for part in parts)


def find_reading(selector: Selector, state: Any) -> int:
    """The number of the reading behind the answer of ``selector`` in ``state``; 1 if it only ever had one."""
    return selector.reading(state) if isinstance(selector, Reads) else 1
