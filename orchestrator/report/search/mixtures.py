"""What a selector that models mixtures expects of them: slices through the mixture that it answers with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from auxtune.orchestrator.record.scores import show_score
from auxtune.orchestrator.report.blocks import Block, Picture
from auxtune.orchestrator.report.drawing import colour, draw_svg
from auxtune.orchestrator.report.material import Material
from auxtune.orchestrator.report.search.stages import UnderWay, answering, of_stage
from auxtune.selectors.extensions import Predicts
from auxtune.selectors.protocol import Problem, Proposal, Selection

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHARES = np.linspace(0.0, 1.0, 41)
_PANELS = 12


def mixture_blocks(material: Material) -> Iterator[Block]:
    """A panel per task: score by its share, the others in proportion; nothing where no mixtures are modelled."""
    present = answering(material)
    if not isinstance(present.selector, Predicts) or "scored" not in present.selector.wants().objectives:
        return
    problem: Problem = present.state.problem
    tried = [t for t in material.accounts.in_phase("search") if present.asked(t) and t.score is not None]
    if len(problem.names) < 2 or not tried:
        return
    chosen = _chosen(material, problem)
    shown = sorted(problem.names, key=lambda task: (task != problem.primary, -chosen[task]))[:_PANELS]
    expected = {
        task: [(share, material.sign * mean) for share, mean in line]
        for task, line in _expected(present, problem, chosen, shown).items()
    }
    mixtures = [(trial.proposal.shares, show_score(trial, material.accounts.search_score) or 0.0) for trial in tried]
    said = ", ".join(f"{task} {share:.0%}" for task, share in chosen.items() if share)
    height = 0.6 + 1.75 * math.ceil(len(shown) / _columns(len(shown)))
    svg = draw_svg(
        "mixtures",
        height,
        f"Score by share of each task, around {said}",
        lambda figure: _draw(figure, shown, chosen, expected, mixtures, material.scored),
    )
    lines = "Too few scores for a model, so no line is drawn. "
    if any(expected.values()):
        lines = (
            "Lines: what the selector's model expects where the task's share is changed and the others keep their "
            "proportion. "
        )
    hidden = len(problem.names) - len(shown)
    left = f" The {hidden} tasks with the least share are left out." if hidden else ""
    yield Picture(
        svg,
        f"Score on the validation split by each task's share{of_stage(present.stage)}. {lines}Dots: the mixtures that "
        f"were trained, which differ in other shares too and need not lie on a line. Dashed: the share chosen.{left}",
    )


def _chosen(material: Material, problem: Problem) -> dict[str, float]:
    """The mixture that is answered with, every task of ``problem`` in it."""
    leaning = material.leaning
    tasks = leaning.tasks if isinstance(leaning, Selection) else problem.names
    weights = (leaning.weights if isinstance(leaning, Selection) else None) or dict.fromkeys(tasks, 1 / len(tasks))
    return {task: weights.get(task, 0.0) for task in problem.names}


def _expected(
    present: UnderWay, problem: Problem, chosen: Mapping[str, float], shown: Sequence[str]
) -> dict[str, list[tuple[float, float]]]:
    """Task -> (share, expected score), empty where nothing is expected."""
    if not isinstance(present.selector, Predicts) or problem.primary is None:
        return {}
    least = getattr(present.selector, "min_primary", 0.0)
    slices = [
        (task, float(share), mixture)
        for task in shown
        for share in _SHARES
        if (mixture := _with_share(chosen, task, float(share), problem.primary, least)) is not None
    ]
    asked = [Proposal(tuple(mixture), mixture) for _, _, mixture in slices]
    predicted = present.selector.predict(present.state, {}, asked) if asked else []
    expected: dict[str, list[tuple[float, float]]] = {task: [] for task in shown}
    for (task, share, _), told in zip(slices, predicted, strict=True):
        if problem.primary in told:
            expected[task].append((share, told[problem.primary]))
    return expected


def _with_share(
    chosen: Mapping[str, float], task: str, share: float, primary: str, least: float
) -> dict[str, float] | None:
    """The mixture with another share of ``task``, the others in proportion, alike where they had none.

    The primary keeps its ``least`` share; ``None`` where that cannot be.
    """
    fixed = {task: share}
    mixture = {**_spread(chosen, fixed), **fixed}
    if mixture[primary] < least - 1e-9 and task != primary and share <= 1 - least:
        fixed = {task: share, primary: least}
        mixture = {**_spread(chosen, fixed), **fixed}
    allowed = mixture[primary] >= least - 1e-9 and abs(sum(mixture.values()) - 1) < 1e-9
    return {other: mixture[other] for other in chosen if mixture[other] > 0} if allowed else None


def _spread(chosen: Mapping[str, float], fixed: Mapping[str, float]) -> dict[str, float]:
    """What the ``fixed`` shares leave, over the other tasks."""
    others = {other: part for other, part in chosen.items() if other not in fixed}
    total, left = sum(others.values()), 1 - sum(fixed.values())
    return {other: left * (part / total if total > 0 else 1 / len(others)) for other, part in others.items()}


def _columns(panels: int) -> int:
    return 2 if panels == 4 else min(3, panels)


def _draw(
    figure: Figure,
    shown: Sequence[str],
    chosen: Mapping[str, float],
    expected: Mapping[str, list[tuple[float, float]]],
    mixtures: Sequence[tuple[Mapping[str, float], float]],
    metric: str,
) -> None:
    across = _columns(len(shown))
    down = math.ceil(len(shown) / across)
    panels = figure.subplots(down, across, sharey=True, squeeze=False).ravel()
    for axes, task in zip(panels, shown, strict=False):
        line = expected.get(task)
        if line:
            axes.plot([s * 100 for s, _ in line], [mean for _, mean in line], color=colour("series-0"), linewidth=1.6)
        axes.axvline(chosen[task] * 100, color=colour("muted"), linewidth=1, linestyle=(0, (4, 2)))
        axes.plot(
            [shares.get(task, 0.0) * 100 for shares, _ in mixtures],
            [score for _, score in mixtures],
            "o",
            markersize=4.5,
            color=colour("series-1"),
            markeredgecolor=colour("paper"),
            markeredgewidth=0.6,
            linestyle="none",
        )
        axes.set_title(task)
        axes.set_xlim(-4, 104)
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    figure.supxlabel("share of the task, %", fontsize=9.5)
    figure.supylabel(metric, fontsize=9.5)
