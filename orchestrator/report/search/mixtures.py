"""Slices through the mixture that a selector answers with, by its own model of what mixtures score."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from auxtune.orchestrator.record.scores import show_score
from auxtune.orchestrator.report.blocks import Block, Picture
from auxtune.orchestrator.report.drawing import draw_svg, encode_colour
from auxtune.orchestrator.report.material import Material, describe_stage
from auxtune.selectors.extensions import ActivePart, Predicts
from auxtune.selectors.protocol import Problem, Proposal, Selection

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHARES = np.linspace(0.0, 1.0, 41)
_PANELS = 12


def list_mixture_blocks(material: Material) -> Iterator[Block]:
    """A panel per task: score by its share, the others in proportion; nothing where no mixtures are modelled."""
    present = material.answering_part
    if not isinstance(present.selector, Predicts) or "scored" not in present.selector.wants().objectives:
        return
    problem: Problem = present.state.problem
    if problem.primary is None and problem.scored is None:  # it grouped the tasks
        return
    scored = [trial for trial in material.accounts.in_phase("search") if trial.score is not None]
    tried = [trial for trial in scored if present.has_asked(trial.proposal.stage)]
    if len(problem.names) < 2 or not tried:
        return
    chosen = _find_chosen_mixture(material, problem)
    shown = sorted(problem.names, key=lambda task: (task != problem.primary, -chosen[task]))[:_PANELS]
    expected = {
        task: [(share, material.sign * mean) for share, mean in line]
        for task, line in _predict_slices(present, problem, chosen, shown).items()
    }
    mixtures = [(trial.proposal.shares, show_score(trial, material.accounts.search_score) or 0.0) for trial in tried]
    said = ", ".join(f"{task} {share:.0%}" for task, share in chosen.items() if share)
    height = 0.6 + 1.75 * math.ceil(len(shown) / _count_columns(len(shown)))
    svg = draw_svg(
        "mixtures",
        height,
        f"Score by share of each task, around {said}",
        lambda figure: _draw_panels(figure, shown, chosen, expected, mixtures, material.scored),
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
        f"Score on the validation split by each task's share{describe_stage(present.stage)}. {lines}Dots: the mixtures "
        "that were trained, which differ in other shares too and need not lie on a line. Dashed: the share chosen."
        f"{left}",
    )


def _find_chosen_mixture(material: Material, problem: Problem) -> dict[str, float]:
    """The mixture that is answered with, every task of ``problem`` in it."""
    leaning = material.leaning
    tasks = leaning.tasks if isinstance(leaning, Selection) else problem.names
    weights = (leaning.weights if isinstance(leaning, Selection) else None) or dict.fromkeys(tasks, 1 / len(tasks))
    return {task: weights.get(task, 0.0) for task in problem.names}


def _predict_slices(
    present: ActivePart, problem: Problem, chosen: Mapping[str, float], shown: Sequence[str]
) -> dict[str, list[tuple[float, float]]]:
    """Task -> (share, expected score), empty where nothing is expected."""
    if not isinstance(present.selector, Predicts) or problem.primary is None:
        return {}
    least = getattr(present.selector, "min_primary", 0.0)
    slices = [
        (task, float(share), mixture)
        for task in shown
        for share in _SHARES
        if (mixture := _change_share(chosen, task, float(share), problem.primary, least)) is not None
    ]
    asked = [Proposal(tuple(mixture), mixture) for _, _, mixture in slices]
    predicted = present.selector.predict(present.state, {}, asked) if asked else []
    expected: dict[str, list[tuple[float, float]]] = {task: [] for task in shown}
    for (task, share, _), told in zip(slices, predicted, strict=True):
        if problem.primary in told:
            expected[task].append((share, told[problem.primary]))
    return expected


def _change_share(
    chosen: Mapping[str, float], task: str, share: float, primary: str, least: float
) -> dict[str, float] | None:
    """The mixture with another share of ``task``, the others in proportion, alike where they had none.

    The primary keeps its ``least`` share; ``None`` where that cannot be.
    """
    fixed = {task: share}
    mixture = {**_spread_rest(chosen, fixed), **fixed}
    if mixture[primary] < least - 1e-9 and task != primary and share <= 1 - least:
        fixed = {task: share, primary: least}
        mixture = {**_spread_rest(chosen, fixed), **fixed}
    allowed = mixture[primary] >= least - 1e-9 and abs(sum(mixture.values()) - 1) < 1e-9
    return {other: mixture[other] for other in chosen if mixture[other] > 0} if allowed else None


def _spread_rest(chosen: Mapping[str, float], fixed: Mapping[str, float]) -> dict[str, float]:
    """The rest that the ``fixed`` shares leave, over the other tasks."""
    others = {other: part for other, part in chosen.items() if other not in fixed}
    total, left = sum(others.values()), 1 - sum(fixed.values())
    return {other: left * (part / total if total > 0 else 1 / len(others)) for other, part in others.items()}


def _count_columns(panels: int) -> int:
    # Four panels are a square rather than three and one.
    return 2 if panels == 4 else min(3, panels)


def _draw_panels(
    figure: Figure,
    shown: Sequence[str],
    chosen: Mapping[str, float],
    expected: Mapping[str, list[tuple[float, float]]],
    mixtures: Sequence[tuple[Mapping[str, float], float]],
    metric: str,
) -> None:
    across = _count_columns(len(shown))
    down = math.ceil(len(shown) / across)
    panels = figure.subplots(down, across, sharey=True, squeeze=False).ravel()
    for axes, task in zip(panels, shown, strict=False):
        line = expected.get(task)
        if line:
            axes.plot(
                [s * 100 for s, _ in line], [mean for _, mean in line], color=encode_colour("series-0"), linewidth=1.6
            )
        axes.axvline(chosen[task] * 100, color=encode_colour("muted"), linewidth=1, linestyle=(0, (4, 2)))
        axes.plot(
            [shares.get(task, 0.0) * 100 for shares, _ in mixtures],
            [score for _, score in mixtures],
            "o",
            markersize=4.5,
            color=encode_colour("series-1"),
            markeredgecolor=encode_colour("paper"),
            markeredgewidth=0.6,
            linestyle="none",
        )
        axes.set_title(task)
        axes.set_xlim(-4, 104)
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    figure.supxlabel("share of the task, %", fontsize=9.5)
    figure.supylabel(metric, fontsize=9.5)
