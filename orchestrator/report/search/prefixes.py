"""Scores of ever longer lists of tasks: where a method that adds one after the other stopped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from auxtune.orchestrator.report.blocks import Block, Picture
from auxtune.orchestrator.report.drawing import colour, draw_svg
from auxtune.orchestrator.report.material import Material
from auxtune.orchestrator.report.search.stages import beliefs, called, of_stage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KEYS = ("prefixes", "nested")


def prefix_blocks(material: Material) -> Iterator[Block]:
    """Score by the number of auxiliaries; nothing where no method added them one by one."""
    for stage, belief in beliefs(material):
        for key in _KEYS:
            if belief.get(key):
                yield _drawn(key, belief[key], stage, material)


def _drawn(key: str, tried: Sequence[Mapping[str, Any]], stage: str, material: Material) -> Block:
    ordered = sorted(tried, key=lambda each: len(each["tasks"]))
    said = "; ".join(f"{len(each['tasks']) - 1} auxiliaries {material.sign * each['score']:.4f}" for each in ordered)
    svg = draw_svg(
        called(key, stage),
        2.9,
        f"Score by number of auxiliaries: {said}",
        lambda figure: _draw(figure, ordered, material.scored, material.sign),
    )
    added = " → ".join(_added(ordered, str(material.problem.primary)))
    return Picture(
        svg,
        f"Score on the validation split with the first auxiliaries of the ranking{of_stage(stage)}, in the order in "
        f"which they were added: {added}. The ring is the best.",
    )


def _added(ordered: Sequence[Mapping[str, Any]], primary: str) -> Iterator[str]:
    """What each step added to the one before; the primary alone is a step of its own."""
    before = {primary}
    for each in ordered:
        new = [task for task in each["tasks"] if task not in before]
        before |= set(each["tasks"])
        yield " + ".join(new) or "none"


def _draw(figure: Figure, tried: Sequence[Mapping[str, Any]], metric: str, sign: int) -> None:
    axes = figure.add_subplot()
    counts, scores = [len(each["tasks"]) - 1 for each in tried], [sign * each["score"] for each in tried]
    axes.plot(counts, scores, "o-", color=colour("series-0"), markersize=6)
    best = sign * max(sign * score for score in scores)
    axes.plot(counts[scores.index(best)], best, "o", markersize=12, color=colour("series-1"), markerfacecolor="none")
    axes.set_xticks(counts)
    axes.set_xlabel("auxiliaries")
    axes.set_ylabel(metric)
    axes.margins(0.1)
