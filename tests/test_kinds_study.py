"""Whole studies whose primary has sets of labels, or spans: from the file to a lift with its interval."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_study import StudyRun

from auxtune.orchestrator.answer.lift import load_predictions
from auxtune.orchestrator.record.results import locate_attempt

pytestmark = pytest.mark.slow

STUDY = """\
study: small
primary: PRIMARY
tasks:
  topics: {path: topics.csv, text: [text], label: [low, high, wide], metric: "f1_micro, f1_macro, accuracy"}
  names: {path: names, metric: "span_f1, accuracy"}
model: {name: tiny, max_length: 16, pooling: mean}
training: {steps: 60, batch_size: 16, learning_rate: 3.0e-3, evaluate_every: 20}
selector: {name: random_subset, trials: 1}
confirm: {seeds: 4, controls: [single_task]}
budget: {trials: 9}
resources: {cpus: 1, gpus: 0, concurrent: 1}
"""
TAGS = ("O", "B-name", "I-name")


def write(folder: Path) -> None:
    """Sentences of w0 to w29: three labels by which words occur; w0 to w9 begin a name that w10 to w14 continue."""
    rng = np.random.default_rng(0)
    lines = ["text,low,high,wide"]
    (folder / "names").mkdir()
    (folder / "names" / "meta.json").write_text(json.dumps({"kind": "token", "labels": TAGS}))
    with (folder / "names" / "train.jsonl").open("w") as file:
        for _ in range(900):
            words = rng.integers(30, size=6)
            flags = [int((words < 4).any()), int((words > 25).any()), int(np.ptp(words) > 24)]
            lines.append(",".join([" ".join(f"w{word}" for word in words), *map(str, flags)]))
            tags: list[str] = []
            for word in words:
                tags.append("B-name" if word < 10 else "I-name" if word < 15 and tags and tags[-1] != "O" else "O")
            file.write(json.dumps({"tokens": [f"w{word}" for word in words], "tags": tags}) + "\n")
    (folder / "topics.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(("primary", "metric"), [("topics", "f1_micro"), ("names", "span_f1")])
def test_a_study_of_such_a_task_ends_with_a_lift_and_its_interval(tmp_path: Path, primary: str, metric: str) -> None:
    write(tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY.replace("PRIMARY", primary))
    run = StudyRun(tmp_path)
    assert metric in run.finish("validate", "study.yaml", "--smoke")
    run.finish()
    answer = json.loads((run.folder / "selection.json").read_text())
    lift = answer["lift"]["single_task"]
    assert (lift["metric"], lift["seeds"]) == (metric, 4)
    assert lift["low"] < lift["mean"] < lift["high"]
    for trial in run.accounts.in_phase("confirm"):
        attempt = locate_attempt(run.folder, trial.id, len(trial.attempts))
        reported = json.loads((attempt / "result.json").read_text())["test"][primary]
        kept = load_predictions(attempt / "predictions.npz", primary)
        assert reported == {name: pytest.approx(kept.metric(name)) for name in reported}
        assert len(reported) > 1
