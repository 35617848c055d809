"""Lifts as dots with their intervals, one below the other, against the line of no difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from markupsafe import Markup

from auxtune.orchestrator.report.drawing import colour, draw_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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


def intervals(name: str, lifts: Sequence[tuple[str, Estimate]], unit: str, says: str) -> Markup:
    """``lifts`` are (label, lift); of one without an interval only the dot is drawn."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.axvline(0, color=colour("muted"), linewidth=1)
        for place, (_, lift) in enumerate(lifts):
            mean, low, high = lift.mean, lift.low, lift.high
            if low is not None and high is not None:
                axes.hlines(place, low, high, color=colour("series-0"), linewidth=2.2)
            filled = colour("series-0") if low is not None else "none"
            axes.plot(mean, place, "o", markersize=7, color=colour("series-0"), markerfacecolor=filled)
            axes.annotate(
                f"{mean:+.4f}",
                (mean, place),
                xytext=(0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=8.5,
                bbox={"facecolor": colour("paper"), "edgecolor": "none", "pad": 0.8},
            )
        axes.set_yticks(range(len(lifts)), [label for label, _ in lifts])
        axes.set_ylim(len(lifts) - 0.5, -0.7)
        axes.margins(x=0.12)
        axes.set_xlabel(unit)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)

    return draw_svg(name, 0.75 + 0.42 * len(lifts), says, draw)


def interval_grid(
    name: str, columns: Mapping[str, Mapping[str, Estimate]], rows: Sequence[str], unit: str, says: str
) -> Markup:
    """The same with a panel per column: column -> row -> lift."""

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(columns), sharex=True, sharey=True, squeeze=False)[0]
        for axes, (column, lifts) in zip(panels, columns.items(), strict=True):
            axes.axvline(0, color=colour("muted"), linewidth=1)
            for place, row in enumerate(rows):
                if (lift := lifts.get(row)) is None:
                    continue
                if lift.low is not None and lift.high is not None:
                    axes.hlines(place, lift.low, lift.high, color=colour("series-0"), linewidth=2)
                axes.plot(lift.mean, place, "o", markersize=5.5, color=colour("series-0"))
            axes.set_title(column)
            axes.set_yticks(range(len(rows)), rows)
            axes.set_ylim(len(rows) - 0.5, -0.5)
            axes.grid(visible=False, axis="y")
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="y", length=0)
            axes.locator_params(axis="x", nbins=4)
        figure.supxlabel(unit, fontsize=9.5)

    return draw_svg(name, 1.0 + 0.3 * len(rows), says, draw)
