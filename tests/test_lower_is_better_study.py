"""A study whose metric is an error, with one of another package beside it: searched downwards, told as it is."""

from __future__ import annotations

import json

import mlflow
import numpy as np
import pytest
from other_metrics import write_package
from small_study import StudyRun, write_task

from auxtune.orchestrator.answer.lift import load_predictions
from auxtune.orchestrator.record.results import locate_attempt

pytestmark = pytest.mark.slow

STUDY = """\
study: small
primary: moods
tasks:
  moods: {path: tasks/moods, rows: 80, metric: "neg_log_loss, accuracy, cost_of_errors"}
  echoes: {path: tasks/echoes}
model: {name: tiny, max_length: 16, pooling: mean}
training: {steps: 160, batch_size: 16, learning_rate: 5.0e-3, evaluate_every: 20}
selector: {name: random_subset, size: 1, trials: 2}
confirm: {seeds: 2, controls: [single_task]}
budget: {trials: 10}
resources: {cpus: 1, gpus: 0, concurrent: 1}
tracking: {uri: "sqlite:///mlflow.db", experiment: small}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    """Eighty rows that a small encoder learns by heart, and nine hundred of the same rule beside them."""
    home = tmp_path_factory.mktemp("lower")
    for name, seed in (("moods", 2), ("echoes", 4)):
        write_task(home / "tasks" / name, seed)
    write_package(home / "packages")
    (home / "study.yaml").write_text(STUDY)
    return StudyRun(home)


def test_an_error_is_searched_downwards_and_shown_as_it_is(run: StudyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(run.home / "packages"))
    shown = run.finish()
    trials = list(run.accounts.trials.values())
    for trial in trials:
        assert trial.told is not None and trial.score is not None
        attempt = locate_attempt(run.folder, trial.id, len(trial.attempts))
        lines = [json.loads(line) for line in (attempt / "metrics.jsonl").read_text().splitlines()]
        losses = [line["validation"]["moods"]["log_loss"] for line in lines]
        assert [line["score"] for line in lines] == [-loss for loss in losses]
        # The weights of the lowest loss count, which is not that of the last step: the rows are learned by heart.
        assert trial.score == -min(losses) and trial.told.outcome.metrics["moods"]["log_loss"] == min(losses)
    assert any(trial.told.outcome.metrics["moods"]["log_loss"] < losses[-1] for trial in trials if trial.told)
    best = run.accounts.best
    assert best is not None and best.score is not None
    assert best.score == max(trial.score for trial in run.accounts.in_phase("search") if trial.score is not None)
    answer = json.loads((run.folder / "selection.json").read_text())
    lift, report = answer["lift"]["single_task"], answer["report"]["moods"]
    assert list(report) == ["log_loss", "accuracy", "cost_of_errors"] and report["log_loss"] > 0
    # Many rows of the same rule lower the loss, and a lower loss is a positive lift.
    assert lift["metric"] == "log_loss" and lift["mean"] > 0
    assert lift["mean"] == pytest.approx(np.mean(losses_of(run, "single_task")) - np.mean(losses_of(run, "selection")))
    assert f"log_loss {report['log_loss']:.4f}" in shown
    told_best = run.finish("status", str(run.folder))
    assert f"best so far: {-best.score:.4f} by trial" in told_best
    assert f"score {-best.score:.4f} on the validation split" in run.finish("show", str(run.folder), str(best.id))


def losses_of(run: StudyRun, arm: str) -> list[float]:
    """The arm's losses on the test split, by seed, from its predictions."""
    is_alone = arm == "single_task"
    trials = [trial for trial in run.accounts.in_phase("confirm") if (len(trial.proposal.tasks) == 1) == is_alone]
    assert len(trials) == 2
    return [
        load_predictions(locate_attempt(run.folder, trial.id, len(trial.attempts)) / "predictions.npz", "moods").metric(
            "log_loss"
        )
        for trial in trials
    ]


def test_the_page_and_mlflow_show_it_as_it_is(run: StudyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(run.home / "packages"))
    best = run.accounts.best
    assert best is not None and best.score is not None
    run.finish("report", str(run.folder))
    page = (run.folder / "report.html").read_text()
    highest = max(trial.score for trial in run.accounts.trials.values() if trial.score is not None)
    assert f"the best scored {-highest:.4f}" in page
    client = mlflow.MlflowClient(f"sqlite:///{run.home / 'mlflow.db'}")
    [child] = client.search_runs(
        [client.get_experiment_by_name("small").experiment_id], f"tags.`auxtune.proposal_id` = '{best.id}'"
    )
    history = client.get_metric_history(child.info.run_id, "validation/moods/log_loss")
    assert min(point.value for point in history) == pytest.approx(-best.score)
    assert child.data.metrics["score"] == pytest.approx(best.score)
