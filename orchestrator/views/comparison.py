"""Several studies of one question for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType

from auxtune.orchestrator.answer.comparison import UNITS, named
from auxtune.orchestrator.answer.verdict import interval
from auxtune.orchestrator.views.fitting import FittingLine, FittingTable


def compare_table(found: Mapping[str, Any]) -> RenderableType:
    """The tables, and what follows from them in a sentence; ``found`` is as ``comparison`` gives it."""
    return Group(FittingLine(named(found), style="bold"), _studies(found), _pairs(found))


def _studies(found: Mapping[str, Any]) -> FittingTable:
    unit = UNITS[found["unit"]]
    table = FittingTable(
        "study",
        "selector",
        "selected",
        "test split",
        "over single task",
        f"search, {unit}",
        "best by equal cost",
        title="Studies of one question",
        title_justify="left",
    )
    for study in found["studies"]:
        table.add_row(
            study["study"],
            study["selector"],
            " | ".join(map(" + ".join, study["selected"])),
            _score(study["test"]),
            _gain(study["lift"]),
            f"{study['cost']:.3g}",
            "–" if study["best_at_equal_cost"] is None else f"{study['best_at_equal_cost']:.4f}",
        )
    table.caption = (
        f"Search is probe and search, with what reused evidence had cost. By equal cost: the best score on the "
        f"validation split once a search had cost {found['equal_cost']:.3g} {unit}, as much as the cheapest in all."
    )
    return table


def _pairs(found: Mapping[str, Any]) -> FittingTable:
    table = FittingTable("", "less", "difference", f"{found['level']:.1%} interval", "seeds", title_justify="left")
    table.title = "Differences on the test split"
    for pair in found["pairs"]:
        if pair["mean"] is None:
            table.add_row(pair["a"], pair["b"], "–", "no seed in common: give the studies one `seed`", "0")
        else:
            table.add_row(
                pair["a"], pair["b"], f"{pair['mean']:+.4f} {pair['metric']}", interval(pair), str(pair["seeds"])
            )
    return table


def _score(test: Mapping[str, Any] | None) -> str:
    if test is None:
        return "–"
    half = "" if test["low"] is None else f" ± {test['high'] - test['mean']:.4f}"
    return f"{test['mean']:.4f}{half} {test['metric']}"


def _gain(lift: Mapping[str, Any] | None) -> str:
    return "not measured" if lift is None else f"{lift['mean']:+.4f} ({interval(lift)})"
