"""The answer: in a sentence, what was selected, its lift over the controls, and what each chosen task contributes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from auxtune.orchestrator.answer.answer import Answer, Contribution
from auxtune.orchestrator.answer.lift import FEWEST_SEEDS, Lift, MeanLift
from auxtune.orchestrator.answer.verdict import (
    SAME,
    find_other_arm,
    format_interval,
    list_control_doubts,
    write_verdict,
)
from auxtune.orchestrator.record.accounts import describe_unanswered
from auxtune.orchestrator.report.blocks import Block, Cell, Paragraph, Picture, Section, Table, number
from auxtune.orchestrator.report.charts import draw_interval_grid, draw_intervals
from auxtune.orchestrator.report.material import Material
from auxtune.selectors.protocol import Selection
from auxtune.trials.metrics import find_direction


def build_answer_section(material: Material) -> Section:
    """The sentence that the terminal ends with; without an answer, the study's state."""
    return Section("answer", "The answer", tuple(_list_answer_blocks(material)))


def _write_sentence(material: Material) -> str:
    if material.answer is not None:
        return write_verdict(material.answer)
    return describe_unanswered(material.accounts, material.state)


def _list_answer_blocks(material: Material) -> Iterator[Block]:
    yield Paragraph(_write_sentence(material), "answer")
    if material.answer is not None and (control := find_other_arm(material.answer)) is not None:
        command = f"auxtune export {material.folder.name} --to MODEL --arm {control}"
        said = "in its storage trains and saves that model; without `--arm` it is what was chosen."
        yield Paragraph(f"`{command}` {said}", "note")
    if material.outdated:
        yield Paragraph(
            f"This is the answer of an earlier session; the study has since continued and is {material.state}. "
            "Selection, lift and contributions are of then, all other sections of now.",
            "warning",
        )
    if material.answer is None and material.state in ("interrupted", "failed"):
        closed = material.accounts.sessions[-1].closed
        said = f" It said: {closed.message}" if closed and closed.message else ""
        yield Paragraph(f"`auxtune resume {material.folder.name}` in its storage resumes it.{said}", "note")
    if material.answer is not None and (reading := material.new_reading):
        limit = material.options.budget.trials
        said = reading.describe(Path(material.folder.name), material.accounts.trained, limit)
        yield Paragraph(said, "warning" if reading.is_another else "note")
    search = material.accounts.of_selector
    failed = sum(trial.status == "failed" for trial in search)
    if 0 < failed < len(search):
        yield Paragraph(f"{failed} of {len(search)} search trials failed; the choice rests on the others.", "warning")
    for doubt in list_control_doubts(material.accounts):
        yield Paragraph(doubt, "warning")
    if why := material.belief.get("why"):
        yield Paragraph(f"The selector: {why}.", "note")


def build_selection_section(material: Material) -> Section:
    """The selection; before there is one, what the selector would choose now."""
    if material.answer is None:
        return Section("selection", "What it leans to so far", tuple(_list_leaning_blocks(material)))
    return Section("selection", "The selection", tuple(_list_selection_blocks(material.answer)))


def _list_selection_blocks(answer: Answer) -> Iterator[Block]:
    if answer.primary is None:
        models = tuple(
            (" + ".join(group.tasks), ", ".join(group.serves) or "nothing: others do better")
            for group in answer.groups or ()
        )
        yield Table("Models, each trained on all of its tasks", ("trained together", "serves"), models)
    else:
        yield from _list_share_tables(answer)
    for task, kept in (answer.instances or {}).items():
        yield Paragraph(f"Of {task} only {kept.kept} of {kept.rows} training rows.")
    if answer.ranking:
        rows = [(each.task, number(each.score, ".4f")) for each in answer.ranking]
        yield Table("The selector's ranking", ("task", "score"), tuple(rows))
    scores = [
        (task, metric, number(value, ".4f")) for task, each in answer.report.items() for metric, value in each.items()
    ]
    if scores:
        yield Table("On the test split, mean over the seeds of confirm", ("task", "metric", "value"), tuple(scores))


def _list_share_tables(answer: Answer) -> Iterator[Table]:
    weights, stability = answer.weights or {}, answer.stability or {}
    by_loss = answer.weighting == "loss"
    columns = ["task", "factor of the loss" if by_loss else "share of the steps"]
    columns += ["chosen by how many of the searches"] if stability else []
    rows: list[tuple[Cell, ...]] = []
    for task, share in weights.items():
        shown = number(share * len(weights), ".2f") if by_loss else number(share, ".1%", bar=share)
        rows.append((task, shown, *([number(stability.get(task), ".0%")] if stability else [])))
    yield Table("Trained together", tuple(columns), tuple(rows))
    left = {task: share for task, share in stability.items() if task not in weights and share > 0}
    if left:
        yield Table(
            "Chosen by some of the searches, but not by the one that answers",
            ("task", "share of the searches"),
            tuple((task, number(share, ".0%")) for task, share in left.items()),
        )


def _list_leaning_blocks(material: Material) -> Iterator[Block]:
    leaning = material.leaning
    if not isinstance(leaning, Selection):
        yield Paragraph(f"The selector cannot be asked: {leaning}", "note")
        return
    recorded = material.accounts.selected is not None
    asked = "Nothing of this is confirmed. Asked now, the selector answers:"
    yield Paragraph("The selector has chosen; its choice is not confirmed yet." if recorded else asked)
    if material.new_reading is not None and material.new_reading.is_another:
        yield Paragraph("It had chosen otherwise: this is what it now reads out of the same trials.", "note")
    if leaning.kind == "groups":
        rows = [(" + ".join(group["tasks"]), ", ".join(group["serves"])) for group in leaning.groups or ()]
        yield Table("Models", ("trained together", "serves"), tuple(rows))
        return
    shares = leaning.weights or {}
    share = {task: number(part, ".1%") for task, part in shares.items()}
    trained = tuple((task, share.get(task, "by the study's rule")) for task in leaning.tasks)
    yield Table("Trained together", ("task", "share"), trained)


_HOW_TO_READ = (
    "Above 0 the selection is better. An interval that holds 0 means that a difference is not shown. The intervals are "
    "not corrected for there being several: of four, one misses by chance in up to one study of five. The sentence at "
    "the top counts them all together."
)


def build_lift_section(material: Material) -> Section:
    """Lift over each control with its interval, on rows that no selector saw."""
    if material.answer is None:
        blocks: tuple[Block, ...] = (Paragraph("Known once the selection is confirmed.", "note"),)
    elif not material.answer.lift:
        blocks = (Paragraph("No control was asked for (`confirm.controls`), so there is nothing to compare with."),)
    else:
        blocks = tuple(_list_lift_blocks(material.answer))
    return Section("lift", "Lift over the controls", blocks)


def list_bounds(lift: Lift | Contribution) -> tuple[Cell, Cell]:
    """Both ends of an interval, or why there are none."""
    if lift.low is None:
        return format_interval(lift), format_interval(lift)
    return number(lift.low, "+.4f"), number(lift.high, "+.4f")


def _list_lift_blocks(answer: Answer) -> Iterator[Block]:
    measured, grouped = answer.measured_lifts, answer.primary is None
    what = answer.primary or "mean over the tasks"
    if measured:
        metric = next(iter(measured.values())).metric
        lower = ", by how much lower" if find_direction(metric) < 0 else ""
        quantity = "mean over the tasks of their main metrics" if grouped else f"{metric} of {what}{lower}"
        unit = f"lift on the test split, {quantity}"
        said = "; ".join(f"over {control} {lift.mean:+.4f}" for control, lift in measured.items())
        svg = draw_intervals("lift", list(measured.items()), unit, f"Lift with its 95 % interval: {said}")
        yield Picture(svg, f"Selection less control, {what}, with 95 % intervals. {_HOW_TO_READ}")
    yield Table(
        "Lift on the test split",
        ("over", *(["models"] if grouped else []), "lift", "from", "to", "metric", "seeds"),
        tuple(_list_lift_cells(control, lift, grouped) for control, lift in answer.lift.items()),
    )
    if any(lift.low is None for lift in measured.values()):
        yield Paragraph(f"Intervals need {FEWEST_SEEDS} seeds (`confirm.seeds`).", "note")
    if grouped:
        yield from _list_task_blocks(measured)


def _list_task_blocks(measured: Mapping[str, Lift]) -> Iterator[Block]:
    own = {control: lift.tasks for control, lift in measured.items() if isinstance(lift, MeanLift)}
    tasks = list(dict.fromkeys(task for lifts in own.values() for task in lifts))
    if not tasks:
        return
    unit = "each task's own lift on the test split, in its main metric"
    yield Picture(
        draw_interval_grid("lift-by-task", own, tasks, unit, f"{unit}, of {', '.join(tasks)}"),
        "Each task's own lift over each control. A mean can hide a task that loses.",
    )
    rows = [
        (task, control, number(lift.mean, "+.4f"), *list_bounds(lift), lift.metric, number(lift.seeds))
        for task in tasks
        for control, lifts in own.items()
        if (lift := lifts.get(task)) is not None
    ]
    columns = ("task", "over", "lift", "from", "to", "metric", "seeds")
    yield Table("Each task's own lift in numbers", columns, tuple(rows), folded=True)


def _list_lift_cells(control: str, lift: Lift | None, grouped: bool) -> tuple[Cell, ...]:
    models = [number(lift.models) if isinstance(lift, MeanLift) else "–"] if grouped else []
    if lift is None or lift.same_training:
        seeds = number(lift.seeds if lift else 0)
        return (control, *models, SAME if lift else "not measured", "–", "–", "–", seeds)
    return (control, *models, number(lift.mean, "+.4f"), *list_bounds(lift), lift.metric, number(lift.seeds))


def build_contribution_section(material: Material) -> Section:
    """Leave one out, or why it is not known."""
    return Section("contribution", "What each chosen task contributes", tuple(_list_contribution_blocks(material)))


def _list_contribution_blocks(material: Material) -> Iterator[Block]:
    answer = material.answer
    if answer is None:
        yield Paragraph("Known once the selection is confirmed.", "note")
    elif answer.primary is None:
        yield Paragraph(
            "Measured for a primary only: in groups every task counts, and each one's own lift is above.", "note"
        )
    elif not answer.auxiliaries:
        yield Paragraph("No auxiliary was chosen, so there is none to leave out.", "note")
    elif not answer.contribution:
        yield Paragraph(
            "Not measured. With `confirm.leave_one_out: true` the selection is also trained without each "
            "of its auxiliaries, as often as it has seeds.",
            "note",
        )
    else:
        yield from _list_measured_blocks(material.metric, answer.contribution)


def _list_measured_blocks(metric: str, contribution: Mapping[str, Contribution | None]) -> Iterator[Block]:
    known = [(task, gain) for task, gain in contribution.items() if gain is not None]
    if known:
        said = "; ".join(f"{task} {gain.mean:+.4f}" for task, gain in known)
        unit = f"lost without it on the test split, {metric}"
        svg = draw_intervals("contribution", known, unit, f"Contribution: {said}")
        yield Picture(
            svg,
            "The selection less the selection without the task, with 95 % intervals. What two tasks do "
            "alike neither seems to contribute: leaving out one, the other stands in.",
        )
    rows = [
        (task, number(gain.mean, "+.4f"), *list_bounds(gain), number(gain.seeds))
        if gain is not None
        else (task, "not measured", "–", "–", number(0))
        for task, gain in contribution.items()
    ]
    yield Table("Contribution on the test split", ("task", "contribution", "from", "to", "seeds"), tuple(rows))
