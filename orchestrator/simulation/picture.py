"""Quality against cost of every selector of a simulation, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from auxtune.orchestrator.simulation.summary import Line

_MARKS = "osD^vP*Xph<>"
# Okabe and Ito's colours, which colour-blind people tell apart.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")


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
            cost.mean,
            quality.mean,
            xerr=cost.half,
            yerr=quality.half,
            capsize=2,
            markersize=6,
            linestyle="none",
            marker=_MARKS[place % len(_MARKS)],
            color=_COLOURS[place % len(_COLOURS)],
            label=line.selector if line is first else None,
        )
    axes.set_xlabel(f"cost of the search ({unit})")
    axes.set_ylabel(measure.replace("_", " "))
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)
