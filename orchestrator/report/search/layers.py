"""How alike the tasks' own models represent the same texts, layer by layer: linear CKA."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from auxtune.orchestrator.report.blocks import Block, Paragraph, Picture
from auxtune.orchestrator.report.drawing import colour, draw_svg
from auxtune.orchestrator.report.material import Material
from auxtune.orchestrator.report.search.evidence import evidence_by_task
from auxtune.orchestrator.report.search.stages import beliefs
from auxtune.selectors.kit.similarity import FEWEST_TEXTS, compute_layer_cka

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAMED = 10  # lines that can be told apart by a name at their end


def layer_blocks(material: Material) -> Iterator[Block]:
    """A line per pair of tasks, those in one model apart from the rest; nothing where no states were measured.

    Raises ``EvidenceError`` where they are gone.
    """
    found = evidence_by_task(material, "hidden_states")
    if len(found) < 2:
        return
    tasks = [task for task in material.problem.names if task in found]
    if len({str(found[task]["texts"]) for task in tasks}) > 1:
        yield Paragraph("The tasks' models read different texts, so their layers cannot be compared.", "note")
        return
    cka = compute_layer_cka([found[task]["hidden"] for task in tasks])
    if cka is None:
        yield Paragraph(f"CKA by layer needs {FEWEST_TEXTS} texts, found {found[tasks[0]]['hidden'].shape[1]}.", "note")
        return
    together = _together(material)
    pairs = list(combinations(range(len(tasks)), 2))
    primary = material.problem.primary
    if primary is not None:
        pairs = [pair for pair in pairs if primary in (tasks[pair[0]], tasks[pair[1]])]
    lines = {
        _pair(tasks[a], tasks[b], primary): (cka[:, a, b], any({tasks[a], tasks[b]} <= group for group in together))
        for a, b in pairs
    }
    says = f"Linear CKA by layer of {len(lines)} pairs of tasks"
    svg = draw_svg("layers", 3.8, says, lambda figure: _draw(figure, lines))
    whose = f"each task's model and that of {primary}" if primary else "two tasks' models"
    yield Picture(
        svg,
        f"How alike {whose} represent the same texts, layer by layer (0: the embeddings): unbiased linear CKA, 1 for "
        "the same up to rotation and scale, about 0 for unrelated. Solid blue: pairs in one model of the answer; "
        "dashed orange: the others. A layer that is the same for all texts has no value.",
    )


def _together(material: Material) -> list[set[str]]:
    """The sets of tasks that share a model."""
    chosen = material.leaning
    groups = getattr(chosen, "groups", None) or next((b["groups"] for _, b in beliefs(material) if "groups" in b), ())
    return [set(group["tasks"]) for group in groups or ()]


def _pair(one: str, other: str, primary: str | None) -> str:
    if primary is None:
        return f"{one}, {other}"
    return other if one == primary else one


def _draw(figure: Figure, lines: Mapping[str, tuple[np.ndarray, bool]]) -> None:
    axes = figure.add_subplot()
    for values, joined in lines.values():
        axes.plot(
            range(len(values)),
            values,
            "o-" if joined else "s--",
            markersize=4,
            linewidth=1.6 if joined else 1.1,
            color=colour("series-0" if joined else "series-1"),
        )
    named = list(lines.items()) if len(lines) <= _NAMED else [(name, line) for name, line in lines.items() if line[1]]
    lowest = float(np.nanmin([values for values, _ in lines.values()]))
    for place, (name, (values, joined)) in _apart(named[:_NAMED]):
        lowest = min(lowest, place)
        ink = colour("ink" if joined else "muted")
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


def _apart(
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
