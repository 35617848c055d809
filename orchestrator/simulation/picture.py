"""Quality against cost of every selector of a simulation, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from auxtune.orchestrator.simulation.summary import Line
from auxtune.orchestrator.views.palette import COLOURS, MARKS


def draw(lines: Sequence[Line], measure: str, unit: str, title: str, path: Path) -> None:
    """Write the picture to ``path``: a point for each line, with the intervals of both. Its suffix says the format.

    Raises ``OSError`` where it cannot be written, ``ValueError`` for a suffix that is no format of pictures.
    """
    from matplotlib.figure import Figure  # slow to import, and only wanted here

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    names = list(dict.fromkeys(line.selector for line in lines))
    for line in lines:
        if measure not in line.means:
            continue
        cost, quality, place = line.means["cost"], line.means[measure], names.index(line.selector)
        first = next(one for one in lines if one.selector == line.selector and measure in one.means)
        axes.errorbar(
            cost.mean, quality.mean, xerr=cost.half, yerr=quality.half, capsize=2, markersize=6, linestyle="none",
            marker=MARKS[place % len(MARKS)], color=COLOURS[place % len(COLOURS)],
            label=line.selector if line is first else None,
        )
    axes.set_xlabel(f"cost of the search ({unit})")
    axes.set_ylabel(measure.replace("_", " "))
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)
