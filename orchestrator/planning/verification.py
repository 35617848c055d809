"""Checks a ledger against what it rests on: the selector asked again, evidence, and each trial's own result."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from auxtune.orchestrator.planning.context import StudyContext
from auxtune.orchestrator.planning.translate import Translator
from auxtune.orchestrator.record.events import Event, Remeasured, Told
from auxtune.orchestrator.record.results import DamagedResultError, locate_attempt, read_result
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.selectors.protocol import Outcome
from auxtune.trials.result import Cost, Result, clip_negative


@dataclass(frozen=True)
class Verification:
    """What ``auxtune status --verify`` found.

    ``differences`` has a line for each contradiction; ``not_asked_again`` says which proposals could not be checked,
    and why. ``compared`` counts the attempts whose score and cost were compared with their own result, ``gone`` those
    with a score and no result left.
    """

    differences: tuple[str, ...]
    not_asked_again: str | None
    compared: int
    gone: int

    def as_json(self) -> dict[str, Any]:
        """Keys for ``auxtune status --json``."""
        return {**asdict(self), "differences": list(self.differences)}


def verify_study(context: StudyContext, events: Sequence[Event]) -> Verification:
    """Ask again for every recorded proposal, and compare what was recorded of each attempt with what it left."""
    unasked: list[int] = []
    proposals = list(context.differences(events, unasked))
    others = [context.describe_other_versions(events), _describe_unasked(unasked)]
    said: list[str] = []
    compared = gone = 0
    for event in events:
        if isinstance(event, Told | Remeasured) and event.attempt > 0:
            found = compare_with_result(context.folder, event)
            gone += found is None
            compared += found is not None
            said += found or []
    return Verification((*proposals, *said), "; ".join(filter(None, others)) or None, compared, gone)


def compare_with_result(study: StoredPath, event: Told | Remeasured) -> list[str] | None:
    """A line for each figure in which an attempt's end differs from its own result; ``None``: that is gone.

    ``study`` is the study's folder. Attempts that never had a result, since early stopping ended them or their worker
    died, have nothing to compare.
    """
    folder = locate_attempt(study, event.id, event.attempt)
    try:
        result = read_result(folder)
    except DamagedResultError as error:
        return [f"trial {event.id}: {error}"] if _has_score(event) else []
    if result is None:
        return None if _has_score(event) else []
    told, left = dict(_list_recorded(event)), dict(_list_left(event, result))
    return [
        f"trial {event.id}: {name} is {_format_figure(told.get(name))} in the ledger, and "
        f"{_format_figure(left.get(name))} in {folder / 'result.json'}"
        for name in dict.fromkeys([*told, *left])
        if not _is_same(told.get(name), left.get(name))
    ]


def _has_score(event: Told | Remeasured) -> bool:
    return bool(event.arrays) if isinstance(event, Remeasured) else event.outcome.ok


def _list_recorded(event: Told | Remeasured) -> Iterator[tuple[str, Any]]:
    """Name, such as ``cost.wall_seconds``, and value of every figure that the ledger has of an attempt."""
    yield from _flatten(asdict(clip_negative(event.cost)), "cost")
    if isinstance(event, Told):
        yield from _list_told(event.outcome, event.test, event.reused)


def _list_left(event: Told | Remeasured, result: Result) -> Iterator[tuple[str, Any]]:
    """The same of what the attempt left."""
    yield from _flatten(asdict(clip_negative(result.cost)), "cost")
    if isinstance(event, Told):
        yield from _list_told(Translator.outcome(result), result.test, result.reused)


def _list_told(
    outcome: Outcome, test: Mapping[str, Mapping[str, float]], reused: Mapping[str, Cost]
) -> Iterator[tuple[str, Any]]:
    yield from _flatten(asdict(outcome), "")
    yield from _flatten(test, "test")
    yield from _flatten({key: asdict(clip_negative(cost)) for key, cost in reused.items()}, "reused")


def _flatten(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if not isinstance(value, Mapping):
        yield place, value
        return
    for key, each in value.items():
        yield from _flatten(each, f"{place}.{key}" if place else str(key))


def _is_same(one: Any, other: Any) -> bool:
    both_unknown = isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    return both_unknown or one == other


def _format_figure(value: Any) -> str:
    return "nothing" if value is None else str(value)


def _describe_unasked(unasked: Sequence[int]) -> str | None:
    if not unasked:
        return None
    proposals = "1 proposal rests" if len(unasked) == 1 else f"{len(unasked)} proposals rest"
    return f"not asked again: {proposals} on evidence that was measured again since, or is gone or damaged"
