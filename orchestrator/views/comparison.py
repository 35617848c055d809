"""Several studies of one question for the terminal, and as a picture of score against cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from auxtune.orchestrator.answer.comparison import UNITS
from auxtune.orchestrator.answer.verdict import interval
from auxtune.orchestrator.views.palette import COLOURS, MARKS


def compared(found: Mapping[str, Any]) -> RenderableType:
    """The tables, and what follows from them in a sentence; ``found`` is as ``comparison`` gives it."""
    return Group(_studies(found), _pairs(found), *(Text(line, style="bold") for line in _verdict(found)))


def _studies(found: Mapping[str, Any]) -> Table:
    unit = UNITS[found["unit"]]
    table = Table(
        "study", "selector", "selected", "report split", "over single task", f"search, {unit}", "best by equal cost",
        title="Studies of one question", title_justify="left",
    )
    for study in found["studies"]:
        table.add_row(
            study["study"], study["selector"], " | ".join(map(" + ".join, study["selected"])), _score(study["report"]),
            _gain(study["lift"]), f"{study['cost']:.3g}",
            "–" if study["best_at_equal_cost"] is None else f"{study['best_at_equal_cost']:.4f}",
        )
    table.caption = (
        f"Search is probe and search, with what reused evidence had cost. By equal cost: the best score on the "
        f"selection split once a search had cost {found['equal_cost']:.3g} {unit}, as much as the cheapest in all."
    )
    return table


def _pairs(found: Mapping[str, Any]) -> Table:
    table = Table("", "less", "difference", f"{found['level']:.1%} interval", "seeds", title_justify="left")
    table.title = "Differences on the report split"
    for pair in found["pairs"]:
        if pair["mean"] is None:
            table.add_row(pair["a"], pair["b"], "–", "no seed in common: give the studies one `seed`", "0")
        else:
            table.add_row(
                pair["a"], pair["b"], f"{pair['mean']:+.4f} {pair['metric']}", interval(pair), str(pair["seeds"])
            )
    return table


def _verdict(found: Mapping[str, Any]) -> Iterator[str]:
    several = len(found["pairs"]) > 1
    held = f"with all {len(found['pairs'])} differences taken together" if several else "by this difference"
    if found["winner"]:
        yield f"{found['winner']} is better than every other at no more cost, {held}."
    else:
        yield f"No study is better than every other at no more cost, {held}: none is named."


def _score(report: Mapping[str, Any] | None) -> str:
    if report is None:
        return "–"
    half = "" if report["low"] is None else f" ± {report['high'] - report['mean']:.4f}"
    return f"{report['mean']:.4f}{half} {report['metric']}"


def _gain(lift: Mapping[str, Any] | None) -> str:
    return "not measured" if lift is None else f"{lift['mean']:+.4f} ({interval(lift)})"


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Write score against cost of the search to ``path``; its suffix says the format.

    Raises ``OSError`` where it cannot be written, ``ValueError`` for a suffix that is no format of pictures.
    """
    from matplotlib.figure import Figure  # slow to import, and only wanted here

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for place, study in enumerate(study for study in found["studies"] if study["report"]):
        report = study["report"]
        half = None if report["low"] is None else report["high"] - report["mean"]
        axes.errorbar(
            study["cost"], report["mean"], yerr=half, capsize=2, markersize=6, linestyle="none", label=study["study"],
            marker=MARKS[place % len(MARKS)], color=COLOURS[place % len(COLOURS)],
        )
        axes.set_ylabel(f"{report['metric']} on the report split, 95 % interval")
    axes.set_xlabel(f"cost of the search ({UNITS[found['unit']]})")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)
