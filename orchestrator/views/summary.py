"""The answer for the terminal, as a run ends with it: the same numbers as ``selection.json``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from auxtune.orchestrator.answer.answer import Answer
from auxtune.orchestrator.answer.cost import StudyCost, measure_concurrency
from auxtune.orchestrator.answer.lift import Lift, MeanLift
from auxtune.orchestrator.answer.verdict import (
    NEEDS_SEEDS,
    describe_lift,
    find_other_arm,
    format_interval,
    list_control_doubts,
    write_verdict,
)
from auxtune.orchestrator.planning.budget import list_spending
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.report.blocks import Block, Paragraph, Table
from auxtune.orchestrator.storage.stores import quote_path
from auxtune.orchestrator.study_file.models import BudgetOptions
from auxtune.orchestrator.tracking.store import describe_runs_place

if TYPE_CHECKING:  # it loads MLflow, which a finished study does not need
    from auxtune.orchestrator.session.session import Result


def list_summary_blocks(result: Result, limits: BudgetOptions, tracking_uri: str) -> Iterator[Block]:
    """The selection, its lift over each control, the budget it used, and where everything is."""
    answer, folder = result.answer, result.folder
    yield Paragraph(write_verdict(answer), "answer")
    yield from (
        group_tables(answer) if answer.primary is None else (_build_shares_table(answer), _build_lift_table(answer))
    )
    yield from map(Paragraph, (*_describe_rows_kept(answer), *_list_doubts(answer, result.accounts)))
    if result.unpaid:
        yield Paragraph(result.unpaid, "warning")
    yield from map(Paragraph, _describe_costs(answer, result.accounts, limits))
    if (control := find_other_arm(answer)) is not None:
        yield Paragraph(f"As a model: `auxtune export {quote_path(folder)} --to MODEL --arm {control}`")
    yield Paragraph(f"Answer: {folder / 'selection.json'}")
    if result.report_trouble is None:
        yield Paragraph(f"Report: {folder / 'report.html'}")
    yield Paragraph(f"MLflow: {describe_runs_place(tracking_uri, folder, result.accounts.experiment_id)}")
    if result.report_trouble:
        again = f"`auxtune report {quote_path(folder)}` tries again."
        yield Paragraph(f"report.html could not be written ({result.report_trouble}); {again}", "warning")
    if result.tracking_trouble:
        yield Paragraph(describe_missing_runs(result), "warning")


def describe_missing_runs(result: Result) -> str:
    """A line on why MLflow lacks runs of a study, and the command that fills them in."""
    again = f"`auxtune resume {quote_path(result.folder)}` fills it in."
    return f"MLflow could not be brought up to date ({result.tracking_trouble}); {again}"


def group_tables(answer: Answer) -> Iterator[Table]:
    """For an answer in groups: who serves which task, the mean lift over each control, and each task's own."""
    models = [(" + ".join(g.tasks), ", ".join(g.serves) or "nothing: others do better") for g in answer.groups or ()]
    yield Table("Models", ("trained together", "serves"), tuple(models))
    lifts = [
        (control, str(lift.models) if isinstance(lift, MeanLift) else "–", *describe_lift(lift))
        for control, lift in answer.lift.items()
    ]
    columns = ("over", "models", "mean lift", "95 % interval", "seeds")
    yield Table("Lift on the test split, on average", columns, tuple(lifts))
    measured = {name: lift for name, lift in answer.measured_lifts.items() if isinstance(lift, MeanLift)}
    own = [
        (
            task,
            "\n".join(f"{metric} {value:.4f}" for metric, value in metrics.items()),
            *(_describe_own(lift.tasks.get(task)) for lift in measured.values()),
        )
        for task, metrics in answer.report.items()
    ]
    # Without lines between the columns, so that a control in each fits a terminal.
    yield Table("Each task's own lift over", ("task", "test", *measured), tuple(own), rules="tight")


def list_node_lines(cost: StudyCost) -> list[str]:
    """The cost of a cluster's nodes: hours by type and their price, or which types have none; no line off a cluster."""
    nodes = cost.nodes
    if nodes is None:
        return []
    hours = ", ".join(f"{kind} {node.hours:.3f}" for kind, node in nodes.items())
    unpriced = [kind for kind, node in nodes.items() if node.usd is None]
    if unpriced:
        return [f"Cluster: node hours {hours}; money unknown (prices.nodes lacks {', '.join(unpriced)})"]
    return [f"Cluster: node hours {hours}; {cost.cluster_usd:.2f} USD"]


def _describe_own(lift: Lift | None) -> str:
    """A task's lift over one control, and half the width of its interval."""
    if lift is None:
        return "–"
    half = NEEDS_SEEDS if lift.high is None else f"±{lift.high - lift.mean:.4f}"
    return f"{lift.mean:+.4f}\n{half}"


def _build_shares_table(answer: Answer) -> Table:
    weights, by_loss = answer.weights or {}, answer.weighting == "loss"
    rows = [(task, f"{share * len(weights):.2f}" if by_loss else f"{share:.1%}") for task, share in weights.items()]
    scores = [f"{task} {metric} {v:.4f}" for task, each in answer.report.items() for metric, v in each.items()]
    note = f"on the test split: {', '.join(scores)}"
    return Table("Selection", ("task", "factor of the loss" if by_loss else "share"), tuple(rows), note=note)


def _build_lift_table(answer: Answer) -> Table:
    rows = [(control, *describe_lift(lift, lift.metric if lift else "")) for control, lift in answer.lift.items()]
    return Table("Lift on the test split", ("over", "lift", "95 % interval", "seeds"), tuple(rows))


def _describe_rows_kept(answer: Answer) -> list[str]:
    """A sentence for each task that is trained on only some of its rows."""
    kept = answer.instances or {}
    return [f"Of {task} only {each.kept} of {each.rows} training rows." for task, each in kept.items()]


def _list_doubts(answer: Answer, accounts: Accounts) -> Iterator[str]:
    """The search's failures, the contribution of each chosen task, and how often other seeds chose it."""
    search = accounts.of_selector
    if failed := sum(trial.status == "failed" for trial in search):
        yield f"{failed} of {len(search)} search trials failed; the choice rests on the others."
    yield from list_control_doubts(accounts)
    if why := answer.belief.get("why"):
        yield f"The selector: {why}."
    for task, gain in (answer.contribution or {}).items():
        if gain is not None:
            yield f"{task} contributes {gain.mean:+.4f} ({format_interval(gain, '95 % interval ')})."
    if answer.stability:
        others = {task: share for task, share in answer.stability.items() if task != answer.primary}
        often = ", ".join(f"{task} {share:.0%}" for task, share in others.items())
        yield f"Chosen by how many of the searches: {often or 'no auxiliary by any'}."


def _describe_costs(answer: Answer, accounts: Accounts, limits: BudgetOptions) -> Iterator[str]:
    cost, reused = answer.cost, answer.cost.reused
    money = "money unknown (no prices)" if cost.usd is None else f"{cost.usd:.2f} USD"
    phases = ", ".join(f"{phase} {part.trials}" for phase, part in cost.phases.items() if part.trials)
    spared = f"; evidence of {reused.trials} more was there already" if reused.trials else ""
    yield (
        f"{cost.trials} trials ({phases or 'none'}), {cost.attempts} attempts{spared}; "
        f"{cost.wall_hours * 60:.1f} minutes, {cost.cpu_hours:.3f} CPU hours, {cost.gpu_hours:.3f} GPU hours, {money}"
    )
    yield from list_node_lines(cost)
    if found := measure_concurrency(accounts):
        yield f"At once: {found.mean:.2f} trials on average, {found.peak} at the most"
    yield f"Budget: {', '.join(list_spending(limits, vars(cost)))}"
