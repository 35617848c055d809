"""The selector's ranking of the tasks, and the scores of ever longer lists of the best of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auxtune.orchestrator.report.blocks import Block, Paragraph, Picture, Table, number
from auxtune.orchestrator.report.drawing import draw_svg, encode_colour, name_drawing
from auxtune.orchestrator.report.material import Material, describe_stage
from auxtune.selectors.beliefs import (
    Filter,
    Filters,
    Leaders,
    PredictionQuality,
    Prefix,
    Prefixes,
    Ranking,
    Repeats,
    Utilities,
)
from auxtune.selectors.kit.affinity import Reliability
from auxtune.selectors.kit.skill import Skill

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HALF = 0.5  # where a posterior that forgets says nothing
_ROWS = 30


def list_ranking_blocks(material: Material) -> Iterator[Block]:
    """A picture for each ranking that a stage believes in, and how far its predictions can be trusted."""
    handed_on = material.answering_part.handed_on
    for stage, belief in material.beliefs:
        match belief:
            case Ranking() | Utilities():
                chosen = handed_on.get(stage) or _list_chosen(material)
                answer = "in the answer" if material.new_reading is None else "what it would choose now"
                marked = "handed on to the next stage" if stage in handed_on else answer
                yield _draw_ranking(_plan_dots(belief), chosen, marked, stage)
            case Skill() | PredictionQuality():
                yield Paragraph(_describe_skill(belief, stage), "note")
            case Reliability():
                yield Paragraph(_describe_reliability(belief, stage), "note")


def list_prefix_blocks(material: Material) -> Iterator[Block]:
    """Score by the number of auxiliaries; nothing where no method added them one by one."""
    for stage, belief in material.beliefs:
        if isinstance(belief, Prefixes):
            yield _draw_prefixes(belief, stage, material)


def list_tried_blocks(material: Material) -> Iterator[Block]:
    """Tables of filters of the rows, of leading mixtures and of whole searches; nothing where there are none."""
    for stage, belief in material.beliefs:
        if isinstance(belief, Filters):
            rows = [
                (number(each.threshold), _describe_kept(each), number(_restore_sign(each.score, material.sign), ".4f"))
                for each in belief.tried
            ]
            columns = ("threshold", "rows kept", f"{material.scored}, validation split")
            yield Table(f"Filters of the training rows{describe_stage(stage)}", columns, tuple(rows))
        if isinstance(belief, Leaders):
            yield _list_leaders(belief, stage, material)
    for _, belief in material.beliefs:
        if isinstance(belief, Repeats):
            searches = [
                (
                    f"search {place + 1}{', which answers' if place == belief.winner else ''}",
                    " + ".join(search.tasks),
                    number(_restore_sign(search.best_score, material.sign), ".4f"),
                )
                for place, search in enumerate(belief.searches)
            ]
            best = "best score" if material.accounts.search_score == "metric" else f"lowest {material.scored}"
            yield Table("The same search with other seeds", ("search", "chose", best), tuple(searches))


def _list_leaders(belief: Leaders, stage: str, material: Material) -> Block:
    rows = [
        (
            " + ".join(f"{task} {share:.0%}" for task, share in each.weights.items()),
            number(each.runs),
            number(material.sign * each.seen, ".4f"),
            number(material.sign * each.mean, ".4f"),
            number(1.96 * each.deviation, ".4f"),
        )
        for each in belief.mixtures
    ]
    columns = ("mixture", "runs", f"{material.scored}, validation split", "expected of such runs", "± at 95 %")
    return Table(f"The leading mixtures, the answer first{describe_stage(stage)}", columns, tuple(rows))


@dataclass(frozen=True)
class _Dots:
    """A ranking as it is drawn: a dot per task, the best first, and a bar from ``start`` or over its interval."""

    name: str
    meaning: str
    values: Mapping[str, float]
    line: float | None
    line_note: str
    start: float = 0.0
    intervals: Mapping[str, tuple[float, float]] | None = None
    twins: Sequence[float] = ()

    @property
    def ranked(self) -> list[tuple[str, float]]:
        """The tasks with their numbers, the best first."""
        return sorted(self.values.items(), key=lambda each: -each[1])


def _plan_dots(belief: Ranking | Utilities) -> _Dots:
    if isinstance(belief, Ranking):
        note = f" The line is {belief.reference_is}." if belief.reference_is else ""
        return _Dots(belief.name, belief.meaning, belief.values, belief.reference, note, 0.0, None, belief.twins)
    meaning, counted = "utility: belief that a round of the task does not hurt the primary", belief.counted
    if counted is None:
        note = " At 0.5 a task helps as often as it hurts."
        return _Dots("utility", meaning, belief.values, _HALF, note, _HALF)
    note = " The line is the rate of rewards of all rounds; thin bars are 95 % intervals."
    return _Dots("utility", meaning, belief.values, counted.overall, note, 0.0, counted.interval)


def _list_chosen(material: Material) -> set[str]:
    if material.answer is not None and material.new_reading is None:
        return set(material.answer.weights or {})
    return set(getattr(material.leaning, "tasks", ()))


def _draw_ranking(dots: _Dots, chosen: set[str] | frozenset[str], marked: str, stage: str) -> Block:
    ranked = dots.ranked
    shown, words = ranked[:_ROWS], dots.meaning
    said = "; ".join(f"{task} {value:.3g}" for task, value in shown)
    svg = draw_svg(
        name_drawing(f"ranking {dots.name}", stage),
        0.8 + 0.27 * len(shown) + (0.27 if dots.twins else 0),
        f"{words}: {said}",
        lambda figure: _draw_dots(figure, dots, shown, chosen),
    )
    crosses = " Crosses: twins that learned shuffled labels, which can only be alike by chance." if dots.twins else ""
    left = f" Of {len(ranked)} tasks the first {_ROWS} are drawn." if len(ranked) > _ROWS else ""
    caption = f"{words[0].upper()}{words[1:]}{describe_stage(stage)}. Filled: {marked}.{dots.line_note}{crosses}{left}"
    return Picture(svg, caption)


def _draw_dots(
    figure: Figure, dots: _Dots, shown: Sequence[tuple[str, float]], chosen: set[str] | frozenset[str]
) -> None:
    axes, intervals, twins = figure.add_subplot(), dots.intervals or {}, dots.twins
    if dots.line is not None:
        axes.axvline(dots.line, color=encode_colour("muted"), linewidth=1)
    for place, (task, value) in enumerate(shown):
        low, high = intervals.get(task, (dots.start, value))
        axes.hlines(place, low, high, color=encode_colour("series-0" if intervals else "rule"), linewidth=1.2)
        face = encode_colour("series-0") if task in chosen else encode_colour("paper")
        axes.plot(value, place, "o", markersize=6.5, color=encode_colour("series-0"), markerfacecolor=face)
    if twins:
        axes.plot(twins, [len(shown)] * len(twins), "x", color=encode_colour("series-1"), linestyle="none")
    labels = [task for task, _ in shown] + (["twins"] if twins else [])
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlabel(dots.meaning)
    axes.margins(x=0.08)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _describe_skill(skill: Skill | PredictionQuality, stage: str) -> str:
    """How well held-out trials are predicted, as the selector's own test has it."""
    where = describe_stage(stage)
    if isinstance(skill, Skill):
        shown = "better than chance" if skill.shown else "not shown to be better than chance"
        return (
            f"Held-out trials are predicted with {skill.measure} {skill.found:.2f}, chance "
            f"{skill.chance:.2f}, over {skill.results} of them: {shown}{where}."
        )
    known = "; ".join(f"{measure} {value:.2f}" for measure, value in skill.measures.items())
    return f"What predictions of the unseen are worth{where}: {known or 'not known'}."


def _describe_reliability(told: Reliability, stage: str) -> str:
    """How far what was measured several times agrees with itself."""
    where = describe_stage(stage)
    if told.halves is None:
        return f"A single measurement{where}: how far it would come out the same again is not known."
    shown = "more than chance explains" if told.shown else "not shown to be more than chance"
    chance = "" if told.p is None else f" (p = {told.p:.3f})"
    return (
        f"Of {told.replicates} measurements the odd and the even ones agree with a correlation of "
        f"{told.halves:.2f}, all of them with as many others by {told.full:.2f} (Spearman-Brown): {shown}{chance}"
        f"{where}."
    )


def _draw_prefixes(belief: Prefixes, stage: str, material: Material) -> Block:
    tried = sorted(belief.tried, key=lambda each: len(each.tasks))
    said = "; ".join(f"{len(each.tasks) - 1} auxiliaries {material.sign * each.score:.4f}" for each in tried)
    svg = draw_svg(
        name_drawing(belief.name, stage),
        2.9,
        f"Score by number of auxiliaries: {said}",
        lambda figure: _draw_curve(figure, tried, material.scored, material.sign),
    )
    added = " → ".join(_list_added(tried, str(material.problem.primary)))
    return Picture(
        svg,
        f"Score on the validation split with the first auxiliaries of the ranking{describe_stage(stage)}, in the order "
        f"in which they were added: {added}. The ring is the best.",
    )


def _list_added(tried: Sequence[Prefix], primary: str) -> Iterator[str]:
    """The tasks that each step added to the one before; the primary alone is a step of its own."""
    before = {primary}
    for each in tried:
        new = [task for task in each.tasks if task not in before]
        before |= set(each.tasks)
        yield " + ".join(new) or "none"


def _draw_curve(figure: Figure, tried: Sequence[Prefix], metric: str, sign: int) -> None:
    axes = figure.add_subplot()
    counts, scores = [len(each.tasks) - 1 for each in tried], [sign * each.score for each in tried]
    axes.plot(counts, scores, "o-", color=encode_colour("series-0"), markersize=6)
    best = sign * max(sign * score for score in scores)
    ring = encode_colour("series-1")
    axes.plot(counts[scores.index(best)], best, "o", markersize=12, color=ring, markerfacecolor="none")
    axes.set_xticks(counts)
    axes.set_xlabel("auxiliaries")
    axes.set_ylabel(metric)
    axes.margins(0.1)


def _restore_sign(score: float | None, sign: int) -> float | None:
    return None if score is None else sign * score


def _describe_kept(cut: Filter) -> str:
    return ", ".join(f"{task} {kept} of {rows}" for task, (kept, rows) in cut.kept.items()) or "all"
