"""What earlier studies found reaches a selector through the study file, and a table that cannot be used is said so."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from small_study import StudyRun

from auxtune.orchestrator import Study
from auxtune.orchestrator.cli import main
from auxtune.orchestrator.errors import StudyDataError
from auxtune.orchestrator.planning.earlier import read_earlier_results
from tests.recorded_tables import groups_rows, transfer_rows, write_table

TASKS = ("mood", "stars", "tint", "river", "pace")
STUDY = """
study: prior
primary: mood
tasks: {mood: {builtin: mood, rows: 200}, stars: {builtin: stars}, tint: {builtin: tint}, river: {builtin: river}}
training: {steps: 8, evaluate_every: 4}
selector: {name: transfer_prior, keep: 1}
earlier: log
confirm: {seeds: 1, controls: [single_task]}
budget: {trials: 4}
resources: {gpus: 0}
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path / "study.yaml"


def test_results_on_other_targets_are_known_and_higher_is_better(study: Path) -> None:
    rows = [{**row, "value": -row["value"]} for row in transfer_rows(TASKS, "stars")]
    write_table(study.parent / "log", "transfer", TASKS, rows, mode="min")
    known = read_earlier_results(Study.from_yaml(study).file)
    assert {one.target for one in known} == {"stars", "tint", "river", "pace"}
    assert {one.source for one in known} == {None, *TASKS}
    assert all((one.score > 0.7) == (one.source == "stars") for one in known)


def test_a_study_without_earlier_results_knows_none(study: Path) -> None:
    assert read_earlier_results(Study.from_yaml(study, ["earlier=null"]).file) == ()


def test_a_table_that_cannot_be_used_is_named(study: Path) -> None:
    with pytest.raises(StudyDataError, match=r"earlier: .*log: expected a recorded table"):
        read_earlier_results(Study.from_yaml(study).file)
    write_table(study.parent / "log", "groups", "abcd", groups_rows())
    with pytest.raises(StudyDataError, match=r"earlier: .*kind: expected transfer, found groups"):
        read_earlier_results(Study.from_yaml(study).file)
    done = CliRunner().invoke(main, ["validate", str(study)])
    assert done.exit_code == 2
    assert "expected transfer, found groups" in done.output


@pytest.mark.slow
def test_a_study_trains_what_earlier_studies_suggest_and_notices_another_log(study: Path) -> None:
    run = StudyRun(study.parent)
    tasks = (*TASKS, *(f"other{i}" for i in range(8)))
    write_table(study.parent / "log", "transfer", tasks, transfer_rows(tasks, "stars"), mode="max")
    answer = run.ask("run", "study.yaml", "--json")
    assert answer["kind"] == "ranking"
    assert answer["ranking"][0]["task"] == "stars"
    assert answer["weights"] == {"mood": 0.5, "stars": 0.5}
    assert answer["cost"]["phases"]["search"]["trials"] == 0
    write_table(study.parent / "log", "transfer", tasks, transfer_rows(tasks, "tint"), mode="max")
    assert "earlier" in run.finish("run", "study.yaml", "--set", "budget.trials=5", code=2)
