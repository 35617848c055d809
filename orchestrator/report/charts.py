"""The charts that sections share: intervals, quality against cost, and tables as coloured cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from markupsafe import Markup

from auxtune.orchestrator.report.drawing import (
    DIVERGING,
    MARKS,
    SEQUENTIAL,
    SERIES,
    choose_step,
    draw_svg,
    encode_colour,
    format_signed,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WRITTEN = 12  # rows of cells up to which each has room for its number


class Estimate(Protocol):
    """A difference with its interval; ``low`` and ``high`` are ``None`` where there is none."""

    @property
    def mean(self) -> float:
        """The estimate itself."""

    @property
    def low(self) -> float | None:
        """The lower end."""

    @property
    def high(self) -> float | None:
        """The upper end."""


def draw_intervals(name: str, lifts: Sequence[tuple[str, Estimate]], unit: str, says: str) -> Markup:
    """``lifts`` are (label, lift); of one without an interval only the dot is drawn."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.axvline(0, color=encode_colour("muted"), linewidth=1)
        for place, (_, lift) in enumerate(lifts):
            mean, low, high = lift.mean, lift.low, lift.high
            if low is not None and high is not None:
                axes.hlines(place, low, high, color=encode_colour("series-0"), linewidth=2.2)
            filled = encode_colour("series-0") if low is not None else "none"
            axes.plot(mean, place, "o", markersize=7, color=encode_colour("series-0"), markerfacecolor=filled)
            axes.annotate(
                f"{mean:+.4f}",
                (mean, place),
                xytext=(0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=8.5,
                bbox={"facecolor": encode_colour("paper"), "edgecolor": "none", "pad": 0.8},
            )
        axes.set_yticks(range(len(lifts)), [label for label, _ in lifts])
        axes.set_ylim(len(lifts) - 0.5, -0.7)
        axes.margins(x=0.12)
        axes.set_xlabel(unit)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)

    return draw_svg(name, 0.75 + 0.42 * len(lifts), says, draw)


def draw_interval_grid(
    name: str, columns: Mapping[str, Mapping[str, Estimate]], rows: Sequence[str], unit: str, says: str
) -> Markup:
    """The same with a panel per column: column -> row -> lift."""

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(columns), sharex=True, sharey=True, squeeze=False)[0]
        for axes, (column, lifts) in zip(panels, columns.items(), strict=True):
            axes.axvline(0, color=encode_colour("muted"), linewidth=1)
            for place, row in enumerate(rows):
                if (lift := lifts.get(row)) is None:
                    continue
                if lift.low is not None and lift.high is not None:
                    axes.hlines(place, lift.low, lift.high, color=encode_colour("series-0"), linewidth=2)
                axes.plot(lift.mean, place, "o", markersize=5.5, color=encode_colour("series-0"))
            axes.set_title(column)
            axes.set_yticks(range(len(rows)), rows)
            axes.set_ylim(len(rows) - 0.5, -0.5)
            axes.grid(visible=False, axis="y")
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="y", length=0)
            axes.locator_params(axis="x", nbins=4)
        figure.supxlabel(unit, fontsize=9.5)

    return draw_svg(name, 1.0 + 0.3 * len(rows), says, draw)


@dataclass(frozen=True)
class Point:
    """A cost and a quality; ``low`` and ``high`` bound the quality where that is known."""

    cost: float
    quality: float
    low: float | None = None
    high: float | None = None


def find_front(points: Sequence[Point], direction: int = 1) -> list[Point]:
    """The points that none is better than without costing more, from the cheapest on.

    ``direction`` is 1 where more quality is better, −1 where less is.

    >>> [point.quality for point in find_front([Point(2, 0.5), Point(1, 0.4), Point(3, 0.5)])]
    [0.4, 0.5]
    """
    best: list[Point] = []
    for point in sorted(points, key=lambda each: (each.cost, -direction * each.quality)):
        if not best or direction * (point.quality - best[-1].quality) > 0:
            best.append(point)
    return best


def draw_scatter(
    name: str, series: Mapping[str, Sequence[Point]], across: str, up: str, says: str, direction: int = 1
) -> Markup:
    """``across`` and ``up`` name the axes with their units; the front of all points is drawn too."""
    points = [point for each in series.values() for point in each]

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        best = find_front(points, direction)
        right = max(point.cost for point in points)
        axes.step(
            [*(p.cost for p in best), right],
            [*(p.quality for p in best), best[-1].quality],
            where="post",
            color=encode_colour("muted"),
            linewidth=1.2,
            linestyle=(0, (4, 2)),
            label="Pareto front",
        )
        for place, (label, each) in enumerate(series.items()):
            _plot_points(axes, place, label, each)
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.margins(0.06)
        figure.legend(loc="outside lower left", ncols=4, fontsize=8.5, handletextpad=0.3, columnspacing=1.4)

    return draw_svg(name, 4.4, says, draw)


def _plot_points(axes: Axes, place: int, label: str, points: Sequence[Point]) -> None:
    """The points of one series, with the colour and the mark of its ``place``, and their bounds where known."""
    shade = encode_colour(SERIES[place % len(SERIES)])
    for point in points:
        if point.low is not None and point.high is not None:
            axes.vlines(point.cost, point.low, point.high, color=shade, linewidth=1.4)
    axes.plot(
        [point.cost for point in points],
        [point.quality for point in points],
        MARKS[place % len(MARKS)],
        markersize=7.5,
        color=shade,
        markeredgecolor=encode_colour("paper"),
        markeredgewidth=0.6,
        label=label,
        linestyle="none",
    )


def fill_diverging_cells(axes: Axes, values: np.ndarray, pattern: str, skipped: np.ndarray | None = None) -> None:
    """Cells of (rows, columns) from the largest against to the largest for, 0 in the middle; ``nan`` stays empty.

    Where ``skipped`` the cell has its number but no colour, and the colours of the others are not stretched for it.
    """
    skipped = np.zeros(values.shape, dtype=bool) if skipped is None else skipped
    counted = np.abs(values[~skipped & np.isfinite(values)])
    largest = float(counted.max()) if counted.size else 0.0
    for (row, column), value in np.ndenumerate(values):
        if not np.isfinite(value):
            continue
        shade = "paper" if skipped[row, column] else DIVERGING[choose_step(float(value), largest)]
        _fill_cell(axes, row, column, shade)
        if len(values) <= _WRITTEN:
            ink = "muted" if skipped[row, column] else f"on-{shade}"
            text = format_signed(float(value), pattern)
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=encode_colour(ink))
    _set_frame(axes, values)


def fill_sequential_cells(axes: Axes, values: np.ndarray) -> None:
    """Cells of (rows, columns) in [0, 1], from little to much."""
    for (row, column), value in np.ndenumerate(values):
        _fill_cell(axes, row, column, SEQUENTIAL[min(len(SEQUENTIAL) - 1, int(value * len(SEQUENTIAL)))])
    _set_frame(axes, values)


def _fill_cell(axes: Axes, row: int, column: int, shade: str) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle(
            (column - 0.5, row - 0.5),
            1,
            1,
            facecolor=encode_colour(shade),
            edgecolor=encode_colour("paper"),
            linewidth=0.8,
        )
    )


def _set_frame(axes: Axes, values: np.ndarray) -> None:
    rows, columns = values.shape
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0)
