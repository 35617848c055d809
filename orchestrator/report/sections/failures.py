"""What went wrong: trials that failed, attempts that were lost, trials that were stopped early."""

from __future__ import annotations

from auxtune.orchestrator.record.accounts import Trial
from auxtune.orchestrator.report.blocks import Block, Paragraph, Section, Table, number
from auxtune.orchestrator.report.material import Material


def failures_section(material: Material) -> Section:
    """Failures by trial; that there were none is said too."""
    trials = list(material.accounts.trials.values())
    failed = [trial for trial in trials if trial.status == "failed"]
    again = [trial for trial in trials if len(trial.attempts) > 1 or any(a.worker_died for a in trial.attempts)]
    blocks: list[Block] = []
    if failed:
        rows = [(f"{t.id:04d}", t.phase, _tasks(t), number(len(t.attempts)), _why(t), _message(t)) for t in failed]
        columns = ("trial", "phase", "tasks", "attempts", "why", "it said")
        blocks.append(Table(f"{len(failed)} of {len(trials)} trials failed", columns, tuple(rows)))
    if again:
        rows = [(f"{t.id:04d}", t.phase, _tasks(t), number(len(t.attempts)), _lost(t), t.status) for t in again]
        columns = ("trial", "phase", "tasks", "attempts", "lost with", "in the end")
        blocks.append(Table("Trials that took more than one attempt", columns, tuple(rows)))
    stopped = sum(trial.status == "stopped" for trial in trials)
    if stopped:
        early = f"{stopped} of {len(trials)} trials were stopped early, as the study asked"
        blocks.append(Paragraph(f"{early}; they have no score and are no failures.", "note"))
    if not blocks:
        blocks.append(Paragraph(f"None of {len(trials)} trials failed, and no attempt was lost."))
    return Section("failures", "Failures", tuple(blocks))


def _tasks(trial: Trial) -> str:
    return " + ".join(trial.proposal.tasks)


def _why(trial: Trial) -> str:
    return (trial.told.outcome.why if trial.told else None) or "unknown"


def _message(trial: Trial) -> str:
    """The first line: all of it is in ``auxtune show``."""
    message = trial.told.message if trial.told else None
    return message.strip().splitlines()[0] if message and message.strip() else "–"


def _lost(trial: Trial) -> str:
    lost = [a for a in trial.attempts if a.ended is not None and not (trial.told and trial.told.attempt == a.number)]
    return ", ".join("its worker" if attempt.worker_died else "the session" for attempt in lost) or "–"
