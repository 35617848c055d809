"""Several studies of one question, as a page and as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from auxtune.orchestrator.answer.comparison import UNITS, Comparison, describe_comparison
from auxtune.orchestrator.answer.lift import Lift
from auxtune.orchestrator.answer.verdict import format_interval
from auxtune.orchestrator.report.blocks import Block, Page, Paragraph, Picture, Section, Table, format_small, number
from auxtune.orchestrator.report.charts import Point, draw_intervals, draw_scatter
from auxtune.orchestrator.report.sections.answer import list_bounds
from auxtune.trials.metrics import find_direction


def build_comparison_page(found: Comparison) -> Page:
    """The better study, score against cost, and every difference."""
    names = [study.study for study in found.studies]
    return Page(
        "Studies compared",
        f"{', '.join(names)}: one question, with {len(names)} ways of choosing.",
        (
            Section("answer", "The answer", (Paragraph(describe_comparison(found), "answer"),)),
            Section("studies", "Score against cost", tuple(_list_study_blocks(found))),
            Section("differences", "Differences", tuple(_list_difference_blocks(found))),
        ),
        "Written by auxtune from the answers of the studies; `auxtune compare` writes this page again.",
    )


def list_comparison_blocks(found: Comparison) -> Iterator[Block]:
    """The same for a terminal: who is better in a sentence, and two tables."""
    unit = UNITS[found.unit]
    yield Paragraph(describe_comparison(found), "answer")
    studies = [
        (
            study.study,
            study.selector,
            " | ".join(map(" + ".join, study.selected)),
            _describe_score(study.test),
            "not measured" if study.lift is None else f"{study.lift.mean:+.4f} ({format_interval(study.lift)})",
            f"{study.cost:.3g}",
            "–" if study.best_at_equal_cost is None else f"{study.best_at_equal_cost:.4f}",
        )
        for study in found.studies
    ]
    note = (
        "Search is the cost of measure and search, with the original cost of reused evidence. By equal cost: the best "
        f"score on the validation split once a search had cost {found.equal_cost:.3g} {unit}, as much as the cheapest "
        "in all."
    )
    yield Table("Studies of one question", _list_columns(unit), tuple(studies), note=note)
    pairs = [
        (pair.a, pair.b, f"{lift.mean:+.4f} {lift.metric}", format_interval(lift), str(lift.seeds))
        if (lift := pair.lift) is not None
        else (pair.a, pair.b, "–", "no seed in common: give the studies one `seed`", "0")
        for pair in found.pairs
    ]
    columns = ("", "less", "difference", f"{found.level:.1%} interval", "seeds")
    yield Table("Differences on the test split", columns, tuple(pairs))


def _list_columns(unit: str) -> tuple[str, ...]:
    return ("study", "selector", "selected", "test split", "over single task", f"search, {unit}", "best by equal cost")


def _describe_score(test: Lift | None) -> str:
    if test is None:
        return "–"
    half = "" if test.high is None else f" ± {test.high - test.mean:.4f}"
    return f"{test.mean:.4f}{half} {test.metric}"


def _list_study_blocks(found: Comparison) -> Iterator[Block]:
    unit, scored = UNITS[found.unit], [(study, study.test) for study in found.studies if study.test]
    if scored:
        metric = scored[0][1].metric
        points = {study.study: [Point(study.cost, test.mean, test.low, test.high)] for study, test in scored}
        said = "; ".join(f"{study.study} {test.mean:.4f} for {study.cost:.3g} {unit}" for study, test in scored)
        across, up = f"cost of the search ({unit})", f"{metric} on the test split"
        svg = draw_scatter("cost", points, across, up, said, find_direction(metric))
        yield Picture(
            svg,
            "The selections' scores on rows that no selector saw, with 95 % intervals, against the cost of measure and "
            "search, with the original cost of reused evidence.",
        )
    rows = [
        (
            study.study,
            study.selector,
            " | ".join(map(" + ".join, study.selected)),
            number(study.test.mean if study.test else None, ".4f"),
            number(study.lift.mean if study.lift else None, "+.4f"),
            format_small(study.cost, 3),
            number(study.best_at_equal_cost, ".4f"),
        )
        for study in found.studies
    ]
    yield Table("Studies of one question", _list_columns(unit), tuple(rows))
    yield Paragraph(
        "By equal cost: the best score on the validation split once a search had cost "
        f"{found.equal_cost:.3g} {unit}, as much as the cheapest in all. It is the best of several, so higher than "
        "what a fresh run would score.",
        "note",
    )


def _list_difference_blocks(found: Comparison) -> Iterator[Block]:
    known = {f"{pair.a} − {pair.b}": pair.lift for pair in found.pairs if pair.lift is not None}
    if known:
        unit = f"difference on the test split, {next(iter(known.values())).metric}"
        said = "; ".join(f"{label} {lift.mean:+.4f}" for label, lift in known.items())
        yield Picture(
            draw_intervals("differences", list(known.items()), unit, said),
            f"Each difference with its {found.level:.1%} interval: all of them hold together with 95 %.",
        )
    rows = [
        (
            pair.a,
            pair.b,
            number(pair.lift.mean if pair.lift else None, "+.4f"),
            *(list_bounds(pair.lift) if pair.lift else ("no seed in common", "give the studies one `seed`")),
            number(pair.lift.seeds if pair.lift else 0),
        )
        for pair in found.pairs
    ]
    yield Table("Differences on the test split", ("", "less", "difference", "from", "to", "seeds"), tuple(rows))
