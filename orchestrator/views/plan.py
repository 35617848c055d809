"""What a study would train and what that would cost: all that ``plan`` shows, as JSON values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from auxtune.orchestrator.answer.answer import cost_of
from auxtune.orchestrator.planning.budget import price_of
from auxtune.orchestrator.planning.context import fewest_search_trials
from auxtune.orchestrator.planning.estimate import (
    Room,
    Spread,
    Throughput,
    Work,
    average,
    estimate_cost,
    find_room,
    hull,
)
from auxtune.orchestrator.planning.machines import Machines, this_machine
from auxtune.orchestrator.planning.translate import epochs_in_words
from auxtune.orchestrator.session.forecast import (
    ComparisonArm,
    Forecast,
    UpcomingTrials,
    comparison_arms,
    make_forecast,
)
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.selectors.protocol import Proposal

UNFORESEEN = (
    "what the selector asks for after these trials depends on them: between such a trial and a plain one was assumed"
)


def plan_of(study: StudyFile, machines: Machines | None = None) -> dict[str, Any]:
    """The plan of a study from where its ledger stands, on ``machines``, else on this one. Trains nothing.

    Raises ``StudyDataError``, ``SelectorError``, ``ResourceError`` and ``LedgerDamaged``.
    """
    seen = make_forecast(study, machines or this_machine())
    context, accounts = seen.context, seen.context.accounts
    fewest = fewest_search_trials(study.options, context.problem)
    foreseen, arms = seen.upcoming_trials(), comparison_arms(context.confirmation, accounts, context.is_searched)
    limits, price = study.options.budget.model_dump(exclude_none=True), price_of(study.options)
    spent = cost_of(accounts, price, None)
    coming = _seconds(seen.throughput, (seen.work(proposal) for proposal in foreseen.proposals))
    each = average(coming or [])
    if not foreseen.alike and (plain := _seconds(seen.throughput, [seen.later()])):
        each = hull([*(coming or []), *plain])
    missing = [(proposal, arm) for arm in arms for proposal in arm.missing]
    seconds = _seconds(seen.throughput, (seen.work(*one) for one in missing))
    confirm = None if seconds is None else estimate_cost(seconds, seen.slots, price)
    # Proposed trials that have not ended are in the ledger's count, and among those still to be trained.
    past = {**{limit: spent[limit] for limit in limits}, "trials": spent["trials"] - len(accounts.unfinished)}
    room = find_room(limits, past, each, confirm, len(missing), seen.slots, price)
    most, ends = (0, "selected") if context.is_searched else _most(foreseen, room)
    search = None
    if most is not None and (each is not None or most == 0):
        known = (coming or [])[:most]
        search = estimate_cost([*known, *([each] * (most - len(known)) if each else [])], seen.slots, price)
    return {
        "study": study.options.study,
        "spent": {key: spent[key] for key in ("trials", "wall_hours", "cpu_hours", "gpu_hours", "usd")},
        "epochs": epochs_in_words(study.options.training, context.problem),
        "at_once": seen.slots.concurrent,
        "search": {
            "selector": study.options.selector.name,
            "fewest": fewest,
            "most": most,
            "ends": ends,
            "kinds": _kinds(seen, foreseen.proposals),
        },
        "confirm": [_arm(seen, arm) for arm in arms],
        "cost": {
            "search": asdict(search) if search else None,
            "confirm": asdict(confirm) if confirm else None,
            "total": asdict(search + confirm) if search and confirm else None,
        },
        "budget": [asdict(one) for one in room],
        "trials": _trials(limits.get("trials"), past["trials"], len(missing)),
        "pace": dict(seen.measured),
        "notes": [*seen.notes, *_boundless(limits, room), *([] if foreseen.alike else [UNFORESEEN])],
    }


def _trials(limit: int | None, trained: int, confirm: int) -> dict[str, int] | None:
    """What the trials of the budget are for; ``None`` where they are not limited."""
    if limit is None:
        return None
    return {"limit": limit, "trained": trained, "confirm": confirm, "search": max(0, limit - trained - confirm)}


def _boundless(limits: Iterable[str], room: Sequence[Room]) -> list[str]:
    bounding = {one.limit for one in room}
    return [f"budget.{key} never ends the search: trials take none of it here" for key in limits if key not in bounding]


def _seconds(throughput: Throughput | None, works: Iterable[Work]) -> list[Spread] | None:
    """Seconds of each trial; ``None`` where those of any are unknown."""
    each = [throughput.seconds(work) if throughput else None for work in works]
    known = [seconds for seconds in each if seconds is not None]
    return known if len(known) == len(each) else None


def _most(foreseen: UpcomingTrials, room: Sequence[Room]) -> tuple[int | None, str | None]:
    """The most search trials still to come, and what ends the search: a limit, or the selector itself.

    A limit whose room is unknown may be the one that ends it: then nobody knows which does, only what the others
    allow.
    """
    ends = {one.limit: one.trials for one in room if one.trials is not None}
    if foreseen.last:
        ends = {"selector": len(foreseen.proposals), **ends}
    if not ends:
        return None, None
    first = min(ends, key=lambda limit: ends[limit])
    unknown = any(one.trials is None for one in room) and ends[first] > 0
    # What is under way is never dropped.
    return max(ends[first], foreseen.waiting), None if unknown else first


def _kinds(seen: Forecast, proposals: Sequence[Proposal]) -> list[dict[str, Any]]:
    steps = seen.context.translator.steps
    counted = Counter((steps(one), len(one.tasks), one.inner.rounds if one.inner else None) for one in proposals)
    return [
        {"trials": trials, "steps": steps, "tasks": tasks, "rounds": rounds}
        for (steps, tasks, rounds), trials in counted.items()
    ]


def _arm(seen: Forecast, arm: ComparisonArm) -> dict[str, Any]:
    first, alone = arm.expected[0], arm.known and len(arm.expected) == 1
    return {
        "arm": arm.name,
        "seeds": arm.seeds,
        "missing": len(arm.missing),
        "steps": seen.context.translator.steps(first),
        "tasks": list(first.tasks) if alone else None,
        "weights": dict(first.weights) if alone and first.weights else None,
        "groups": [list(model.tasks) for model in arm.expected] if arm.known and not alone else None,
    }
