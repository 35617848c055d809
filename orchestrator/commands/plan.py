"""``auxtune plan``: what a study would train from here on, and what that would cost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from auxtune.orchestrator.commands.saying import say

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


@click.command("plan", epilog="Example: auxtune plan study.yaml --set budget.trials=40")
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key, as in training.steps=200.")
@click.option("--address", metavar="HOST:PORT", help="Plan for the cluster of this head; auto: that of this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print one object instead of tables.")
def command(study: Path, overrides: tuple[str, ...], address: str | None, as_json: bool) -> None:
    """Show what the study file STUDY would train and what that would cost, against its budget.

    Seconds are those of the study's finished trials, else of `auxtune validate --smoke`; without either, cost is
    unknown. What was trained before is not counted again. Nothing is trained. With --address, given on one of its
    nodes, what a cluster has and could start says what a trial gets and how many run at once.
    """
    from auxtune.orchestrator.engine.cluster import machines_at
    from auxtune.orchestrator.planning.budget import check_budget, check_prices
    from auxtune.orchestrator.planning.machines import this_machine
    from auxtune.orchestrator.planning.slots import allot
    from auxtune.orchestrator.study_file.reading import read_study
    from auxtune.orchestrator.views.plan import plan_of

    checked = read_study(study, overrides)
    machines = machines_at(address) if address else this_machine()
    plan = plan_of(checked, machines)
    if as_json:
        click.echo(json.dumps(plan, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _print(plan)
    check_prices(checked.options, allot(checked.options.resources, machines))
    check_budget(checked.options, plan["search"]["fewest"])


def _print(plan: Mapping[str, Any]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console

    from auxtune.orchestrator.views.fitting import FittingTable

    for line in _search(plan):
        say(line)
    arms = FittingTable("confirm", "seeds", "to train", "steps", "tasks", box=SIMPLE, pad_edge=False)
    for arm in plan["confirm"]:
        models = arm["groups"] or ([arm["tasks"]] if arm["tasks"] else [])
        tasks = " | ".join(map(" + ".join, models)) or "as selected"
        arms.add_row(arm["arm"], str(arm["seeds"]), str(arm["missing"]), str(arm["steps"]), tasks)
    Console().print(arms, overflow="ignore", crop=False)
    if _is_measured(plan):
        cost = FittingTable("cost", box=SIMPLE, pad_edge=False)
        for phase in plan["cost"]:
            cost.add_column(phase, justify="right")
        for key, name in _COSTS.items():
            cost.add_row(name, *(_cost(bill, key) for bill in plan["cost"].values()))
        Console().print(cost, overflow="ignore", crop=False)
    for line in (*_ending(plan), *_pace(plan["pace"]), *(f"note: {note}" for note in plan["notes"])):
        say(line)


def _is_measured(plan: Mapping[str, Any]) -> bool:
    """Whether anything is known of the cost; else a note says how to come by it, and that is enough."""
    return any(bill is not None for bill in plan["cost"].values())


def _search(plan: Mapping[str, Any]) -> Iterator[str]:
    search, spent = plan["search"], plan["spent"]
    most = "an unknown number" if search["most"] is None else search["most"]
    yield f"study {plan['study']}: {plan['at_once']} trials at once, {spent['trials']} in its ledger so far"
    if plan["epochs"] is not None:
        yield plan["epochs"]
    yield f"search by {search['selector']}: at most {most} more trials; it can answer from {search['fewest']}"
    for kind in search["kinds"]:
        rounds = f" in {kind['rounds']} rounds" if kind["rounds"] else ""
        yield f"  {kind['trials']} foreseen of {kind['steps']} steps{rounds}, {kind['tasks']} tasks each"


def _cost(bill: Mapping[str, Any] | None, key: str) -> str:
    if bill is None:
        return "unknown"
    if key == "trials" or bill[key] is None:
        return "unknown" if bill[key] is None else str(bill[key])
    # The spread below its mean, so that the table keeps to a terminal's width.
    return "\n".join(filter(None, [_HOURS(bill[key]["mean"]), _range(bill[key], _HOURS)]))


def _range(spread: Mapping[str, float | None], shown: Callable[[float | None], str]) -> str | None:
    """From lowest to highest; ``None`` where both are the mean."""
    if spread["low"] is None or spread["high"] is None:
        return "spread unknown"
    exact = spread["low"] == spread["mean"] == spread["high"]
    return None if exact else f"{shown(spread['low'])} – {shown(spread['high'])}"


def _ending(plan: Mapping[str, Any]) -> Iterator[str]:
    for room in plan["budget"]:
        if room["limit"] == "trials":
            yield f"budget.trials: {_trials(plan['trials'])}"
            continue
        if room["trials"] is None and not _is_measured(plan):
            continue
        spread = _range({"mean": room["trials"], "low": room["few"], "high": room["many"]}, str)
        counted = "unknown" if room["trials"] is None else f"{room['trials']}{f' ({spread})' if spread else ''}"
        yield f"budget.{room['limit']}: room for {counted} more search trials"
    ends = plan["search"]["ends"]
    if ends is not None or _is_measured(plan):
        yield _ENDS.get(ends, f"the search is ended by: budget.{ends}")


def _trials(planned: Mapping[str, int]) -> str:
    """What the trials of the budget are for, as in ``24 trials: 20 confirm, 4 search``."""
    before = f"{planned['trained']} trained before, " if planned["trained"] else ""
    return f"{planned['limit']} trials: {before}{planned['confirm']} confirm, {planned['search']} search"


def _pace(pace: Mapping[str, Any]) -> Iterator[str]:
    if pace["source"] == "trials":
        seconds = pace["seconds_per_step"]
        yield f"estimated from this study's finished trials ({pace['trials']}): {seconds:.4g} s per step on average"
    elif pace["source"] == "smoke":
        yield "estimated from the last smoke test; starting Ray, saving, and neighbours on the machine are not in it"
