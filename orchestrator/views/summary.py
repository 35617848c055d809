"""The answer as a table for the terminal: the same numbers as ``selection.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType

from auxtune.orchestrator.answer.verdict import interval, lift_words, other_arm, verdict
from auxtune.orchestrator.planning.budget import spent_of
from auxtune.orchestrator.record.accounts import Accounts, concurrency_of
from auxtune.orchestrator.session.session import Result
from auxtune.orchestrator.study_file.models import BudgetOptions
from auxtune.orchestrator.tracking.links import where_to_look
from auxtune.orchestrator.typed import typed
from auxtune.orchestrator.views.fitting import FittingLine, FittingTable
from auxtune.orchestrator.views.groups import groups_tables
from auxtune.orchestrator.views.node_cost import node_lines


def summary(result: Result, limits: BudgetOptions, tracking_uri: str) -> RenderableType:
    """What was selected, its lift over each control, what it took of its budget, and where everything is."""
    selection = result.selection
    parts: list[RenderableType] = [FittingLine(verdict(selection), style="bold")]
    parts += groups_tables(selection) if selection["primary"] is None else (_shares(selection), _lifts(selection))
    parts += [FittingLine(line) for line in (*_rows_kept(selection), *_doubts(selection, result.accounts))]
    parts += [FittingLine(result.unpaid, style="yellow")] if result.unpaid else []
    spent = ", ".join(spent_of(limits, selection["cost"]))
    lines = [_cost(selection["cost"]), *node_lines(selection["cost"]), *_at_once(result.accounts), f"Budget: {spent}"]
    if (control := other_arm(selection)) is not None:
        lines += [f"As a model: `auxtune export {typed(result.folder)} --to MODEL --arm {control}`"]
    lines += [f"Answer: {result.folder / 'selection.json'}"]
    if result.report_trouble is None:
        lines += [f"Report: {result.folder / 'report.html'}"]
    looked_at = where_to_look(tracking_uri, result.folder, result.accounts.experiment_id)
    parts += [FittingLine(line) for line in (*lines, f"MLflow: {looked_at}")]
    if result.report_trouble:
        parts += [
            FittingLine(
                f"report.html could not be written ({result.report_trouble}); "
                f"`auxtune report {typed(result.folder)}` tries again.",
                style="yellow",
            )
        ]
    if result.tracking_trouble:
        parts += [
            FittingLine(
                f"MLflow could not be brought up to date ({result.tracking_trouble}); "
                f"`auxtune resume {typed(result.folder)}` fills it in.",
                style="yellow",
            )
        ]
    return Group(*parts)


def _shares(selection: Mapping[str, Any]) -> RenderableType:
    weights, by_loss = selection["weights"] or {}, selection["weighting"] == "loss"
    table = FittingTable("task", "factor of the loss" if by_loss else "share", title="Selection", title_justify="left")
    for task, share in weights.items():
        table.add_row(task, f"{share * len(weights):.2f}" if by_loss else f"{share:.1%}")
    scores = [f"{task} {metric} {v:.4f}" for task, each in selection["report"].items() for metric, v in each.items()]
    table.caption = f"on the test split: {', '.join(scores)}"
    return table


def _rows_kept(selection: Mapping[str, Any]) -> list[str]:
    """Of how many training rows each task was chosen that is not trained on all."""
    kept = selection["instances"] or {}
    return [f"Of {task} only {each['kept']} of {each['rows']} training rows." for task, each in kept.items()]


def _lifts(selection: Mapping[str, Any]) -> RenderableType:
    table = FittingTable("over", "lift", "95 % interval", "seeds", title="Lift on the test split")
    table.title_justify = "left"
    for control, lift in selection["lift"].items():
        table.add_row(control, *lift_words(lift, lift["metric"] if lift else ""))
    return table


def _doubts(selection: Mapping[str, Any], accounts: Accounts) -> list[str]:
    """What each chosen task contributes, how often other seeds chose it, and what the search went without."""
    search = accounts.of_selector
    failed = sum(trial.status == "failed" for trial in search)
    lines = [f"{failed} of {len(search)} search trials failed; the choice rests on the others."] if failed else []
    if why := selection["belief"].get("why"):
        lines.append(f"The selector: {why}.")
    for task, gain in (selection["contribution"] or {}).items():
        if gain is not None:
            lines.append(f"{task} contributes {gain['mean']:+.4f} ({interval(gain, '95 % interval ')}).")
    if selection["stability"]:
        often = ", ".join(
            f"{task} {share:.0%}" for task, share in selection["stability"].items() if task != selection["primary"]
        )
        lines.append(f"Chosen by how many of the searches: {often or 'no auxiliary by any'}.")
    return lines


def _at_once(accounts: Accounts) -> list[str]:
    found = concurrency_of(accounts)
    return [f"At once: {found.mean:.2f} trials on average, {found.peak} at the most"] if found else []


def _cost(cost: Mapping[str, Any]) -> str:
    money = "money unknown (no prices)" if cost["usd"] is None else f"{cost['usd']:.2f} USD"
    phases = ", ".join(f"{phase} {part['trials']}" for phase, part in cost["phases"].items() if part["trials"])
    reused = cost["reused"]
    spared = f"; evidence of {reused['trials']} more was there already" if reused["trials"] else ""
    return (
        f"{cost['trials']} trials ({phases or 'none'}), {cost['attempts']} attempts{spared}; "
        f"{cost['wall_hours'] * 60:.1f} minutes, {cost['cpu_hours']:.3f} CPU hours, {cost['gpu_hours']:.3f} GPU hours, "
        f"{money}"
    )
