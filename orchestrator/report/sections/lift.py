"""How much better the selection is than each control, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from auxtune.orchestrator.answer.answer import Answer, Contribution
from auxtune.orchestrator.answer.lift import FEWEST_SEEDS, Lift, MeanLift
from auxtune.orchestrator.answer.verdict import SAME, interval
from auxtune.orchestrator.report.blocks import Block, Cell, Paragraph, Picture, Section, Table, number
from auxtune.orchestrator.report.intervals import interval_grid, intervals
from auxtune.orchestrator.report.material import Material
from auxtune.trials.metrics import find_direction

_READ = (
    "Above 0 the selection is better. An interval that holds 0 means that a difference is not shown. The intervals are "
    "not corrected for there being several: of four, one misses by chance in up to one study of five. The sentence at "
    "the top counts them all together."
)


def lift_section(material: Material) -> Section:
    """Lift over each control with its interval, on rows that no selector saw."""
    if material.answer is None:
        blocks: tuple[Block, ...] = (Paragraph("Known once the selection is confirmed.", "note"),)
    elif not material.answer.lift:
        blocks = (Paragraph("No control was asked for (`confirm.controls`), so there is nothing to compare with."),)
    else:
        blocks = tuple(_blocks(material.answer))
    return Section("lift", "Lift over the controls", blocks)


def bounds(lift: Lift | Contribution) -> tuple[Cell, Cell]:
    """Both ends of an interval, or what they would take."""
    if lift.low is None:
        return interval(lift), interval(lift)
    return number(lift.low, "+.4f"), number(lift.high, "+.4f")


def _blocks(answer: Answer) -> Iterator[Block]:
    measured, grouped = answer.measured_lifts, answer.primary is None
    what = answer.primary or "mean over the tasks"
    if measured:
        metric = next(iter(measured.values())).metric
        lower = ", by how much lower" if find_direction(metric) < 0 else ""
        unit = (
            "lift on the test split, mean over the tasks of their main metrics"
            if grouped
            else f"lift on the test split, {metric} of {what}{lower}"
        )
        said = "; ".join(f"over {control} {lift.mean:+.4f}" for control, lift in measured.items())
        svg = intervals("lift", list(measured.items()), unit, f"Lift with its 95 % interval: {said}")
        yield Picture(svg, f"Selection less control, {what}, with 95 % intervals. {_READ}")
    yield Table(
        "Lift on the test split",
        ("over", *(["models"] if grouped else []), "lift", "from", "to", "metric", "seeds"),
        tuple(_row(control, lift, grouped) for control, lift in answer.lift.items()),
    )
    if any(lift.low is None for lift in measured.values()):
        yield Paragraph(f"Intervals need {FEWEST_SEEDS} seeds (`confirm.seeds`).", "note")
    if grouped:
        yield from _by_task(measured)


def _by_task(measured: Mapping[str, Lift]) -> Iterator[Block]:
    own = {control: lift.tasks for control, lift in measured.items() if isinstance(lift, MeanLift)}
    tasks = list(dict.fromkeys(task for lifts in own.values() for task in lifts))
    if not tasks:
        return
    unit = "each task's own lift on the test split, in its main metric"
    yield Picture(
        interval_grid("lift-by-task", own, tasks, unit, f"{unit}, of {', '.join(tasks)}"),
        "Each task's own lift over each control. A mean can hide a task that loses.",
    )
    rows = [
        (task, control, number(lift.mean, "+.4f"), *bounds(lift), lift.metric, number(lift.seeds))
        for task in tasks
        for control, lifts in own.items()
        if (lift := lifts.get(task)) is not None
    ]
    columns = ("task", "over", "lift", "from", "to", "metric", "seeds")
    yield Table("Each task's own lift in numbers", columns, tuple(rows), folded=True)


def _row(control: str, lift: Lift | None, grouped: bool) -> tuple[Cell, ...]:
    models = [number(lift.models) if isinstance(lift, MeanLift) else "–"] if grouped else []
    if lift is None or lift.same_training:
        seeds = number(lift.seeds if lift else 0)
        return (control, *models, SAME if lift else "not measured", "–", "–", "–", seeds)
    return (control, *models, number(lift.mean, "+.4f"), *bounds(lift), lift.metric, number(lift.seeds))
