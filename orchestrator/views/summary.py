"""The answer as a table for the terminal: the same numbers as ``selection.json``."""

from __future__ import annotations

from rich.console import Group, RenderableType

from auxtune.orchestrator.answer.answer import Answer
from auxtune.orchestrator.answer.cost import StudyCost
from auxtune.orchestrator.answer.verdict import interval, lift_words, other_arm, verdict
from auxtune.orchestrator.planning.budget import spent_of
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.concurrency import concurrency_of
from auxtune.orchestrator.session.session import Result
from auxtune.orchestrator.study_file.models import BudgetOptions
from auxtune.orchestrator.tracking.links import where_to_look
from auxtune.orchestrator.typed import typed
from auxtune.orchestrator.views.fitting import FittingLine, FittingTable
from auxtune.orchestrator.views.groups import groups_tables
from auxtune.orchestrator.views.node_cost import node_lines


def summary(result: Result, limits: BudgetOptions, tracking_uri: str) -> RenderableType:
    """What was selected, its lift over each control, what it took of its budget, and where everything is."""
    answer = result.answer
    parts: list[RenderableType] = [FittingLine(verdict(answer), style="bold")]
    parts += groups_tables(answer) if answer.primary is None else (_shares(answer), _lifts(answer))
    parts += [FittingLine(line) for line in (*_rows_kept(answer), *_doubts(answer, result.accounts))]
    parts += [FittingLine(result.unpaid, style="yellow")] if result.unpaid else []
    spent = ", ".join(spent_of(limits, vars(answer.cost)))
    lines = [_cost(answer.cost), *node_lines(answer.cost), *_at_once(result.accounts), f"Budget: {spent}"]
    if (control := other_arm(answer)) is not None:
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


def _shares(answer: Answer) -> RenderableType:
    weights, by_loss = answer.weights or {}, answer.weighting == "loss"
    table = FittingTable("task", "factor of the loss" if by_loss else "share", title="Selection", title_justify="left")
    for task, share in weights.items():
        table.add_row(task, f"{share * len(weights):.2f}" if by_loss else f"{share:.1%}")
    scores = [f"{task} {metric} {v:.4f}" for task, each in answer.report.items() for metric, v in each.items()]
    table.caption = f"on the test split: {', '.join(scores)}"
    return table


def _rows_kept(answer: Answer) -> list[str]:
    """Of how many training rows each task was chosen that is not trained on all."""
    kept = answer.instances or {}
    return [f"Of {task} only {each.kept} of {each.rows} training rows." for task, each in kept.items()]


def _lifts(answer: Answer) -> RenderableType:
    table = FittingTable("over", "lift", "95 % interval", "seeds", title="Lift on the test split")
    table.title_justify = "left"
    for control, lift in answer.lift.items():
        table.add_row(control, *lift_words(lift, lift.metric if lift else ""))
    return table


def _doubts(answer: Answer, accounts: Accounts) -> list[str]:
    """What each chosen task contributes, how often other seeds chose it, and what the search went without."""
    search = accounts.of_selector
    failed = sum(trial.status == "failed" for trial in search)
    lines = [f"{failed} of {len(search)} search trials failed; the choice rests on the others."] if failed else []
    if why := answer.belief.get("why"):
        lines.append(f"The selector: {why}.")
    for task, gain in (answer.contribution or {}).items():
        if gain is not None:
            lines.append(f"{task} contributes {gain.mean:+.4f} ({interval(gain, '95 % interval ')}).")
    if answer.stability:
        often = ", ".join(f"{task} {share:.0%}" for task, share in answer.stability.items() if task != answer.primary)
        lines.append(f"Chosen by how many of the searches: {often or 'no auxiliary by any'}.")
    return lines


def _at_once(accounts: Accounts) -> list[str]:
    found = concurrency_of(accounts)
    return [f"At once: {found.mean:.2f} trials on average, {found.peak} at the most"] if found else []


def _cost(cost: StudyCost) -> str:
    money = "money unknown (no prices)" if cost.usd is None else f"{cost.usd:.2f} USD"
    phases = ", ".join(f"{phase} {part.trials}" for phase, part in cost.phases.items() if part.trials)
    reused = cost.reused
    spared = f"; evidence of {reused.trials} more was there already" if reused.trials else ""
    return (
        f"{cost.trials} trials ({phases or 'none'}), {cost.attempts} attempts{spared}; "
        f"{cost.wall_hours * 60:.1f} minutes, {cost.cpu_hours:.3f} CPU hours, {cost.gpu_hours:.3f} GPU hours, "
        f"{money}"
    )
