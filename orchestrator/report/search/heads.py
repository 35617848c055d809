"""Which attention heads matter to each task: its profile over layers and heads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from auxtune.orchestrator.report.blocks import Block, Picture
from auxtune.orchestrator.report.drawing import draw_svg
from auxtune.orchestrator.report.material import Material
from auxtune.orchestrator.report.search.evidence import evidence_by_task
from auxtune.orchestrator.report.search.heat import sequential
from auxtune.selectors.kit.head_profiles import build_profiles, choose_rows_norm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAPS = 16


def head_blocks(material: Material) -> Iterator[Block]:
    """A map per task, the primary's first; nothing where no importances were measured.

    Raises ``EvidenceError`` where they are gone.
    """
    found = {task: arrays["importance"] for task, arrays in evidence_by_task(material, "head_importance").items()}
    if not found:
        return
    tasks = sorted(found, key=lambda task: task != material.problem.primary)
    shown = tasks[:_MAPS]
    norm = choose_rows_norm(_released(material))
    maps = {task: build_profiles(found[task], norm).reshape(found[task].shape) for task in shown}
    layers, heads = found[shown[0]].shape
    height = 0.75 + math.ceil(len(shown) / 4) * (0.45 + min(1.6, 0.3 * layers))
    svg = draw_svg(
        "heads",
        height,
        f"Importance of {layers} x {heads} attention heads to {', '.join(shown)}",
        lambda figure: _draw(figure, maps, shown),
    )
    left = f" Of {len(tasks)} tasks {_MAPS} are drawn." if len(tasks) > _MAPS else ""
    yield Picture(
        svg,
        "How much each attention head matters to a task that was trained alone, by the size of gradients: divided by "
        f"its layer's {'sum' if norm == 'sum' else 'L2 norm'}, then stretched from 0 (light) to 1. Tasks whose maps "
        f"rank the heads alike have a high τ.{left}",
    )


def _released(material: Material) -> bool:
    """Whether importances are those of the authors' code."""
    asked = (measure for trial in material.accounts.of_selector for measure in trial.proposal.measure)
    return any(m.probe == "head_importance" and m.options.get("form") == "key_value" for m in asked)


def _draw(figure: Figure, maps: Mapping[str, np.ndarray], tasks: Sequence[str]) -> None:
    across = min(4, len(tasks))
    panels = figure.subplots(math.ceil(len(tasks) / across), across, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, task in zip(panels, tasks, strict=False):
        sequential(axes, maps[task])
        axes.set_title(task)
        layers, heads = maps[task].shape
        across_at, down_at = range(0, heads, max(1, heads // 4)), range(0, layers, max(1, layers // 4))
        axes.set_xticks(across_at, [str(place + 1) for place in across_at])
        axes.set_yticks(down_at, [str(place + 1) for place in down_at])
    for axes in panels[len(tasks) :]:
        axes.set_visible(False)
    figure.supxlabel("head", fontsize=9.5)
    figure.supylabel("layer", fontsize=9.5)
