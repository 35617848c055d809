"""Which of an arm's models serves a task: the one that does best on it on the validation split.

With a primary an arm has one model, which serves it. For groups, each seed of each arm chooses by that seed's own
selection scores, as anyone who trains these models once would have to. So every arm chooses by the same rule, and none
has seen the test split. Only what the answer says of the selection's own groups rests on all seeds (``form_groups``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TypeAlias

from auxtune.orchestrator.answer.answer import Group
from auxtune.orchestrator.planning.arms import Trainings
from auxtune.orchestrator.planning.confirm import Confirmation
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.trials.metrics import find_direction

ServingTrials: TypeAlias = Mapping[str, Trial]  # task -> the trial whose model serves it


def assign_tasks(accounts: Accounts, trainings: Trainings, metrics: Mapping[str, str]) -> ServingTrials:
    """The trial that serves each task of ``metrics`` (task -> main metric) with one seed; of equals the first.

    A task is absent where no finished training has it.
    """
    found: dict[str, Trial] = {}
    for task, metric in metrics.items():
        able = [(score, trial) for trial, score in _list_scores(accounts, trainings, task, metric)]
        if able:
            found[task] = max(able, key=lambda one: one[0])[1]
    return found


def form_groups(accounts: Accounts, arm: Sequence[Trainings], metrics: Mapping[str, str]) -> tuple[Group, ...]:
    """The arm's groups: a task is served by the one that is best for it on average over seeds.

    A group whose tasks all do better elsewhere serves none. Where no seed says anything of a task, the first group
    that has it serves it.
    """
    columns = list(zip(*arm, strict=True))  # a group each, over the seeds
    serves: dict[str, int] = {}
    for task, metric in metrics.items():
        means: dict[int, float] = {}
        for number, group in enumerate(columns):
            if task in group[0].tasks:
                scores = [score for _, score in _list_scores(accounts, group, task, metric)]
                means[number] = fmean(scores) if scores else float("-inf")
        serves[task] = max(means, key=lambda number: means[number])
    return tuple(
        Group(tuple(group[0].tasks), tuple(task for task, chosen in serves.items() if chosen == number))
        for number, group in enumerate(columns)
    )


def _list_scores(accounts: Accounts, trainings: Trainings, task: str, metric: str) -> list[tuple[Trial, float]]:
    """The finished ones of ``trainings`` that have ``task``, and their scores on its validation split."""
    trials = [Confirmation.find(accounts, proposal) for proposal in trainings if task in proposal.tasks]
    return [
        (trial, find_direction(metric) * trial.told.outcome.metrics[task][metric])
        for trial in trials
        if trial is not None and trial.told is not None and trial.status == "finished"
    ]
