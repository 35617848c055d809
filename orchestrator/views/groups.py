"""An answer in groups for the terminal: who serves which task, and each task's own gain beside their mean."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE

from auxtune.orchestrator.answer.answer import Answer
from auxtune.orchestrator.answer.lift import Lift, MeanLift
from auxtune.orchestrator.answer.verdict import NEEDS_SEEDS, lift_words
from auxtune.orchestrator.views.fitting import FittingTable


def groups_tables(answer: Answer) -> Iterator[FittingTable]:
    """The models, the lift over each control, and each task's own."""
    models = FittingTable("trained together", "serves", title="Models", title_justify="left")
    for group in answer.groups or ():
        models.add_row(" + ".join(group.tasks), ", ".join(group.serves) or "nothing: others do better")
    yield models
    lifts = FittingTable("over", "models", "mean lift", "95 % interval", "seeds")
    lifts.title, lifts.title_justify = "Lift on the test split, on average", "left"
    for control, lift in answer.lift.items():
        lifts.add_row(control, str(lift.models) if isinstance(lift, MeanLift) else "–", *lift_words(lift))
    yield lifts
    measured = {name: lift for name, lift in answer.measured_lifts.items() if isinstance(lift, MeanLift)}
    # Without lines between the columns, so that a control in each fits a terminal.
    each = FittingTable("task", "test", *measured, title="Each task's own lift over", title_justify="left")
    each.box, each.pad_edge, each.collapse_padding = SIMPLE, False, True
    for task, metrics in answer.report.items():
        scores = "\n".join(f"{metric} {value:.4f}" for metric, value in metrics.items())
        each.add_row(task, scores, *(_own(lift.tasks.get(task)) for lift in measured.values()))
    yield each


def _own(lift: Lift | None) -> str:
    """A task's lift over one control, and half the width of its interval."""
    if lift is None:
        return "–"
    half = NEEDS_SEEDS if lift.high is None else f"±{lift.high - lift.mean:.4f}"
    return f"{lift.mean:+.4f}\n{half}"
