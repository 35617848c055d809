"""Tables of pairs, ``[recipient, source]``, as heat maps, with the groups that were made of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from auxtune.orchestrator.report.blocks import Block, Paragraph, Picture
from auxtune.orchestrator.report.charts import fill_diverging_cells
from auxtune.orchestrator.report.drawing import draw_svg, encode_colour, name_drawing
from auxtune.orchestrator.report.material import Material, describe_stage
from auxtune.selectors.beliefs import Caution, PairTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST = 40  # tasks: beyond, cells are smaller than their lines


def list_pair_blocks(material: Material) -> Iterator[Block]:
    """A heat map for each table of pairs that a stage believes in, and its cautions as warnings."""
    for stage, belief in material.beliefs:
        if isinstance(belief, Caution):
            yield Paragraph(belief.text, "warning")
        elif isinstance(belief, PairTable) and len(belief.tasks) > _MOST:
            many = f"{belief.measured.capitalize()}, of {len(belief.tasks)} tasks: too many to draw"
            yield Paragraph(f"{many}; the numbers are in `selection.json`.", "note")
        elif isinstance(belief, PairTable):
            yield _draw_table(belief, _list_groups(material), stage)


def _list_groups(material: Material) -> Sequence[Mapping[str, Any]]:
    """The selector's own groups: what the answer says of who serves rests on confirm."""
    chosen = material.accounts.selected
    return (chosen.selection.groups if chosen is not None else None) or ()


def _draw_table(table: PairTable, groups: Sequence[Mapping[str, Any]], stage: str) -> Block:
    rows = [[np.nan if value is None else value for value in row] for row in table.rows]
    values, tasks = np.array(rows, dtype=float), list(table.tasks)
    order = _order_by_group(tasks, groups)
    values, tasks = values[np.ix_(order, order)], [tasks[place] for place in order]
    scale, unit = _choose_scale(values[~np.eye(len(tasks), dtype=bool)])
    shown = groups if any(task in group["tasks"] for group in groups for task in tasks) else ()
    svg = draw_svg(
        name_drawing(f"affinity {table.name}", stage),
        1.25 + 0.37 * len(tasks),
        f"{table.name}: {table.measured}, of {', '.join(tasks)}",
        lambda figure: _draw(figure, values / scale, tasks, shown),
    )
    model = " Right: the model that trains a task (ring) or serves it (dot), as the selector chose." if shown else ""
    return Picture(
        svg,
        f"{table.name.capitalize()}{describe_stage(stage)}: {table.measured}{unit}. A row is a recipient, a column "
        f"a source; blue is above 0, orange below. A task with itself has no colour: that is another matter.{model}",
    )


def _choose_scale(values: np.ndarray) -> tuple[float, str]:
    """By what to divide numbers so that they fit cells, and how to say it."""
    known = np.abs(values[np.isfinite(values)])
    largest = float(known.max()) if known.size else 0.0
    if largest <= 0 or largest >= 0.1:
        return 1.0, ""
    power = int(np.floor(np.log10(largest)))
    return 10.0**power, f", in units of 1e{power}"


def _order_by_group(tasks: Sequence[str], groups: Sequence[Mapping[str, Any]]) -> list[int]:
    """Places of the tasks, those that one model serves side by side."""
    serving = [next((n for n, g in enumerate(groups) if task in g["serves"]), len(groups)) for task in tasks]
    return sorted(range(len(tasks)), key=lambda place: serving[place])


def _draw(figure: Figure, values: np.ndarray, tasks: Sequence[str], groups: Sequence[Mapping[str, Any]]) -> None:
    # The diagonal means something else in most methods, and would drown the rest.
    own = np.eye(len(tasks), dtype=bool)
    if groups:
        axes, side = figure.subplots(1, 2, width_ratios=[len(tasks), max(1.0, 0.5 * len(groups))])
        _draw_memberships(side, tasks, groups)
    else:
        axes = figure.add_subplot()
    fill_diverging_cells(axes, values, "+.2f", own)
    axes.set_xticks(
        range(len(tasks)), tasks, rotation=35 if len(tasks) > 5 else 0, ha="right" if len(tasks) > 5 else "center"
    )
    axes.set_yticks(range(len(tasks)), tasks)
    axes.set_xlabel("source")
    axes.set_ylabel("recipient")


def _draw_memberships(side: Any, tasks: Sequence[str], groups: Sequence[Mapping[str, Any]]) -> None:
    for column, group in enumerate(groups):
        for row, task in enumerate(tasks):
            if task in group["tasks"]:
                face = encode_colour("series-0") if task in group["serves"] else "none"
                side.plot(column, row, "o", markersize=8, color=encode_colour("series-0"), markerfacecolor=face)
    side.set_xticks(range(len(groups)), [str(column + 1) for column in range(len(groups))])
    side.set_yticks([])
    side.set_xlim(-0.6, len(groups) - 0.4)
    side.set_ylim(len(tasks) - 0.5, -0.5)
    side.set_xlabel("model")
    side.grid(visible=False)
    for spine in side.spines.values():
        spine.set_visible(False)
    side.tick_params(length=0)
