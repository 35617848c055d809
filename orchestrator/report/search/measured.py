"""Measurements of the tasks' own models: which attention heads matter to each, and how alike they see texts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from auxtune.orchestrator.report.blocks import Block, Paragraph, Picture
from auxtune.orchestrator.report.charts import fill_sequential_cells
from auxtune.orchestrator.report.drawing import draw_svg, encode_colour
from auxtune.orchestrator.report.material import Material
from auxtune.selectors.kit.head_profiles import build_profiles, choose_rows_norm
from auxtune.selectors.kit.similarity import FEWEST_TEXTS, compute_layer_cka

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAPS = 16  # tasks whose heads are drawn
_NAMED = 10  # lines that can be told apart by a name at their end


def list_head_blocks(material: Material) -> Iterator[Block]:
    """A map of attention heads per task, the primary's first; nothing where no importances were measured.

    Raises ``EvidenceError`` where they are gone.
    """
    importances = {task: arrays["importance"] for task, arrays in _find_evidence(material, "head_importance").items()}
    if not importances:
        return
    tasks = sorted(importances, key=lambda task: task != material.problem.primary)
    shown = tasks[:_MAPS]
    norm = choose_rows_norm(_has_released_importances(material))
    maps = {task: build_profiles(importances[task], norm).reshape(importances[task].shape) for task in shown}
    layers, heads = importances[shown[0]].shape
    height = 0.75 + math.ceil(len(shown) / 4) * (0.45 + min(1.6, 0.3 * layers))
    svg = draw_svg(
        "heads",
        height,
        f"Importance of {layers} x {heads} attention heads to {', '.join(shown)}",
        lambda figure: _draw_heads(figure, maps, shown),
    )
    left = f" Of {len(tasks)} tasks {_MAPS} are drawn." if len(tasks) > _MAPS else ""
    yield Picture(
        svg,
        "How much each attention head matters to a task that was trained alone, by the size of gradients: divided by "
        f"its layer's {'sum' if norm == 'sum' else 'L2 norm'}, then stretched from 0 (light) to 1. Tasks whose maps "
        f"rank the heads alike have a high τ.{left}",
    )


def list_layer_blocks(material: Material) -> Iterator[Block]:
    """Linear CKA by layer, a line per pair of tasks, those in one model apart from the rest.

    Nothing where no hidden states were measured. Raises ``EvidenceError`` where they are gone.
    """
    states = _find_evidence(material, "hidden_states")
    if len(states) < 2:
        return
    tasks = [task for task in material.problem.names if task in states]
    if len({str(states[task]["texts"]) for task in tasks}) > 1:
        yield Paragraph("The tasks' models read different texts, so their layers cannot be compared.", "note")
        return
    cka = compute_layer_cka([states[task]["hidden"] for task in tasks])
    if cka is None:
        texts = states[tasks[0]]["hidden"].shape[1]
        yield Paragraph(f"CKA by layer needs {FEWEST_TEXTS} texts, found {texts}.", "note")
        return
    models = [set(group["tasks"]) for group in getattr(material.leaning, "groups", None) or ()]
    pairs = list(combinations(range(len(tasks)), 2))
    primary = material.problem.primary
    if primary is not None:
        pairs = [pair for pair in pairs if primary in (tasks[pair[0]], tasks[pair[1]])]
    lines = {
        _name_pair(tasks[a], tasks[b], primary): (cka[:, a, b], any({tasks[a], tasks[b]} <= model for model in models))
        for a, b in pairs
    }
    says = f"Linear CKA by layer of {len(lines)} pairs of tasks"
    svg = draw_svg("layers", 3.8, says, lambda figure: _draw_layers(figure, lines))
    whose = f"each task's model and that of {primary}" if primary else "two tasks' models"
    yield Picture(
        svg,
        f"How alike {whose} represent the same texts, layer by layer (0: the embeddings): unbiased linear CKA, 1 for "
        "the same up to rotation and scale, about 0 for unrelated. Solid blue: pairs in one model of the answer; "
        "dashed orange: the others. A layer that is the same for all texts has no value.",
    )


def _find_evidence(material: Material, probe: str) -> dict[str, Mapping[str, np.ndarray]]:
    """Task -> the arrays that ``probe`` measured of its own run; of several runs the last.

    Label-shuffled twins are left out. Raises ``EvidenceError`` where the arrays are gone.
    """
    by_task = {}
    for trial in material.accounts.of_selector:
        proposal, told = trial.proposal, trial.told
        if told is None or len(proposal.tasks) > 1 or proposal.shuffled is not None:
            continue
        if key := told.outcome.evidence.get(probe):
            by_task[proposal.tasks[0]] = material.evidence[key]
    return by_task


def _has_released_importances(material: Material) -> bool:
    """Whether importances are those of the authors' code."""
    asked = (measure for trial in material.accounts.of_selector for measure in trial.proposal.measure)
    return any(m.probe == "head_importance" and m.options.get("form") == "key_value" for m in asked)


def _draw_heads(figure: Figure, maps: Mapping[str, np.ndarray], tasks: Sequence[str]) -> None:
    across = min(4, len(tasks))
    panels = figure.subplots(math.ceil(len(tasks) / across), across, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, task in zip(panels, tasks, strict=False):
        fill_sequential_cells(axes, maps[task])
        axes.set_title(task)
        layers, heads = maps[task].shape
        across_at, down_at = range(0, heads, max(1, heads // 4)), range(0, layers, max(1, layers // 4))
        axes.set_xticks(across_at, [str(place + 1) for place in across_at])
        axes.set_yticks(down_at, [str(place + 1) for place in down_at])
    for axes in panels[len(tasks) :]:
        axes.set_visible(False)
    figure.supxlabel("head", fontsize=9.5)
    figure.supylabel("layer", fontsize=9.5)


def _name_pair(one: str, other: str, primary: str | None) -> str:
    """Both tasks; beside a primary the other one alone."""
    if primary is None:
        return f"{one}, {other}"
    return other if one == primary else one


def _draw_layers(figure: Figure, lines: Mapping[str, tuple[np.ndarray, bool]]) -> None:
    axes = figure.add_subplot()
    for values, joined in lines.values():
        axes.plot(
            range(len(values)),
            values,
            "o-" if joined else "s--",
            markersize=4,
            linewidth=1.6 if joined else 1.1,
            color=encode_colour("series-0" if joined else "series-1"),
        )
    named = list(lines.items()) if len(lines) <= _NAMED else [(name, line) for name, line in lines.items() if line[1]]
    lowest = float(np.nanmin([values for values, _ in lines.values()]))
    for place, (name, (values, joined)) in _place_names(named[:_NAMED]):
        lowest = min(lowest, place)
        ink = encode_colour("ink" if joined else "muted")
        axes.annotate(
            name,
            (len(values) - 1, place),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=ink,
            annotation_clip=False,
        )
    axes.set_xlabel("layer")
    axes.set_ylabel("linear CKA")
    axes.set_xticks(range(len(next(iter(lines.values()))[0])))
    axes.set_ylim(lowest - 0.04, 1.02)


def _place_names(
    lines: Sequence[tuple[str, tuple[np.ndarray, bool]]],
) -> Iterator[tuple[float, tuple[str, tuple[np.ndarray, bool]]]]:
    """Each line with a height for its name, near its end and none upon another."""
    ends = [float(values[-1]) for _, (values, _) in lines if np.isfinite(values[-1])]
    if not ends:
        return
    gap = 0.055 * (1.02 - min(0.0, *ends))
    above = np.inf
    for line in sorted(lines, key=lambda each: -each[1][0][-1]):
        if np.isfinite(line[1][0][-1]):
            above = min(float(line[1][0][-1]), above - gap)
            yield above, line
