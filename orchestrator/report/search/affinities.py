"""Tables of pairs, ``[recipient, source]``, with the groups that were made of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from auxtune.orchestrator.report.blocks import Block, Paragraph, Picture
from auxtune.orchestrator.report.drawing import colour, draw_svg
from auxtune.orchestrator.report.material import Material
from auxtune.orchestrator.report.search.heat import diverging
from auxtune.orchestrator.report.search.stages import beliefs, called, of_stage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Tables that decide nothing: they are in the belief, in full.
_ASIDE = ("representation_mean", "conflict", "magnitude")
_MOST = 40  # tasks: beyond, cells are smaller than their lines


def affinity_blocks(material: Material) -> Iterator[Block]:
    """A heat map for each table of pairs that a stage believes in; nothing where there is none."""
    for stage, belief in beliefs(material):
        tables = {name: told for name, told in belief.items() if _is_table(told)}
        for name, told in tables.items():
            if name in _ASIDE:
                continue
            if len(told["tasks"]) > _MOST:
                many = f"{told['measured'].capitalize()}, of {len(told['tasks'])} tasks: too many to draw"
                yield Paragraph(f"{many}; the numbers are in `selection.json`.", "note")
            else:
                yield _drawn(name, told, _groups(material, belief), stage)
        if tables and belief.get("joined_against_the_rule"):
            joined = "More groups agree than models may be served: the nearest were joined although they do not agree."
            yield Paragraph(joined, "warning")


def _is_table(told: Any) -> bool:
    return isinstance(told, Mapping) and told.keys() >= {"tasks", "recipient_by_source", "measured"}


def _groups(material: Material, belief: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The selector's own groups: what the answer says of who serves rests on confirm."""
    chosen = material.accounts.selected
    own = chosen.selection.groups if chosen is not None else None
    groups: Sequence[Mapping[str, Any]] = own or belief.get("groups") or ()
    return groups


def _drawn(name: str, told: Mapping[str, Any], groups: Sequence[Mapping[str, Any]], stage: str) -> Block:
    rows = [[np.nan if value is None else value for value in row] for row in told["recipient_by_source"]]
    values, tasks = np.array(rows, dtype=float), list(told["tasks"])
    order = _by_group(tasks, groups)
    values, tasks = values[np.ix_(order, order)], [tasks[place] for place in order]
    scale, unit = _scale(values[~np.eye(len(tasks), dtype=bool)])
    shown = groups if _shows(groups, tasks) else ()
    says = f"{name}: {told['measured']}, of {', '.join(tasks)}"
    svg = draw_svg(
        called(f"affinity {name}", stage),
        1.25 + 0.37 * len(tasks),
        says,
        lambda figure: _draw(figure, values / scale, tasks, shown),
    )
    model = " Right: the model that trains a task (ring) or serves it (dot), as the selector chose." if shown else ""
    return Picture(
        svg,
        f"{name.capitalize()}{of_stage(stage)}: {told['measured']}{unit}. A row is a recipient, a column "
        f"a source; blue is above 0, orange below. A task with itself has no colour: that is another matter.{model}",
    )


def _scale(values: np.ndarray) -> tuple[float, str]:
    """By what to divide numbers so that they fit cells, and how to say it."""
    known = np.abs(values[np.isfinite(values)])
    largest = float(known.max()) if known.size else 0.0
    if largest <= 0 or largest >= 0.1:
        return 1.0, ""
    power = int(np.floor(np.log10(largest)))
    return 10.0**power, f", in units of 1e{power}"


def _shows(groups: Sequence[Mapping[str, Any]], tasks: Sequence[str]) -> bool:
    return any(task in group["tasks"] for group in groups for task in tasks)


def _by_group(tasks: Sequence[str], groups: Sequence[Mapping[str, Any]]) -> list[int]:
    """Places of the tasks, those that one model serves side by side."""
    serving = [next((n for n, g in enumerate(groups) if task in g["serves"]), len(groups)) for task in tasks]
    return sorted(range(len(tasks)), key=lambda place: serving[place])


def _draw(figure: Figure, values: np.ndarray, tasks: Sequence[str], groups: Sequence[Mapping[str, Any]]) -> None:
    # The diagonal means something else in most methods, and would drown the rest.
    own = np.eye(len(tasks), dtype=bool)
    if groups:
        axes, side = figure.subplots(1, 2, width_ratios=[len(tasks), max(1.0, 0.5 * len(groups))])
        _memberships(side, tasks, groups)
    else:
        axes = figure.add_subplot()
    diverging(axes, values, "+.2f", own)
    axes.set_xticks(
        range(len(tasks)), tasks, rotation=35 if len(tasks) > 5 else 0, ha="right" if len(tasks) > 5 else "center"
    )
    axes.set_yticks(range(len(tasks)), tasks)
    axes.set_xlabel("source")
    axes.set_ylabel("recipient")


def _memberships(side: Any, tasks: Sequence[str], groups: Sequence[Mapping[str, Any]]) -> None:
    for column, group in enumerate(groups):
        for row, task in enumerate(tasks):
            if task in group["tasks"]:
                face = colour("series-0") if task in group["serves"] else "none"
                side.plot(column, row, "o", markersize=8, color=colour("series-0"), markerfacecolor=face)
    side.set_xticks(range(len(groups)), [str(column + 1) for column in range(len(groups))])
    side.set_yticks([])
    side.set_xlim(-0.6, len(groups) - 0.4)
    side.set_ylim(len(tasks) - 0.5, -0.5)
    side.set_xlabel("model")
    side.grid(visible=False)
    for spine in side.spines.values():
        spine.set_visible(False)
    side.tick_params(length=0)
