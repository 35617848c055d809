"""Scores of ever longer lists of tasks: where a method that adds one after the other stopped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from auxtune.orchestrator.report.blocks import Block, Picture
from auxtune.orchestrator.report.drawing import colour, drawn
from auxtune.orchestrator.report.material import Material
from auxtune.orchestrator.report.search.stages import beliefs, of_stage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KEYS = ("prefixes", "nested")


def prefix_blocks(material: Material) -> Iterator[Block]:
    """Score by the number of auxiliaries; nothing where no method added them one by one."""
    for stage, belief in beliefs(material):
        for key in _KEYS:
            tried: Sequence[Mapping[str, Any]] = belief.get(key) or ()
            if tried:
                ordered = sorted(tried, key=lambda each: len(each["tasks"]))
                said = "; ".join(f"{len(each['tasks']) - 1} auxiliaries {each['score']:.4f}" for each in ordered)
                svg = drawn(key, 2.9, f"Score by number of auxiliaries: {said}",
                            lambda figure, tried=ordered: _draw(figure, tried, material.metric))
                added = " → ".join(_added(ordered))
                yield Picture(svg, f"Score on the selection split with the first auxiliaries of the ranking"
                                   f"{of_stage(stage)}, in the order in which they were added: {added}.")


def _added(ordered: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    before: set[str] = set()
    for each in ordered:
        new = [task for task in each["tasks"] if task not in before]
        before |= set(each["tasks"])
        yield " + ".join(new)


def _draw(figure: Figure, tried: Sequence[Mapping[str, Any]], metric: str) -> None:
    axes = figure.add_subplot()
    counts, scores = [len(each["tasks"]) - 1 for each in tried], [each["score"] for each in tried]
    axes.plot(counts, scores, "o-", color=colour("series-0"), markersize=6)
    best = max(scores)
    axes.plot(counts[scores.index(best)], best, "o", markersize=12, color=colour("series-1"), markerfacecolor="none")
    axes.set_xticks(counts)
    axes.set_xlabel("auxiliaries")
    axes.set_ylabel(metric)
    axes.margins(0.1)
