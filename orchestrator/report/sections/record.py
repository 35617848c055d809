"""The study's own record: its failures, its cost, and how to repeat it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import datetime, timezone

from auxtune.orchestrator.answer.cost import PhaseCost, measure_concurrency
from auxtune.orchestrator.planning.arms import SELECTION
from auxtune.orchestrator.planning.budget import list_spending
from auxtune.orchestrator.record.accounts import Attempt, Session, Trial
from auxtune.orchestrator.report.blocks import (
    Block,
    Cell,
    Listing,
    Paragraph,
    Section,
    Table,
    format_count,
    format_small,
    number,
)
from auxtune.orchestrator.report.material import Material


def build_failures_section(material: Material) -> Section:
    """Failures by trial, or that there were none."""
    trials = list(material.accounts.trials.values())
    failed = [trial for trial in trials if trial.status == "failed"]
    again = [trial for trial in trials if len(trial.attempts) > 1 or any(a.worker_died for a in trial.attempts)]
    blocks: list[Block] = []
    if failed:
        rows = [(*_list_trial_cells(trial), _find_why(trial), _find_message(trial)) for trial in failed]
        columns = ("trial", "phase", "tasks", "attempts", "why", "it said")
        blocks.append(Table(f"{len(failed)} of {len(trials)} trials failed", columns, tuple(rows)))
    if again:
        rows = [(*_list_trial_cells(trial), _list_losses(trial), trial.status) for trial in again]
        columns = ("trial", "phase", "tasks", "attempts", "lost with", "in the end")
        blocks.append(Table("Trials that took more than one attempt", columns, tuple(rows)))
    stopped = sum(trial.status == "stopped" for trial in trials)
    if stopped:
        early = f"{stopped} of {len(trials)} trials were stopped early, as the study asked"
        blocks.append(Paragraph(f"{early}; they have no score and are no failures.", "note"))
    if not blocks:
        blocks.append(Paragraph(f"None of {len(trials)} trials failed, and no attempt was lost."))
    return Section("failures", "Failures", tuple(blocks))


def _list_trial_cells(trial: Trial) -> tuple[Cell, ...]:
    return f"{trial.id:04d}", trial.phase, " + ".join(trial.proposal.tasks), number(len(trial.attempts))


def _find_why(trial: Trial) -> str:
    return (trial.told.outcome.why if trial.told else None) or "unknown"


def _find_message(trial: Trial) -> str:
    """The first line: all of it is in ``auxtune show``."""
    message = trial.told.message if trial.told else None
    return message.strip().splitlines()[0] if message and message.strip() else "–"


def _list_losses(trial: Trial) -> str:
    lost = [a for a in trial.attempts if a.ended is not None and not (trial.told and trial.told.attempt == a.number)]
    return ", ".join(map(_name_loss, lost)) or "–"


def _name_loss(attempt: Attempt) -> str:
    if attempt.was_refused:
        return "its storage"
    return "its worker" if attempt.worker_died else "the session"


def build_cost_section(material: Material) -> Section:
    """The same numbers as in ``selection.json``; money without prices is unknown."""
    return Section("cost", "What it cost", tuple(_list_cost_blocks(material)))


def _list_cost_blocks(material: Material) -> Iterator[Block]:
    cost = material.cost
    columns = ("phase", "trials", "attempts", "GPU hours", "CPU hours", "USD")
    rows = [_list_cost_cells(phase, part) for phase, part in cost.phases.items() if part.trials]
    yield Table(
        "Every attempt, by phase",
        columns,
        (*rows, _list_cost_cells("in all", cost), _list_cost_cells("reused, not in it", cost.reused)),
    )
    if cost.usd is None:
        yield Paragraph("Money is unknown where a price is not given (`prices` in the study file).", "note")
    spent = "; ".join(list_spending(material.options.budget, vars(cost)))
    found = measure_concurrency(material.accounts)
    at_once = f" At once: {found.mean:.2f} trials on average, {found.peak} at the most." if found else ""
    yield Paragraph(
        f"{cost.wall_hours * 60:.1f} minutes in {format_count(len(material.accounts.sessions), 'session')}. "
        f"Budget: {spent}.{at_once}"
    )
    if cost.nodes is not None:
        nodes = [(kind, format_small(node.hours, 3), format_small(node.usd, 2)) for kind, node in cost.nodes.items()]
        whole = (
            "the cluster",
            format_small(sum(node.hours for node in cost.nodes.values()), 3),
            format_small(cost.cluster_usd, 2),
        )
        yield Table("Nodes, for as long as they were up", ("node type", "hours", "USD"), (*nodes, whole))
    yield from _list_reused(material)


def _list_cost_cells(name: str, part: PhaseCost) -> tuple[Cell, ...]:
    return (
        name,
        number(part.trials),
        number(part.attempts),
        format_small(part.gpu_hours, 3),
        format_small(part.cpu_hours, 3),
        format_small(part.usd, 2),
    )


def _list_reused(material: Material) -> Iterator[Block]:
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


def build_reproduction_section(material: Material) -> Section:
    """The settings of the last session; where sessions differ, of each."""
    return Section("reproduction", "How to do it again", tuple(_list_reproduction_blocks(material)))


def _list_reproduction_blocks(material: Material) -> Iterator[Block]:
    sessions = material.accounts.sessions
    opened = [session.opened for session in sessions]
    last = opened[-1]
    overrides = [f" --set {shlex.quote(override)}" for override in last.overrides]
    yield Listing("The command, in a folder with the study file", f"auxtune run study.yaml{''.join(overrides)}")
    yield Listing("study.yaml", last.study.rstrip("\n"))
    yield Table("Versions", ("package", "version"), tuple(_list_versions(sessions)))
    trained = [each[0] for each in material.arms.get(SELECTION, ()) if each]
    confirm = ", ".join(str(trial.proposal.seed) for trial in trained) or "not reached"
    yield Table("Seeds", ("of", "seed"), (("the study", str(material.problem.seed)), ("confirm, every arm", confirm)))
    known = last.fingerprint
    data = tuple((key.removeprefix("tasks."), value) for key, value in known.items() if key.startswith("tasks."))
    rest = tuple((key, value) for key, value in known.items() if not key.startswith("tasks."))
    if data:
        yield Table("Data, as digests of the rows that are left", ("task", "digest"), data)
    if rest:
        yield Table("The rest of the fingerprint: what must not change under a study", ("what", "digest"), rest)
    yield Table(
        "Sessions",
        ("session", "started (UTC)", "allowed to differ"),
        tuple((each.session, _format_time(each.time), ", ".join(each.drift) or "nothing") for each in opened),
    )
    yield Paragraph(
        "On CPUs, one trial at a time, with as many threads and a budget in trials, the same study gives the same "
        "proposals, scores and selection. With several at once the order in which trials end decides what comes next; "
        f"`auxtune status --verify {material.folder.name}` checks that all of it followed from what was known then.",
        "note",
    )


def _list_versions(sessions: list[Session]) -> Iterator[tuple[str, str]]:
    """Each package once, with all versions that sessions ran it in."""
    for package in sessions[-1].opened.versions:
        found = dict.fromkeys(session.opened.versions.get(package, "unknown") for session in sessions)
        yield package, ", then ".join(found)


def _format_time(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
