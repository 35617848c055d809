"""Tables as coloured cells, in steps of the style sheet's palettes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from auxtune.orchestrator.report.drawing import DIVERGING, SEQUENTIAL, colour, level, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WRITTEN = 12  # rows up to which each cell has room for its number


def diverging(axes: Axes, values: np.ndarray, pattern: str, skipped: np.ndarray | None = None) -> None:
    """Cells of (rows, columns) from the largest against to the largest for, 0 in the middle; ``nan`` stays empty.

    Where ``skipped`` the cell has its number but no colour, and the colours of the others are not stretched for it.
    """
    skipped = np.zeros(values.shape, dtype=bool) if skipped is None else skipped
    counted = np.abs(values[~skipped & np.isfinite(values)])
    largest = float(counted.max()) if counted.size else 0.0
    for (row, column), value in np.ndenumerate(values):
        if not np.isfinite(value):
            continue
        shade = "paper" if skipped[row, column] else DIVERGING[level(float(value), largest)]
        _cell(axes, row, column, shade)
        if len(values) <= _WRITTEN:
            ink = "muted" if skipped[row, column] else f"on-{shade}"
            text = signed(float(value), pattern)
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour(ink))
    _framed(axes, values)


def sequential(axes: Axes, values: np.ndarray) -> None:
    """Cells of (rows, columns) in [0, 1], from little to much."""
    for (row, column), value in np.ndenumerate(values):
        _cell(axes, row, column, SEQUENTIAL[min(len(SEQUENTIAL) - 1, int(value * len(SEQUENTIAL)))])
    _framed(axes, values)


def _cell(axes: Axes, row: int, column: int, shade: str) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour(shade), edgecolor=colour("paper"), linewidth=0.8)
    )


def _framed(axes: Axes, values: np.ndarray) -> None:
    rows, columns = values.shape
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0)
