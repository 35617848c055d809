"""The plan of a study: its trials and their cost, all that ``plan`` shows, as JSON values and as blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import reduce
from operator import add
from typing import Any

from auxtune.orchestrator.answer.cost import sum_cost
from auxtune.orchestrator.planning.arms import EQUAL_COST
from auxtune.orchestrator.planning.budget import count_search_trials
from auxtune.orchestrator.planning.context import count_fewest_trials
from auxtune.orchestrator.planning.estimate import (
    CostEstimate,
    Room,
    Spread,
    Throughput,
    Work,
    average_spreads,
    enclose_spreads,
    estimate_cost,
    find_room,
)
from auxtune.orchestrator.planning.slots import Machines, describe_this_machine
from auxtune.orchestrator.planning.translate import describe_epochs
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.events import SELECTORS, Phase
from auxtune.orchestrator.report.blocks import Block, Cell, Number, Paragraph, Table
from auxtune.orchestrator.session.forecast import (
    ComparisonArm,
    Forecast,
    UpcomingTrials,
    build_forecast,
    list_comparison_arms,
)
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.selectors.protocol import Proposal

UNFORESEEN = (
    "what the selector asks for after these trials depends on them: between such a trial and a plain one was assumed"
)
_COSTS = {
    "trials": "trials",
    "wall_hours": "wall hours",
    "cpu_hours": "CPU hours",
    "gpu_hours": "GPU hours",
    "usd": "USD",
}
_ENDS = {
    None: "the search is ended by: not known yet",
    "selector": "the search is ended by: the selector, which asks for no more",
    "selected": "the search is over: its selection is in the ledger",
}
_HOURS = "{:.3g}".format


def plan_of(study: StudyFile, machines: Machines | None = None) -> dict[str, Any]:
    """The plan of a study from where its ledger stands, on ``machines``, else on this one. Trains nothing.

    Raises ``StudyDataError``, ``SelectorError``, ``ResourceError`` and ``LedgerDamaged``.
    """
    seen = build_forecast(study, machines or describe_this_machine())
    context, accounts = seen.context, seen.context.accounts
    fewest = count_fewest_trials(study.options, context.problem)
    controlled = context.has_open_control
    foreseen = seen.upcoming_trials()
    arms = list_comparison_arms(context.confirmation, accounts, context.is_searched, controlled)
    limits, price = study.options.budget.model_dump(exclude_none=True), context.price
    spent = vars(sum_cost(accounts, price, None))
    coming, each = _estimate_seconds(seen, foreseen)
    missing = [(proposal, arm) for arm in arms for proposal in arm.missing]
    seconds = _format_seconds(seen.throughput, (seen.work(*one) for one in missing))
    confirm = None if seconds is None else estimate_cost(seconds, seen.slots, price)
    # Proposed trials that have not ended are in the ledger's count, and among those still to be trained.
    past = {**{limit: spent[limit] for limit in limits}, "trials": spent["trials"] - len(accounts.unfinished)}
    owed = max(0, _count_ended(accounts, *SELECTORS) - _count_ended(accounts, "control")) if controlled else 0
    held = _add_costs(confirm, _estimate_control(seen, each, owed))
    room = find_room(limits, past, each, held, len(missing) + owed, seen.slots, price, controlled)
    most, ends = (0, "selected") if context.is_searched else _describe_most(foreseen, room)
    parts = {"search": _estimate_trials(seen, coming or [], each, most)}
    if controlled:
        parts["control"] = _estimate_control(seen, each, None if most is None else owed + most)
    return {
        "study": study.options.study,
        "spent": {key: spent[key] for key in ("trials", "wall_hours", "cpu_hours", "gpu_hours", "usd")},
        "epochs": describe_epochs(study.options.training, context.problem),
        "at_once": seen.slots.concurrent,
        "search": {
            "selector": study.options.selector.name,
            "fewest": fewest,
            "most": most,
            "ends": ends,
            "kinds": _describe_kinds(seen, foreseen.proposals[:most]),
        },
        "confirm": [_describe_arm(seen, arm) for arm in arms],
        "cost": _describe_costs({**parts, "confirm": confirm}),
        "budget": [asdict(one) for one in room],
        "trials": _plan_trials(limits.get("trials"), past["trials"], len(missing), owed if controlled else None),
        "pace": dict(seen.measured),
        "notes": [*seen.notes, *_warn_of_no_limit(limits, room), *([] if foreseen.alike else [UNFORESEEN])],
    }


def _estimate_seconds(seen: Forecast, foreseen: UpcomingTrials) -> tuple[list[Spread] | None, Spread | None]:
    """The seconds of each search trial that is foreseen, and of one of those after them; ``None`` where unknown."""
    coming = _format_seconds(seen.throughput, (seen.work(proposal) for proposal in foreseen.proposals))
    if not foreseen.alike and (plain := _format_seconds(seen.throughput, [seen.later()])):
        return coming, enclose_spreads([*(coming or []), *plain])
    return coming, average_spreads(coming or [])


def _count_ended(accounts: Accounts, *phases: Phase) -> int:
    return sum(trial.told is not None for trial in accounts.in_phase(*phases))


def _estimate_trials(
    seen: Forecast, coming: Sequence[Spread], each: Spread | None, most: int | None
) -> CostEstimate | None:
    """The cost of at most so many trials: of ``coming`` seconds, and then of ``each``; ``None`` where unknown."""
    if most is None or (each is None and most > 0):
        return None
    known = list(coming[:most])
    later = [each] * (most - len(known)) if each else []
    return estimate_cost([*known, *later], seen.slots, seen.context.price)


def _estimate_control(seen: Forecast, each: Spread | None, trials: int | None) -> CostEstimate | None:
    """The cost of a control's trials: of ``each`` like the search's or, where there are none, of plain trainings."""
    plain = _format_seconds(seen.throughput, [seen.later()]) if each is None else [each]
    return _estimate_trials(seen, [], plain[0] if plain else None, trials)


def _describe_costs(parts: Mapping[str, CostEstimate | None]) -> dict[str, Any]:
    """The remaining cost by purpose and in all."""
    whole = {**parts, "total": _add_costs(*parts.values())}
    return {part: asdict(cost) if cost else None for part, cost in whole.items()}


def _add_costs(*parts: CostEstimate | None) -> CostEstimate | None:
    """The sum of estimates; ``None`` where one of them is unknown."""
    known = [cost for cost in parts if cost is not None]
    return reduce(add, known) if len(known) == len(parts) else None


def _plan_trials(limit: int | None, trained: int, confirm: int, owed: int | None) -> dict[str, int] | None:
    """The budget's trials by purpose; ``None`` where they are not limited.

    ``owed`` are those that a control has to train until it has as many as the search; ``None``: there is none.
    """
    if limit is None:
        return None
    left = max(0, limit - trained - confirm)
    search = count_search_trials(left, owed is not None, owed or 0)
    planned = {"limit": limit, "trained": trained, "confirm": confirm, "search": search}
    return planned if owed is None else {**planned, "control": min(left, owed + search)}


def _warn_of_no_limit(limits: Iterable[str], room: Sequence[Room]) -> list[str]:
    bounding = {one.limit for one in room}
    return [f"budget.{key} never ends the search: trials take none of it here" for key in limits if key not in bounding]


def _format_seconds(throughput: Throughput | None, works: Iterable[Work]) -> list[Spread] | None:
    """Seconds of each trial; ``None`` where those of any are unknown."""
    each = [throughput.seconds(work) if throughput else None for work in works]
    known = [seconds for seconds in each if seconds is not None]
    return known if len(known) == len(each) else None


def _describe_most(foreseen: UpcomingTrials, room: Sequence[Room]) -> tuple[int | None, str | None]:
    """The most search trials still to come, and what ends the search: a limit, or the selector itself.

    A limit whose room is unknown may be the one that ends it: then no one knows which does, only what the others
    allow.
    """
    ends = {one.limit: one.trials for one in room if one.trials is not None}
    if foreseen.last:
        ends = {"selector": len(foreseen.proposals), **ends}
    if not ends:
        return None, None
    first = min(ends, key=lambda limit: ends[limit])
    unknown = any(one.trials is None for one in room) and ends[first] > 0
    # Trials under way are never dropped.
    return max(ends[first], foreseen.waiting), None if unknown else first


def _describe_kinds(seen: Forecast, proposals: Sequence[Proposal]) -> list[dict[str, Any]]:
    steps = seen.context.translator.steps
    counted = Counter((steps(one), len(one.tasks), one.inner.rounds if one.inner else None) for one in proposals)
    return [
        {"trials": trials, "steps": steps, "tasks": tasks, "rounds": rounds}
        for (steps, tasks, rounds), trials in counted.items()
    ]


def _describe_arm(seen: Forecast, arm: ComparisonArm) -> dict[str, Any]:
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


def plan_blocks(plan: Mapping[str, Any]) -> Iterator[Block]:
    """The values of ``plan_of``, as lines and tables."""
    yield from map(Paragraph, _search_lines(plan))
    if "control" in plan["cost"]:
        yield Paragraph(f"then {EQUAL_COST}: random mixtures, until they have cost as much as the search")
    arms = [
        (arm["arm"], str(arm["seeds"]), str(arm["missing"]), str(arm["steps"]), _describe_tasks(arm))
        for arm in plan["confirm"]
    ]
    yield Table("", ("confirm", "seeds", "to train", "steps", "tasks"), tuple(arms), rules="head")
    if _is_measured(plan):
        costs: list[tuple[Cell, ...]] = [
            (name, *(Number(None, _describe_cost(bill, key)) for bill in plan["cost"].values()))
            for key, name in _COSTS.items()
        ]
        yield Table("", ("cost", *plan["cost"]), tuple(costs), rules="head")
    notes = (f"note: {note}" for note in plan["notes"])
    yield from map(Paragraph, (*_list_ending_lines(plan), *_list_pace_lines(plan["pace"]), *notes))


def _describe_tasks(arm: Mapping[str, Any]) -> str:
    models = arm["groups"] or ([arm["tasks"]] if arm["tasks"] else [])
    unknown = "as its search finds" if arm["arm"] == EQUAL_COST else "as selected"
    return " | ".join(map(" + ".join, models)) or unknown


def _is_measured(plan: Mapping[str, Any]) -> bool:
    """Whether anything is known of the cost; else a note says how to come by it, and that is enough."""
    return any(bill is not None for bill in plan["cost"].values())


def _search_lines(plan: Mapping[str, Any]) -> Iterator[str]:
    search, spent = plan["search"], plan["spent"]
    most = "an unknown number" if search["most"] is None else search["most"]
    yield f"study {plan['study']}: {plan['at_once']} trials at once, {spent['trials']} in its ledger so far"
    if plan["epochs"] is not None:
        yield plan["epochs"]
    yield f"search by {search['selector']}: at most {most} more trials; it can answer from {search['fewest']}"
    for kind in search["kinds"]:
        rounds = f" in {kind['rounds']} rounds" if kind["rounds"] else ""
        yield f"  {kind['trials']} foreseen of {kind['steps']} steps{rounds}, {kind['tasks']} tasks each"


def _describe_cost(bill: Mapping[str, Any] | None, key: str) -> str:
    if bill is None:
        return "unknown"
    if key == "trials" or bill[key] is None:
        return "unknown" if bill[key] is None else str(bill[key])
    # The spread below its mean, so that the table keeps to a terminal's width.
    return "\n".join(filter(None, [_HOURS(bill[key]["mean"]), _describe_range(bill[key], _HOURS)]))


def _describe_range(spread: Mapping[str, float | None], shown: Callable[[float | None], str]) -> str | None:
    """From lowest to highest; ``None`` where both are the mean."""
    if spread["low"] is None or spread["high"] is None:
        return "spread unknown"
    exact = spread["low"] == spread["mean"] == spread["high"]
    return None if exact else f"{shown(spread['low'])} – {shown(spread['high'])}"


def _list_ending_lines(plan: Mapping[str, Any]) -> Iterator[str]:
    for room in plan["budget"]:
        if room["limit"] == "trials":
            yield f"budget.trials: {_describe_trials(plan['trials'])}"
            continue
        if room["trials"] is None and not _is_measured(plan):
            continue
        spread = _describe_range({"mean": room["trials"], "low": room["few"], "high": room["many"]}, str)
        counted = "unknown" if room["trials"] is None else f"{room['trials']}{f' ({spread})' if spread else ''}"
        yield f"budget.{room['limit']}: room for {counted} more search trials"
    ends = plan["search"]["ends"]
    if ends is not None or _is_measured(plan):
        yield _ENDS.get(ends, f"the search is ended by: budget.{ends}")


def _describe_trials(planned: Mapping[str, int]) -> str:
    """The budget's trials by purpose, as in ``24 trials: 20 confirm, 4 search``."""
    before = f"{planned['trained']} trained before, " if planned["trained"] else ""
    control = f", {planned['control']} control" if "control" in planned else ""
    return f"{planned['limit']} trials: {before}{planned['confirm']} confirm, {planned['search']} search{control}"


def _list_pace_lines(pace: Mapping[str, Any]) -> Iterator[str]:
    if pace["source"] == "trials":
        seconds = pace["seconds_per_step"]
        yield f"estimated from this study's finished trials ({pace['trials']}): {seconds:.4g} s per step on average"
    elif pace["source"] == "smoke":
        yield "estimated from the last smoke test; starting Ray, saving, and neighbours on the machine are not in it"
