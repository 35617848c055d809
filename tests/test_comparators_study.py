"""Selectors that recorded tables are simulated with, in real studies: they train, answer, and can be verified."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_study import StudyRun

STUDY = """
study: s
QUESTION
tasks: {mood: {builtin: mood, rows: 200}, stars: {builtin: stars}, tint: {builtin: tint}}
training: {steps: 10, batch_size: 8, evaluate_every: 2}
selector: SELECTOR
confirm: {seeds: 1, controls: [single_task]}
budget: {trials: 40}
resources: {gpus: 0, concurrent: 2}
"""
PRIMARY, GROUPS = "primary: mood", "objective: groups\nmodels: 2"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("selector", "question", "searched"),
    [
        ("hoa", GROUPS, 6),
        ("{name: exhaustive, split: early}", PRIMARY, 4),
        ("{name: linear_surrogate, size: 1, subsets: 2, verify: 2}", PRIMARY, 2),
    ],
)
def test_it_trains_answers_and_can_be_verified(tmp_path: Path, selector, question, searched) -> None:
    run = StudyRun(tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY.replace("SELECTOR", selector).replace("QUESTION", question))
    answer = run.ask("run", "study.yaml", "--json")
    assert answer["cost"]["phases"]["search"]["trials"] == searched
    if question == GROUPS:
        assert sorted(task for group in answer["groups"] for task in group["serves"]) == ["mood", "stars", "tint"]
        assert len(answer["groups"]) <= 2
    else:
        assert "mood" in answer["weights"]
    trials = sorted((tmp_path / "studies" / "s" / "trials").iterdir())
    steps = [len((trial / "1" / "metrics.jsonl").read_text().splitlines()) for trial in trials]
    # An early trial trains a fifth of the ten steps, and so is evaluated once where the others are five times.
    assert (min(steps[:searched]) == 1) == ("early" in selector)
    assert "verified: every recorded proposal follows" in run.finish("status", "studies/s", "--verify")
