"""Makes a study's answer from its accounts: who serves what, the lifts over the controls, what to recommend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from auxtune.orchestrator.answer.answer import Answer, Contribution, KeptRows, RankedTask, list_groups
from auxtune.orchestrator.answer.cost import sum_cost
from auxtune.orchestrator.answer.lift import (
    LEVEL,
    Lift,
    Pair,
    declare_no_lift,
    estimate_mean_lift,
    estimate_paired_lift,
    load_predictions,
)
from auxtune.orchestrator.answer.recommendation import correct_level, recommend
from auxtune.orchestrator.answer.serving import ServingTrials, assign_tasks, form_groups
from auxtune.orchestrator.planning.arms import SELECTION, WITHOUT, Trainings, is_same_arm
from auxtune.orchestrator.planning.budget import Price
from auxtune.orchestrator.planning.confirm import Confirmation
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.record.events import read_time
from auxtune.orchestrator.record.results import locate_attempt
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.selectors.protocol import Problem, Selection
from auxtune.trials.metrics import Predictions


def build_answer(
    study: str,
    folder: StoredPath,
    accounts: Accounts,
    confirmation: Confirmation,
    metrics: Mapping[str, str],
    price: Price,
) -> Answer:
    """The answer of a confirmed study. ``metrics`` are the tasks' main metrics; ``folder`` is the study's."""
    if accounts.selected is None:
        raise ValueError("the selector has not been asked for its answer yet")
    selection, problem = accounts.selected.selection, confirmation.problem
    counting = {task: metrics[task] for task in confirmation.serves}
    arms = confirmation.arms(selection)
    models = {name: [assign_tasks(accounts, trainings, counting) for trainings in arm] for name, arm in arms.items()}
    lifts = _estimate_lifts(folder, arms, models, counting, problem)
    gains = {name.removeprefix(WITHOUT): lifts.pop(name) for name in list(lifts) if name.startswith(WITHOUT)}
    controls = {name: arm for name, arm in arms.items() if name in lifts or name == SELECTION}
    level = correct_level(lifts)
    recommended = recommend(_estimate_lifts(folder, controls, models, counting, problem, level), problem.models)
    executed, is_grouped = arms[SELECTION][0][0], problem.primary is None
    return Answer(
        study=study,
        kind=selection.kind,
        primary=problem.primary,
        weights=dict(executed.weights) if executed.weights and not is_grouped else None,
        weighting=selection.weighting,
        groups=(form_groups(accounts, arms[SELECTION], counting) if is_grouped else list_groups(selection)) or None,
        ranking=tuple(RankedTask(task, score) for task, score in selection.ranking or ()) or None,
        instances=_list_kept_rows(selection) or None,
        models=problem.models,
        recommended=replace(recommended, level=level),
        lift=lifts,
        report=_average_scores(models[SELECTION], counting),
        contribution={task: None if gain is None else _convert_gain(gain) for task, gain in gains.items()} or None,
        stability=dict(selection.stability) if selection.stability is not None else None,
        belief=dict(selection.belief),
        cost=sum_cost(accounts, price, read_time()),
    )


def average_test_scores(
    accounts: Accounts, arm: Sequence[Trainings], metrics: Mapping[str, str]
) -> dict[str, dict[str, float]]:
    """Each task's metrics on the test split by the models of an ``arm``, averaged over seeds.

    ``metrics`` are the main metrics of the tasks that count.
    """
    return _average_scores([assign_tasks(accounts, trainings, metrics) for trainings in arm], metrics)


def _list_kept_rows(selection: Selection) -> dict[str, KeptRows]:
    """Task -> the rows it keeps, of the tasks that do not keep all."""
    instances = selection.instances or {}
    return {task: KeptRows(dict(kept.rule), kept.rows, kept.kept) for task, kept in instances.items()}


def _convert_gain(gain: Lift) -> Contribution:
    return Contribution(gain.mean, gain.low, gain.high, gain.seeds)


def _estimate_lifts(
    folder: StoredPath,
    arms: Mapping[str, Sequence[Trainings]],
    models: Mapping[str, Sequence[ServingTrials]],
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
        if is_same_arm(arms[SELECTION], arm):
            lifts[name] = declare_no_lift(metrics, ours, count, problem.primary)
        else:
            lifts[name] = _estimate_lift(folder, ours, models[name], count, metrics, problem, level)
    return lifts


def _estimate_lift(
    folder: StoredPath,
    ours: Sequence[ServingTrials],
    theirs: Sequence[ServingTrials],
    models: int,
    metrics: Mapping[str, str],
    problem: Problem,
    level: float,
) -> Lift | None:
    """The lift over an arm of so many ``models``, from who serves each task with each seed."""
    pairs: list[dict[str, Pair]] = [
        {
            task: (_load_predictions(folder, a[task], task), _load_predictions(folder, b[task], task))
            for task in a
            if task in b
        }
        for a, b in zip(ours, theirs, strict=True)
    ]
    if problem.primary is None:
        return estimate_mean_lift(metrics, pairs, models, problem.seed, level)
    both = [pair[problem.primary] for pair in pairs if pair]
    return estimate_paired_lift(
        metrics[problem.primary], [a for a, _ in both], [b for _, b in both], problem.seed, level
    )


def _load_predictions(folder: StoredPath, trial: Trial, task: str) -> Predictions:
    return load_predictions(locate_attempt(folder, trial.id, len(trial.attempts)) / "predictions.npz", task)


def _average_scores(ours: Sequence[ServingTrials], tasks: Iterable[str]) -> dict[str, dict[str, float]]:
    """Each task's metrics on the test split by the model that serves it, averaged over seeds."""
    means = {}
    for task in tasks:
        told = [one[task].told for one in ours if task in one]
        reports = [one.test[task] for one in told if one is not None]
        if reports:
            means[task] = {metric: float(np.mean([each[metric] for each in reports])) for metric in reports[0]}
    return means
