"""What a selector thinks each task is worth: one number per task, the chosen apart from the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from auxtune.orchestrator.report.blocks import Block, Paragraph, Picture
from auxtune.orchestrator.report.drawing import colour, draw_svg
from auxtune.orchestrator.report.material import Material
from auxtune.orchestrator.report.search.stages import beliefs, called, handed_on, of_stage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What stands in a belief as task -> number, and what it is.
_KINDS = {
    "utility": "utility: belief that a round of the task does not hurt the primary",
    "tau": "Kendall's τ with the primary's head profile",
    "similarity": "similarity to the primary's covariance, in [0, 1]",
    "coefficients": "worth in the linear fit, units of the score",
    "alpha": "weight α of the task's labels",
    "onto_primary": "affinity onto the primary",
}
_HALF = 0.5  # where a posterior that forgets says nothing
_OF_ALL = " The line is the rate of rewards of all rounds; thin bars are 95 % intervals."
_ROWS = 30


def ranking_blocks(material: Material) -> Iterator[Block]:
    """A picture for each ranking that a stage believes in, and what its predictions are worth."""
    left = handed_on(material)
    for stage, belief in beliefs(material):
        chosen = left.get(stage) or _chosen(material)
        answer = "in the answer" if material.anew is None else "what it would choose now"
        marked = "handed on to the next stage" if stage in left else answer
        for key, words in _KINDS.items():
            values = belief.get(key)
            if isinstance(values, Mapping) and values and all(isinstance(v, (int, float)) for v in values.values()):
                yield _drawn(key, words, values, belief, chosen, marked, stage)
        if isinstance(belief.get("skill"), Mapping):
            yield Paragraph(_skill(belief["skill"], stage), "note")
        if isinstance(belief.get("reliability"), Mapping):
            yield Paragraph(_reliability(belief["reliability"], stage), "note")


def _chosen(material: Material) -> set[str]:
    if material.answer is not None and material.anew is None:
        return set(material.answer.weights or {})
    return set(getattr(material.leaning, "tasks", ()))


def _drawn(
    key: str,
    words: str,
    values: Mapping[str, float],
    belief: Mapping[str, Any],
    chosen: set[str],
    marked: str,
    stage: str,
) -> Block:
    ranked = sorted(values.items(), key=lambda each: -each[1])
    shown = ranked[:_ROWS]
    measured = key == "utility" and {"interval", "overall"} <= belief.keys()
    ends: Mapping[str, Sequence[float]] = belief["interval"] if measured else {}
    utility = belief["overall"] if measured else _HALF
    line = {"tau": belief.get("threshold"), "utility": utility, "onto_primary": 0.0}.get(key)
    twins = list(belief.get("twins") or ()) if key == "tau" else []
    said = "; ".join(f"{task} {value:.3g}" for task, value in shown)
    svg = draw_svg(
        called(f"ranking {key}", stage),
        0.8 + 0.27 * len(shown) + (0.27 if twins else 0),
        f"{words}: {said}",
        lambda figure: _draw(figure, shown, chosen, words, line, twins, ends),
    )
    beyond = ", which no task can reach" if line is not None and line > 1 else ""
    bound = {
        "tau": f" The line is the threshold, {line:.3f}{beyond}." if line is not None else "",
        "utility": _OF_ALL if ends else " At 0.5 a task helps as often as it hurts.",
    }.get(key, "")
    crosses = " Crosses: twins that learned shuffled labels, which can only be alike by chance." if twins else ""
    left = f" Of {len(ranked)} tasks the first {_ROWS} are drawn." if len(ranked) > _ROWS else ""
    return Picture(svg, f"{words[0].upper()}{words[1:]}{of_stage(stage)}. Filled: {marked}.{bound}{crosses}{left}")


def _draw(
    figure: Figure,
    ranked: Sequence[tuple[str, float]],
    chosen: set[str],
    words: str,
    line: float | None,
    twins: Sequence[float],
    ends: Mapping[str, Sequence[float]],
) -> None:
    axes = figure.add_subplot()
    if line is not None:
        axes.axvline(line, color=colour("muted"), linewidth=1)
    start = _HALF if line == _HALF and not ends else 0.0
    for place, (task, value) in enumerate(ranked):
        low, high = ends.get(task, (start, value))
        axes.hlines(place, low, high, color=colour("series-0" if ends else "rule"), linewidth=1.2)
        face = colour("series-0") if task in chosen else colour("paper")
        axes.plot(value, place, "o", markersize=6.5, color=colour("series-0"), markerfacecolor=face)
    if twins:
        axes.plot(twins, [len(ranked)] * len(twins), "x", color=colour("series-1"), linestyle="none")
    labels = [task for task, _ in ranked] + (["twins"] if twins else [])
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlabel(words)
    axes.margins(x=0.08)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _skill(skill: Mapping[str, Any], stage: str) -> str:
    """What the predictions of held-out trials come to, as the selector's own test has it."""
    where = of_stage(stage)
    if "found" in skill:
        shown = "better than chance" if skill["shown"] else "not shown to be better than chance"
        return (
            f"Held-out trials are predicted with {skill['measure']} {skill['found']:.2f}, chance "
            f"{skill['chance']:.2f}, over {skill['results']} of them: {shown}{where}."
        )
    known = "; ".join(f"{key} {value:.2f}" for key, value in skill.items() if isinstance(value, (int, float)))
    return f"What predictions of the unseen are worth{where}: {known or 'not known'}."


def _reliability(told: Mapping[str, Any], stage: str) -> str:
    """How far what was measured several times agrees with itself."""
    where = of_stage(stage)
    if told["halves"] is None:
        return f"A single measurement{where}: how far it would come out the same again is not known."
    shown = "more than chance explains" if told["shown"] else "not shown to be more than chance"
    chance = "" if told["p"] is None else f" (p = {told['p']:.3f})"
    return (
        f"Of {told['replicates']} measurements the odd and the even ones agree with a correlation of "
        f"{told['halves']:.2f}, all of them with as many others by {told['full']:.2f} (Spearman-Brown): {shown}{chance}"
        f"{where}."
    )
