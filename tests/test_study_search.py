"""Whole searches under a real Ray, killed once each: stages and several seeds, pulls side by side, early stopping."""

from __future__ import annotations

import json
from itertools import combinations

import pytest
from mlflow.tracking import MlflowClient
from small_study import StudyRun, kill

from auxtune.orchestrator.answer.cost import measure_concurrency

pytestmark = pytest.mark.slow


def killed_and_continued(small: StudyRun, told: int, *overrides: str) -> None:
    """Run it, SIGKILL the driver once ``told`` trials have ended and another runs, and run it to its end."""
    settings = [word for override in overrides for word in ("--set", override)]
    process = small.start("run", "study.yaml", *settings)

    def far_enough() -> bool:
        return small.told >= told and any(trial.status == "running" for trial in small.accounts.trials.values())

    small.wait_for(far_enough, process)
    kill(process)
    assert "verified" in small.finish("status", str(small.folder), "--verify")
    small.finish("run", "study.yaml", *settings)
    assert "verified" in small.finish("status", str(small.folder), "--verify")


def test_autosem_over_two_seeds_with_what_each_task_contributes(small: StudyRun) -> None:
    killed_and_continued(
        small,
        5,
        "selector={name: autosem, rounds: 6, round_steps: 4, seeds: 1, samples: 3}",
        "search_seeds=2",
        "confirm.leave_one_out=true",
        "budget.trials=20",
        "resources.concurrent=2",
    )
    answer = json.loads((small.folder / "selection.json").read_text())
    auxiliaries = {"echoes", "noises"}
    assert set(answer["stability"]) == {"moods", *auxiliaries} and answer["stability"]["moods"] == 1
    assert set(answer["stability"].values()) <= {0.5, 1.0}  # of two searches, either may leave a task out
    assert set(answer["contribution"]) <= auxiliaries
    assert all(gain["seeds"] == 1 and gain["low"] is None for gain in answer["contribution"].values())
    assert sum(answer["weights"].values()) == pytest.approx(1)
    stages = [trial.proposal.stage for trial in small.accounts.in_phase("search")]
    assert {stage: stages.count(stage) for stage in stages} == {
        f"search{search}.{stage}": trials for search in (0, 1) for stage, trials in (("thompson", 1), ("gp_mixing", 3))
    }
    client = MlflowClient(f"sqlite:///{small.home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("auxtune")
    assert experiment is not None
    tags = [run.data.tags for run in client.search_runs([experiment.experiment_id])]
    assert {tag["auxtune.stage"] for tag in tags if tag.get("auxtune.phase") == "search"} == set(stages)


def test_pulls_run_at_the_same_time_and_survive_a_kill(small: StudyRun) -> None:
    killed_and_continued(
        small,
        4,
        "selector={name: thompson, mode: trials, rounds: 9, round_steps: 60}",
        "budget.trials=20",
        "resources.concurrent=2",
    )
    pulls = small.accounts.in_phase("search")
    assert len(pulls) == 9 and all(trial.status == "finished" for trial in pulls)
    spans = [
        (attempt.started, attempt.started + attempt.cost.wall_seconds)
        for trial in pulls
        for attempt in trial.attempts
        if attempt.cost
    ]
    assert any(a[0] < b[1] and b[0] < a[1] for a, b in combinations(spans, 2))
    measured = measure_concurrency(small.accounts)
    assert measured is not None and measured.peak == 2
    assert len(list(small.folder.glob("trials/*/*/weights"))) == 1  # the last incumbent's


def test_early_stopping_survives_a_kill_and_never_gives_a_score(small: StudyRun) -> None:
    killed_and_continued(
        small,
        2,
        "selector={name: random_subset}",
        "training.early_stopping=asha",
        "training.evaluate_every=5",
    )
    search = small.accounts.in_phase("search")
    assert {trial.status for trial in search} <= {"finished", "stopped"}
    assert all(trial.score is None for trial in search if trial.status == "stopped")
    assert {event.id for event in small.accounts.judged} == {trial.id for trial in search}
    assert all(trial.status == "finished" for trial in small.accounts.in_phase("confirm"))


def test_a_regression_over_mixtures_comes_to_the_same_decision_after_a_kill(small: StudyRun) -> None:
    killed_and_continued(
        small,
        10,
        "selector={name: mixture_regression, samples: 10, verify: 2, rounds: 1}",
        "budget.trials=20",
        "resources.concurrent=2",
    )
    answer = json.loads((small.folder / "selection.json").read_text())
    assert answer["kind"] == "mixture" and sum(answer["weights"].values()) == pytest.approx(1)
    assert answer["weights"]["moods"] > 0
    trials = small.accounts.in_phase("search")
    chosen = trials[10].proposal.notes["round"]  # two if the regression showed skill by then, else equal shares
    assert len(chosen) in (1, 2)
    assert [trial.proposal.stage for trial in trials] == ["sample"] * 10 + ["verify"] * len(chosen)
    assert set(answer["belief"]["alone"]) == {"log_linear", "linear", "trees", "process"}
