"""The answer of a study: the selection with its controls and its price, as ``selection.json``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from auxtune.orchestrator.answer.lift import LEVEL, Lift, Pair, mean_lift, no_lift, paired_lift
from auxtune.orchestrator.answer.recommendation import level_of, recommend
from auxtune.orchestrator.answer.resampling import Predictions, load_predictions
from auxtune.orchestrator.answer.served import Served, groups_of, served
from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.planning.arms import SELECTION, WITHOUT, Trainings, same_trainings
from auxtune.orchestrator.planning.budget import HOUR, Price
from auxtune.orchestrator.planning.confirm import Confirmation
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.record.events import PHASES
from auxtune.orchestrator.record.results import attempt_folder
from auxtune.orchestrator.storage.placing import write_whole
from auxtune.orchestrator.typed import typed
from auxtune.selectors.protocol import Kept, Problem
from auxtune.trials.result import Cost

FORMAT = 1


def answer(
    study: str, folder: Path, accounts: Accounts, confirmation: Confirmation, metrics: Mapping[str, str], price: Price
) -> dict[str, Any]:
    """All that ``selection.json`` holds. ``metrics`` are the tasks' main metrics; ``folder`` is the study's."""
    selected = accounts.selected
    if selected is None:
        raise ValueError("the selector has not been asked for its answer yet")
    selection, problem = selected.selection, confirmation.problem
    counting = {task: metrics[task] for task in confirmation.serves}
    arms = confirmation.arms(selection)
    models = {name: [served(accounts, trainings, counting) for trainings in arm] for name, arm in arms.items()}
    lifts = _lifts(folder, arms, models, counting, problem)
    executed = arms[SELECTION][0][0]
    if problem.primary is None:
        weights, groups = None, groups_of(accounts, arms[SELECTION], counting)
    else:
        weights = dict(executed.weights) if executed.weights else None
        groups = [dict(group) for group in selection.groups or ()]
    gains = {name.removeprefix(WITHOUT): lifts.pop(name) for name in list(lifts) if name.startswith(WITHOUT)}
    level = level_of(lifts)
    controls = {name: arm for name, arm in arms.items() if name in lifts or name == SELECTION}
    recommended = recommend(_lifts(folder, controls, models, counting, problem, level), problem.models)
    return {
        "format": FORMAT,
        "study": study,
        "kind": selection.kind,
        "primary": problem.primary,
        "weights": weights,
        "weighting": selection.weighting,
        "groups": groups or None,
        "ranking": [{"task": t, "score": s} for t, s in selection.ranking] if selection.ranking else None,
        "instances": {task: _instances(kept) for task, kept in (selection.instances or {}).items()} or None,
        "models": problem.models,
        "recommended": {**asdict(recommended), "level": level},
        "lift": {name: asdict(lift) if lift else None for name, lift in lifts.items()},
        "report": _report(models[SELECTION], counting),
        "contribution": {task: _contribution(gain) for task, gain in gains.items()} if gains else None,
        "stability": dict(selection.stability) if selection.stability is not None else None,
        "belief": dict(selection.belief),
        "cost": cost_of(accounts, price, time.time()),
    }


def _instances(kept: Kept) -> dict[str, Any]:
    return {"rule": dict(kept.rule), "rows": kept.rows, "kept": kept.kept}


def _contribution(gain: Lift | None) -> dict[str, Any] | None:
    """What the selection has over itself without one auxiliary."""
    return None if gain is None else {key: getattr(gain, key) for key in ("mean", "low", "high", "seeds")}


def cost_of(accounts: Accounts, price: Price, now: float | None) -> dict[str, Any]:
    """What the study took so far: every attempt, in all and by phase.

    ``now``, in seconds since the epoch, is given where a session is alive: its time counts until then.
    """
    every = list(accounts.trials.values())
    up = accounts.node_seconds(now)
    return {
        **_cost(every, price),
        "wall_hours": accounts.elapsed_seconds(now) / HOUR,
        "cluster_usd": price.cluster_usd(up),
        "nodes": None if up is None else {kind: _node_cost(kind, up[kind], price) for kind in sorted(up)},
        "phases": {phase: _cost(accounts.in_phase(phase), price) for phase in PHASES},
        "reused": _cost_of([trial for trial in every if trial.reused], accounts.reused_costs, price),
    }


def write_answer(folder: Path, content: Mapping[str, Any]) -> Path:
    """Write ``selection.json``, whole or not at all, and return its path."""
    path = folder / "selection.json"
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))
    return path


def read_answer(folder: Path) -> Mapping[str, Any] | None:
    """The content of ``selection.json``, ``None`` where there is none. Raises ``AuxtuneError`` where it is damaged."""
    path, again = folder / "selection.json", f"`auxtune resume {typed(folder)}` writes it again"
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise AuxtuneError(f"{path}: expected the answer as JSON, found {error}; {again}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise AuxtuneError(f"{path}: expected an answer of format {FORMAT}, found another; {again}")
    return content


def main_metrics(answer: Mapping[str, Any]) -> dict[str, str]:
    """Each task's main metric by the content of ``selection.json``: what was measured of a task begins with it."""
    return {task: next(iter(metrics)) for task, metrics in answer["report"].items()}


def reported(accounts: Accounts, arm: Sequence[Trainings], metrics: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Each task's metrics on the test split by the models of an ``arm``, averaged over seeds.

    ``metrics`` are the main metrics of the tasks that count.
    """
    return _report([served(accounts, trainings, metrics) for trainings in arm], metrics)


def _cost(trials: Sequence[Trial], price: Price) -> dict[str, Any]:
    trained = [trial for trial in trials if not trial.reused]
    return _cost_of(trained, [cost for trial in trained for cost in trial.costs], price)


def _cost_of(trials: Sequence[Trial], costs: Sequence[Cost], price: Price) -> dict[str, Any]:
    return {
        "trials": len(trials),
        "attempts": sum(len(trial.attempts) for trial in trials),
        "gpu_hours": sum(cost.gpu_seconds for cost in costs) / HOUR,
        "cpu_hours": sum(cost.cpu_seconds for cost in costs) / HOUR,
        "usd": price.total(costs),
    }


def _node_cost(kind: str, seconds: float, price: Price) -> dict[str, Any]:
    return {"hours": seconds / HOUR, "usd": price.node_usd(kind, seconds)}


def _lifts(
    folder: Path,
    arms: Mapping[str, Sequence[Trainings]],
    models: Mapping[str, Sequence[Served]],
    metrics: Mapping[str, str],
    problem: Problem,
    level: float = LEVEL,
) -> dict[str, Lift | None]:
    """The selection's lift over each other arm, with intervals at ``level``."""
    ours = models[SELECTION]
    lifts: dict[str, Lift | None] = {}
    for name, arm in arms.items():
        count = len(arm[0])
        if name == SELECTION:
            continue
        if same_trainings(arms[SELECTION], arm):
            lifts[name] = no_lift(metrics, ours, count, problem.primary)
        else:
            lifts[name] = _lift(folder, ours, models[name], count, metrics, problem, level)
    return lifts


def _lift(
    folder: Path,
    ours: Sequence[Served],
    theirs: Sequence[Served],
    models: int,
    metrics: Mapping[str, str],
    problem: Problem,
    level: float,
) -> Lift | None:
    """The lift over an arm of so many ``models``, from who serves each task with each seed."""
    pairs: list[dict[str, Pair]] = [
        {task: (_predictions(folder, a[task], task), _predictions(folder, b[task], task)) for task in a if task in b}
        for a, b in zip(ours, theirs, strict=True)
    ]
    if problem.primary is None:
        return mean_lift(metrics, pairs, models, problem.seed, level)
    both = [pair[problem.primary] for pair in pairs if pair]
    return paired_lift(metrics[problem.primary], [a for a, _ in both], [b for _, b in both], problem.seed, level)


def _predictions(folder: Path, trial: Trial, task: str) -> Predictions:
    return load_predictions(attempt_folder(folder, trial.id, len(trial.attempts)) / "predictions.npz", task)


def _report(ours: Sequence[Served], tasks: Iterable[str]) -> dict[str, dict[str, float]]:
    """Each task's metrics on the test split by the model that serves it, averaged over seeds."""
    report = {}
    for task in tasks:
        told = [one[task].told for one in ours if task in one]
        reports = [one.test[task] for one in told if one is not None]
        if reports:
            report[task] = {metric: float(np.mean([each[metric] for each in reports])) for metric in reports[0]}
    return report
