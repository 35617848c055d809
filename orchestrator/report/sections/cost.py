"""What the study took: by phase, by attempt, by node, against its budget, and what it had for nothing."""

from __future__ import annotations

from collections.abc import Iterator

from auxtune.orchestrator.answer.cost import PhaseCost
from auxtune.orchestrator.planning.budget import list_spending
from auxtune.orchestrator.record.accounts import measure_concurrency
from auxtune.orchestrator.report.blocks import Block, Cell, Paragraph, Section, Table, number, plural, small
from auxtune.orchestrator.report.material import Material


def cost_section(material: Material) -> Section:
    """The same numbers as in ``selection.json``; money without prices is unknown."""
    return Section("cost", "What it cost", tuple(_blocks(material)))


def _blocks(material: Material) -> Iterator[Block]:
    cost = material.cost
    columns = ("phase", "trials", "attempts", "GPU hours", "CPU hours", "USD")
    rows = [_row(phase, part) for phase, part in cost.phases.items() if part.trials]
    yield Table(
        "Every attempt, by phase",
        columns,
        (*rows, _row("in all", cost), _row("reused, not in it", cost.reused)),
    )
    if cost.usd is None:
        yield Paragraph("Money is unknown where a price is not given (`prices` in the study file).", "note")
    spent = "; ".join(list_spending(material.options.budget, vars(cost)))
    found = measure_concurrency(material.accounts)
    at_once = f" At once: {found.mean:.2f} trials on average, {found.peak} at the most." if found else ""
    yield Paragraph(
        f"{cost.wall_hours * 60:.1f} minutes in {plural(len(material.accounts.sessions), 'session')}. "
        f"Budget: {spent}.{at_once}"
    )
    if cost.nodes is not None:
        nodes = [(kind, small(node.hours, 3), small(node.usd, 2)) for kind, node in cost.nodes.items()]
        whole = (
            "the cluster",
            small(sum(node.hours for node in cost.nodes.values()), 3),
            small(cost.cluster_usd, 2),
        )
        yield Table("Nodes, for as long as they were up", ("node type", "hours", "USD"), (*nodes, whole))
    yield from _reused(material)


def _row(name: str, part: PhaseCost) -> tuple[Cell, ...]:
    return (
        name,
        number(part.trials),
        number(part.attempts),
        small(part.gpu_hours, 3),
        small(part.cpu_hours, 3),
        small(part.usd, 2),
    )


def _reused(material: Material) -> Iterator[Block]:
    reused = [(trial, trial.told) for trial in material.accounts.trials.values() if trial.reused]
    if not reused:
        return
    rows = [
        (
            f"{trial.id:04d}",
            " + ".join(trial.proposal.tasks),
            ", ".join(m.probe for m in trial.proposal.measure),
            (told.source if told else None) or "unknown",
        )
        for trial, told in reused
    ]
    yield Table("Measured before, and not again", ("proposal", "tasks", "what", "by"), tuple(rows))
