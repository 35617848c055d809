"""One whole study under a real Ray, from its file to its answer: the only one that `make test` runs."""

from __future__ import annotations

import json

import pytest
from small_study import StudyRun

from auxtune.orchestrator.record.results import locate_attempt


def test_a_study_runs_from_its_file_to_its_answer(whole: StudyRun) -> None:
    answer = json.loads((whole.folder / "selection.json").read_text())
    assert {
        "format",
        "study",
        "kind",
        "primary",
        "weights",
        "groups",
        "ranking",
        "instances",
        "lift",
        "report",
        "contribution",
        "stability",
        "cost",
    } <= answer.keys()
    assert answer["kind"] == "mixture"
    assert sum(answer["weights"].values()) == pytest.approx(1)
    assert answer["lift"]["single_task"]["seeds"] == 1
    assert answer["lift"]["single_task"]["low"] is None
    assert answer["cost"]["trials"] == answer["cost"]["attempts"] == len(whole.accounts.trials)
    assert 0 < answer["cost"]["usd"] == pytest.approx(answer["cost"]["cpu_hours"] * 0.04)
    assert answer["cost"]["cluster_usd"] is None
    assert {name: part["trials"] for name, part in answer["cost"]["phases"].items()} == {
        "measure": 0,
        "search": 2,
        "tune": 0,
        "control": 0,
        "confirm": 2,
    }
    assert "verified" in whole.finish("status", str(whole.folder), "--verify")


def test_every_arm_of_confirm_has_the_same_steps_and_the_same_rule_for_its_best(whole: StudyRun) -> None:
    for trial in whole.accounts.in_phase("confirm"):
        attempt = locate_attempt(whole.folder, trial.id, len(trial.attempts))
        lines = [json.loads(line) for line in (attempt / "metrics.jsonl").read_text().splitlines()]
        report = json.loads((attempt / "result.json").read_text())
        assert [line["step"] for line in lines] == [10, 20, 30, 40]
        assert report["steps"] == 40
        best = max(lines, key=lambda line: (line["score"], -line["step"]))
        assert (report["best_step"], report["score"]) == (best["step"], best["score"])
    arms = {trial.proposal.tasks for trial in whole.accounts.in_phase("confirm")}
    assert len(arms) == 2  # it was not one arm that was looked at


def test_run_again_a_finished_study_answers_at_once(whole: StudyRun) -> None:
    before = whole.story
    whole.finish("resume", str(whole.folder))
    assert whole.story == before
