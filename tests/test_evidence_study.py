"""Evidence in real studies, with Ray and MLflow: measured once, killed in between, told at once to the next study."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from small_study import STUDY, StudyRun, kill

from auxtune.orchestrator.record.accounts import read_accounts
from auxtune.orchestrator.record.events import Remeasured

pytestmark = pytest.mark.slow

MEASURING = ("--set", "selector={name: gradts_threshold, threshold: -1.0}", "--set", "confirm.controls=[]")


def test_a_study_that_was_killed_and_the_next_one_measure_everything_once(small: StudyRun) -> None:
    process = small.start("run", "study.yaml", *MEASURING)
    small.wait_for(lambda: small.told >= 1, process)
    kill(process)
    before = small.told
    assert 1 <= before < 3, "killed in the middle of measuring"
    small.finish("run", "study.yaml", *MEASURING)
    assert "verified" in small.finish("status", str(small.folder), "--verify")
    first = small.accounts.in_phase("measure")
    assert [trial.proposal.tasks for trial in first] == [("moods",), ("echoes",), ("noises",)]

    (small.home / "next.yaml").write_text(STUDY.replace("study: small", "study: next"))
    said = small.finish("run", "next.yaml", *MEASURING)
    assert said.count("was measured before, by small, trial") == 3
    assert "evidence of 3 more was there already" in said
    after = read_accounts(small.home / "studies" / "next")
    assert [trial.status for trial in after.in_phase("measure")] == ["reused"] * 3
    assert [trial.score for trial in after.in_phase("measure")] == [trial.score for trial in first]
    assert after.trained == len(after.in_phase("confirm")) == 1
    check_runs(small.home)
    evidence = small.home / "studies" / ".evidence"
    kept = sorted(path.name for path in evidence.iterdir())
    assert "nothing to delete" not in small.finish("clean", str(small.folder), "--yes")
    assert sorted(path.name for path in evidence.iterdir()) == kept, "both studies name it"


def test_what_is_gone_and_what_is_damaged_is_measured_again_and_charged(small: StudyRun) -> None:
    process = small.start("run", "study.yaml", *MEASURING)
    small.wait_for(lambda: small.told >= 2, process)
    kill(process)
    evidence = small.home / "studies" / ".evidence"
    told = [trial.told for trial in small.accounts.in_phase("measure")[:2]]
    gone, damaged = [key for each in told if each is not None for key in each.outcome.evidence.values()]
    shutil.rmtree(evidence / gone)
    (evidence / damaged / "arrays.npz").write_bytes(pickle.dumps([1, 2]))
    said = small.finish("run", "study.yaml", *MEASURING)
    assert said.count("measured again what was gone or damaged of its evidence") == 2
    again = [event for event in small.events if isinstance(event, Remeasured)]
    assert [each.arrays for each in again] == [each.arrays for each in told if each is not None], (
        "they are as they were"
    )
    assert len(list(evidence.glob(f".damaged.{damaged}.*"))) == 1
    checked = small.finish("status", str(small.folder), "--verify")
    assert "verified" in checked and "not asked again" not in checked and "result is gone" not in checked
    client = MlflowClient(f"sqlite:///{small.home / 'mlflow.db'}")
    for event in again:
        trial = small.accounts.trials[event.id]
        run = client.get_run(str(trial.run_id))
        assert run.data.tags["auxtune.attempts"] == "2" and event.cost.wall_seconds > 0
        assert run.data.metrics["cost/wall_seconds"] == pytest.approx(sum(cost.wall_seconds for cost in trial.costs))


def test_groups_by_output_gradients_are_estimated_again_without_training(small: StudyRun) -> None:
    asked = ("primary=", "objective=groups", "models=2", "confirm.controls=[]")
    settings = [word for one in asked for word in ("--set", one)]
    selector = "selector={{name: grad_tag, rows: 40, projection: 30, finaliser: {}}}"
    small.finish("run", "study.yaml", *settings, "--set", selector.format("clusters"))
    assert "verified" in small.finish("status", str(small.folder), "--verify")
    [joint] = small.accounts.in_phase("measure")
    assert joint.proposal.tasks == ("moods", "echoes", "noises")
    content = json.loads((small.folder / "selection.json").read_text())
    assert sorted(task for group in content["groups"] for task in group["serves"]) == ["echoes", "moods", "noises"]
    belief = content["belief"]
    table = np.array(belief["affinity"]["recipient_by_source"], float)
    assert table.shape == (3, 3) and np.isfinite(table).all() and len(np.unique(table)) == 9
    assert -1 <= belief["skill"]["lower"] <= belief["skill"]["spearman"] <= 1

    (small.home / "next.yaml").write_text(STUDY.replace("study: small", "study: next"))
    said = small.finish("run", "next.yaml", *settings, "--set", selector.format("cover"))
    assert said.count("was measured before, by small, trial") == 1
    again = json.loads((small.home / "studies" / "next" / "selection.json").read_text())
    assert again["belief"]["affinity"] == belief["affinity"]


def check_runs(home: Path) -> None:
    """What was reused has a run like any other, of no cost, that says where it came from."""
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("auxtune")
    assert experiment is not None
    reused = client.search_runs([experiment.experiment_id], "tags.`auxtune.reused_from` LIKE 'small, trial%'")
    assert len(reused) == 3
    for run in reused:
        assert run.info.status == "FINISHED" and run.data.tags["auxtune.phase"] == "measure"
        assert run.data.metrics["cost/wall_seconds"] == run.data.metrics["cost/cpu_seconds"] == 0.0
        assert "score" in run.data.metrics
