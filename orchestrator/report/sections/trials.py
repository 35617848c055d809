"""The trials: each one's quality against its cost, and each task's part in them and in the answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from auxtune.orchestrator.answer.answer import Answer, Group, list_groups
from auxtune.orchestrator.planning.arms import SELECTION, WITHOUT
from auxtune.orchestrator.record.accounts import Trial
from auxtune.orchestrator.record.scores import show_score, show_value
from auxtune.orchestrator.report.blocks import Block, Cell, Paragraph, Picture, Section, Table, number
from auxtune.orchestrator.report.charts import Point, draw_scatter, find_front
from auxtune.orchestrator.report.material import Material
from auxtune.selectors.protocol import Selection, TaskInfo
from auxtune.trials.data import SPLITS
from auxtune.trials.recipe import SearchScore

_UNITS = ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))


def build_trials_section(material: Material) -> Section:
    """With a primary, all trials scored on it; for groups, whose scores do not compare, the arms of confirm."""
    blocks = _list_group_blocks(material) if material.problem.primary is None else _list_primary_blocks(material)
    return Section("trials", "Quality against cost", tuple(blocks))


def _list_primary_blocks(material: Material) -> Iterator[Block]:
    primary = material.problem.primary
    trials = [
        trial
        for trial in material.accounts.trials.values()
        if trial.score is not None and primary in trial.proposal.tasks and trial.costs and not trial.reused
    ]
    if not trials:
        yield Paragraph(f"No trial has been scored on {primary} yet.", "note")
        return
    device, unit, size = _choose_unit(trials)
    search_score = material.accounts.search_score
    arm_of = {trial.id: _name_arm(name) for name, seeds in material.arms.items() for each in seeds for trial in each}
    series: dict[str, list[Point]] = {}
    at: dict[Point, Trial] = {}
    for trial in trials:
        name = arm_of.get(trial.id, "confirm") if trial.phase == "confirm" else _name_stage(trial)
        point = Point(_count_seconds(trial, device) / size, show_score(trial, search_score) or 0.0)
        series.setdefault(name, []).append(point)
        at.setdefault(point, trial)
    up, across = f"{material.scored} of {primary}, validation split", f"{device} {unit} of a trial, all its attempts"
    best = [at[point] for point in find_front(list(at), material.sign)]
    highest = material.sign * max(trial.score or 0.0 for trial in trials)
    said = f"{len(trials)} trials; the best scored {show_value(highest, search_score)}"
    yield Picture(
        draw_scatter("trials", series, across, up, f"Quality against cost of {said}", material.sign),
        f"The score of {said} on the validation split, which the search looks at: compare arms by the lift above, not "
        "by this. The front joins what nothing cheaper reaches. Runs that are steered inside, and parts of a longer "
        "run, last as long as the selector says, all others as many steps as each other.",
    )
    costs = [_count_seconds(trial, device) / size for trial in best]
    yield _list_front(material, best, costs, f"{device} {unit}")


def _list_front(material: Material, best: Sequence[Trial], costs: Sequence[float], unit: str) -> Table:
    """The trials that nothing cheaper reaches, with what each took in ``unit``."""
    rows = [
        (
            f"{trial.id:04d}",
            trial.phase,
            " + ".join(trial.proposal.tasks),
            number(show_score(trial, material.accounts.search_score), ".4f"),
            number(cost, ".3g"),
        )
        for trial, cost in zip(best, costs, strict=True)
    ]
    return Table("On the front", ("trial", "phase", "tasks", material.scored, unit), tuple(rows))


def _list_group_blocks(material: Material) -> Iterator[Block]:
    lifts = {} if material.answer is None else material.answer.measured_lifts
    known = {control: lift for control, lift in lifts.items() if material.arms.get(control)}
    if not known:
        yield Paragraph(
            "Scores of trials of other tasks do not compare: what does are the arms of confirm, once they are trained.",
            "note",
        )
        return
    trials = [t for name in (SELECTION, *known) for seed in material.arms[name] for t in seed if t.costs]
    device, unit, size = _choose_unit(trials)
    costs = {name: _average_cost(material.arms[name], device) / size for name in (SELECTION, *known)}
    series = {SELECTION: [Point(costs[SELECTION], 0.0)]}
    for control, lift in known.items():
        low, high = (None, None) if lift.low is None or lift.high is None else (-lift.high, -lift.low)
        series[control] = [Point(costs[control], -lift.mean, low, high)]
    said = "; ".join(f"{name} {each[0].quality:+.4f}" for name, each in series.items())
    across = f"{device} {unit} to train all models of an arm once"
    up = "mean over tasks on the test split,\nless that of the selection"
    yield Picture(
        draw_scatter("trials", series, across, up, f"Quality of each arm less that of the selection: {said}"),
        "Each arm of confirm against the selection, which lies at 0; the vertical lines are the 95 % intervals of the "
        "lifts above. Scores of the trials themselves do not compare, being of other tasks.",
    )


def _choose_unit(trials: Sequence[Trial]) -> tuple[str, str, float]:
    """The device and unit for the cost of ``trials``: the device that is dear, and a unit of time with its seconds."""
    device = "GPU" if any(cost.gpu_seconds for trial in trials for cost in trial.costs) else "CPU"
    most = max(_count_seconds(trial, device) for trial in trials)
    size, unit = next(((s, name) for s, name in _UNITS if most >= s), _UNITS[-1])
    return device, unit, size


def _count_seconds(trial: Trial, device: str) -> float:
    return sum(cost.gpu_seconds if device == "GPU" else cost.cpu_seconds for cost in trial.costs)


def _average_cost(arm: Sequence[Sequence[Trial]], device: str) -> float:
    """The cost of an arm with one seed, on average."""
    return fmean(sum(_count_seconds(trial, device) for trial in trials) for trials in arm)


def _name_arm(name: str) -> str:
    return "without one" if name.startswith(WITHOUT) else f"confirm: {name}"


def _name_stage(trial: Trial) -> str:
    """The name of a search trial's series: the stages of a method apart, its searches together."""
    parts = [part for part in trial.proposal.stage.split(".") if part and not part.startswith("search")]
    return ": ".join([trial.phase, *(part.replace("_", " ") for part in parts)])


def average_scores(trials: Sequence[Trial], search_score: SearchScore) -> Mapping[str, float]:
    """Task -> the mean score, as measured, of the scored ``trials`` that train it."""
    scores: dict[str, list[float]] = defaultdict(list)
    for trial in trials:
        for task in trial.proposal.tasks if trial.score is not None else ():
            scores[task].append(show_score(trial, search_score) or 0.0)
    return {task: fmean(each) for task, each in scores.items()}


def build_tasks_section(material: Material) -> Section:
    """All tasks of the study, the primary first."""
    problem, primary = material.problem, material.problem.primary
    search_score = material.accounts.search_score
    told = [trial for trial in material.accounts.of_selector if trial.told is not None]
    scored = [trial for trial in told if primary in trial.proposal.tasks]
    means = average_scores(scored, search_score) if primary else {}
    tasks = sorted(problem.tasks, key=lambda task: task.name != primary)
    part = ["chosen"] if primary else ["trained in model", "served by"]
    columns = ["task", "kind", "train", "probe", "validation", *part, "trials", *(["mean"] if primary else [])]
    rows = []
    for task in tasks:
        trained = sum(task.name in trial.proposal.tasks for trial in told)
        mean = [number(means[task.name], ".4f") if task.name in means else "–"] if primary else []
        rows.append((*_list_facts(task), *_describe_part(task.name, material), number(trained), *mean))
    note = "Rows are those left in each split after `rows` and leaks. Trials are the selector's that train the task."
    if primary:
        note += (
            f" Their mean is of {material.scored} on {primary}, validation split: no effect of the task, since the "
            "search picks what to try."
        )
    table = Table("Rows, part in the answer, and what the search saw", tuple(columns), tuple(rows))
    return Section("tasks", "Task by task", (table, *_list_origins(material), Paragraph(note, "note")))


def _list_origins(material: Material) -> Iterator[Block]:
    """Which file became which split; a session of an earlier version did not record it."""
    splits = material.accounts.sessions[-1].opened.splits
    if splits:
        _, *held_out = SPLITS
        rows = tuple((task, *(origins[part] for part in held_out)) for task, origins in splits.items())
        yield Table("Where the splits come from", ("task", *held_out), rows)


def _list_facts(task: TaskInfo) -> tuple[Cell, ...]:
    """Rows that an older version did not record are unknown."""
    recorded = task.probe_rows or task.validation_rows
    return (
        task.name,
        task.kind,
        number(task.train_rows, ","),
        number(task.probe_rows if recorded else None, ","),
        number(task.validation_rows if recorded else None, ","),
    )


def _describe_part(task: str, material: Material) -> tuple[str, ...]:
    """The task's part in the answer: whether it was chosen, or the models that train it and the one that serves it."""
    primary, answer, leaning = material.problem.primary, material.answer, material.leaning
    if primary is None:
        groups = _list_groups(answer, leaning)
        trained = [str(place) for place, group in enumerate(groups, start=1) if task in group.tasks]
        serves = [str(place) for place, group in enumerate(groups, start=1) if task in group.serves]
        return ", ".join(trained) or "–", ", ".join(serves) or "–"
    if task == primary:
        return ("primary",)
    if answer is not None:
        return ("yes" if task in (answer.weights or {}) else "–",)
    return ("leans to it" if isinstance(leaning, Selection) and task in leaning.tasks else "–",)


def _list_groups(answer: Answer | None, leaning: object) -> Sequence[Group]:
    if answer is not None:
        return answer.groups or ()
    return list_groups(leaning) if isinstance(leaning, Selection) else ()
