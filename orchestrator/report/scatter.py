"""Quality against cost: points in series, and the front of those that nothing cheaper reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from auxtune.orchestrator.report.drawing import MARKS, SERIES, colour, draw_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Point:
    """Something that cost and came to something; ``low`` and ``high`` bound its quality where that is known."""

    cost: float
    quality: float
    low: float | None = None
    high: float | None = None


def front(points: Sequence[Point], direction: int = 1) -> list[Point]:
    """The points that none is better than without costing more, from the cheapest on.

    ``direction`` is 1 where more quality is better, −1 where less is.

    >>> [point.quality for point in front([Point(2, 0.5), Point(1, 0.4), Point(3, 0.5)])]
    [0.4, 0.5]
    """
    best: list[Point] = []
    for point in sorted(points, key=lambda each: (each.cost, -direction * each.quality)):
        if not best or direction * (point.quality - best[-1].quality) > 0:
            best.append(point)
    return best


def scatter(
    name: str, series: Mapping[str, Sequence[Point]], across: str, up: str, says: str, direction: int = 1
) -> Markup:
    """``across`` and ``up`` name the axes with their units; the front of all points is drawn, as ``front`` has it."""
    points = [point for each in series.values() for point in each]

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        best = front(points, direction)
        right = max(point.cost for point in points)
        axes.step(
            [*(p.cost for p in best), right],
            [*(p.quality for p in best), best[-1].quality],
            where="post",
            color=colour("muted"),
            linewidth=1.2,
            linestyle=(0, (4, 2)),
            label="Pareto front",
        )
        for place, (label, each) in enumerate(series.items()):
            shade = colour(SERIES[place % len(SERIES)])
            for point in each:
                if point.low is not None and point.high is not None:
                    axes.vlines(point.cost, point.low, point.high, color=shade, linewidth=1.4)
            axes.plot(
                [p.cost for p in each],
                [p.quality for p in each],
                MARKS[place % len(MARKS)],
                markersize=7.5,
                color=shade,
                markeredgecolor=colour("paper"),
                markeredgewidth=0.6,
                label=label,
                linestyle="none",
            )
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.margins(0.06)
        figure.legend(loc="outside lower left", ncols=4, fontsize=8.5, handletextpad=0.3, columnspacing=1.4)

    return draw_svg(name, 4.4, says, draw)
