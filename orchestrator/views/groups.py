"""An answer in groups for the terminal: who serves which task, and each task's own gain beside their mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE
from rich.table import Table


def groups_verdict(selection: Mapping[str, Any]) -> str:
    """The answer in one sentence, with its doubt; ``selection`` is that of ``selection.json``."""
    models = [group for group in selection["groups"] if group["serves"]]
    together = f"Serve {_models(len(models))}: {'; '.join(map(_described, models))}"
    lift = selection["lift"].get("single_task")
    if lift is None:
        return f"{together}. Its gain over single task was not measured."
    size = f"{lift['mean']:+.4f} on average over {len(lift['tasks'])} tasks"
    alone = f"single task, which takes {_models(lift['models'])}"
    if lift["low"] is None:
        return f"{together}: {size} over {alone}, of unknown certainty (fewer than 4 seeds)."
    found = f"{size}, 95 % interval {lift['low']:+.4f} to {lift['high']:+.4f}"
    if lift["low"] > 0:
        return f"{together}: a gain of {found}, over {alone}."
    if lift["high"] < 0:
        return f"{together}: a loss of {found}, against {alone}."
    return f"{together}. No measurable gain over {alone} ({found})."


def groups_tables(selection: Mapping[str, Any]) -> Iterator[Table]:
    """The models, the lift over each control, and each task's own."""
    models = Table("trained together", "serves", title="Models", title_justify="left")
    for group in selection["groups"]:
        models.add_row(" + ".join(group["tasks"]), ", ".join(group["serves"]) or "nothing: others do better")
    yield models
    lifts = Table("over", "models", "mean lift", "95 % interval", "seeds", title="Lift on the report split, on average")
    lifts.title_justify = "left"
    measured = {control: lift for control, lift in selection["lift"].items() if lift is not None}
    for control in selection["lift"]:
        if control in measured:
            lift = measured[control]
            row = (str(lift["models"]), f"{lift['mean']:+.4f}", interval(lift), str(lift["seeds"]))
        else:
            row = ("–", "–", "not measured", "0")
        lifts.add_row(control, *row)
    yield lifts
    # Without lines between the columns, so that a control in each fits a terminal.
    each = Table("task", "report", *measured, title="Each task's own lift over", title_justify="left")
    each.box, each.pad_edge, each.collapse_padding = SIMPLE, False, True
    for task, metrics in selection["report"].items():
        scores = "\n".join(f"{metric} {value:.4f}" for metric, value in metrics.items())
        each.add_row(task, scores, *(_own(lift["tasks"].get(task)) for lift in measured.values()))
    yield each


def interval(gain: Mapping[str, Any], name: str = "") -> str:
    """The bounds of a lift or contribution, with a ``name`` before them, or what they would take."""
    return "needs 4 seeds" if gain["low"] is None else f"{name}{gain['low']:+.4f} … {gain['high']:+.4f}"


def _own(lift: Mapping[str, Any] | None) -> str:
    """A task's lift over one control, and half the width of its interval."""
    if lift is None:
        return "–"
    half = "needs 4 seeds" if lift["low"] is None else f"±{lift['high'] - lift['mean']:.4f}"
    return f"{lift['mean']:+.4f}\n{half}"


def _models(count: int) -> str:
    return "1 model" if count == 1 else f"{count} models"


def _described(group: Mapping[str, Any]) -> str:
    """A model's tasks, and which of them it serves if it does not serve all."""
    tasks = " + ".join(group["tasks"])
    return tasks if group["serves"] == group["tasks"] else f"{tasks} (for {', '.join(group['serves'])})"
