"""Every trial's quality against what it cost, with the front of those that nothing cheaper reaches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from auxtune.orchestrator.planning.arms import SELECTION, WITHOUT
from auxtune.orchestrator.record.accounts import Trial
from auxtune.orchestrator.record.scores import show_score, show_value
from auxtune.orchestrator.report.blocks import Block, Paragraph, Picture, Section, Table, number
from auxtune.orchestrator.report.material import Material
from auxtune.orchestrator.report.scatter import Point, front, scatter
from auxtune.trials.recipe import SearchScore

_UNITS = ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))


def trials_section(material: Material) -> Section:
    """With a primary all trials that are scored on it; for groups, whose scores do not compare, the arms of confirm."""
    blocks = _of_groups(material) if material.problem.primary is None else _of_primary(material)
    return Section("trials", "Quality against cost", tuple(blocks))


def _of_primary(material: Material) -> Iterator[Block]:
    primary = material.problem.primary
    trials = [
        trial
        for trial in material.accounts.trials.values()
        if trial.score is not None and primary in trial.proposal.tasks and trial.costs and not trial.reused
    ]
    if not trials:
        yield Paragraph(f"No trial has been scored on {primary} yet.", "note")
        return
    device, unit, size = _unit(trials)
    search_score = material.accounts.search_score
    arm_of = {trial.id: _arm(name) for name, seeds in material.arms.items() for each in seeds for trial in each}
    series: dict[str, list[Point]] = {}
    at: dict[Point, Trial] = {}
    for trial in trials:
        name = arm_of.get(trial.id, "confirm") if trial.phase == "confirm" else _stage(trial)
        point = Point(_seconds(trial, device) / size, show_score(trial, search_score) or 0.0)
        series.setdefault(name, []).append(point)
        at.setdefault(point, trial)
    up, across = f"{material.scored} of {primary}, validation split", f"{device} {unit} of a trial, all its attempts"
    best = [at[point] for point in front(list(at), material.sign)]
    highest = material.sign * max(trial.score or 0.0 for trial in trials)
    said = f"{len(trials)} trials; the best scored {show_value(highest, search_score)}"
    yield Picture(
        scatter("trials", series, across, up, f"Quality against cost of {said}", material.sign),
        f"The score of {said} on the validation split, which the search looks at: compare arms by the lift above, not "
        "by this. The front joins what nothing cheaper reaches. Runs that are steered inside, and parts of a longer "
        "run, last as long as the selector says, all others as many steps as each other.",
    )
    costs = [_seconds(trial, device) / size for trial in best]
    yield _front_table(material, best, costs, f"{device} {unit}")


def _front_table(material: Material, best: Sequence[Trial], costs: Sequence[float], unit: str) -> Table:
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


def _of_groups(material: Material) -> Iterator[Block]:
    lifts = {} if material.answer is None else material.answer.measured_lifts
    known = {control: lift for control, lift in lifts.items() if material.arms.get(control)}
    if not known:
        yield Paragraph(
            "Scores of trials of other tasks do not compare: what does are the arms of confirm, once they are trained.",
            "note",
        )
        return
    trials = [t for name in (SELECTION, *known) for seed in material.arms[name] for t in seed if t.costs]
    device, unit, size = _unit(trials)
    costs = {name: _of_a_seed(material.arms[name], device) / size for name in (SELECTION, *known)}
    series = {SELECTION: [Point(costs[SELECTION], 0.0)]}
    for control, lift in known.items():
        low, high = (None, None) if lift.low is None or lift.high is None else (-lift.high, -lift.low)
        series[control] = [Point(costs[control], -lift.mean, low, high)]
    said = "; ".join(f"{name} {each[0].quality:+.4f}" for name, each in series.items())
    across = f"{device} {unit} to train all models of an arm once"
    up = "mean over tasks on the test split,\nless that of the selection"
    yield Picture(
        scatter("trials", series, across, up, f"Quality of each arm less that of the selection: {said}"),
        "Each arm of confirm against the selection, which lies at 0; the vertical lines are the 95 % intervals of the "
        "lifts above. Scores of the trials themselves do not compare, being of other tasks.",
    )


def _unit(trials: Sequence[Trial]) -> tuple[str, str, float]:
    """What the cost of ``trials`` is told in: the device that is dear, and a unit of time with its seconds."""
    device = "GPU" if any(cost.gpu_seconds for trial in trials for cost in trial.costs) else "CPU"
    most = max(_seconds(trial, device) for trial in trials)
    size, unit = next(((s, name) for s, name in _UNITS if most >= s), _UNITS[-1])
    return device, unit, size


def _seconds(trial: Trial, device: str) -> float:
    return sum(cost.gpu_seconds if device == "GPU" else cost.cpu_seconds for cost in trial.costs)


def _of_a_seed(arm: Sequence[Sequence[Trial]], device: str) -> float:
    """What an arm takes with one seed, on average."""
    return fmean(sum(_seconds(trial, device) for trial in trials) for trials in arm)


def _arm(name: str) -> str:
    return "without one" if name.startswith(WITHOUT) else f"confirm: {name}"


def _stage(trial: Trial) -> str:
    """What a search trial is called: the stages of a method apart, its searches together."""
    parts = [part for part in trial.proposal.stage.split(".") if part and not part.startswith("search")]
    return ": ".join([trial.phase, *(part.replace("_", " ") for part in parts)])


def mean_scores(trials: Sequence[Trial], search_score: SearchScore) -> Mapping[str, float]:
    """Task -> the mean score, as measured, of the scored ``trials`` that train it."""
    scores: dict[str, list[float]] = defaultdict(list)
    for trial in trials:
        for task in trial.proposal.tasks if trial.score is not None else ():
            scores[task].append(show_score(trial, search_score) or 0.0)
    return {task: fmean(each) for task, each in scores.items()}
