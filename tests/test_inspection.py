"""What ``validate`` says of a study's data, by hand calculation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from auxtune.orchestrator.errors import BudgetTooSmall, SelectorError, StudyDataError
from auxtune.orchestrator.planning.budget import check_budget, confirm_trials
from auxtune.orchestrator.session.prepare import load_study_data
from auxtune.orchestrator.study_file.reading import StudyFile, read_study
from auxtune.orchestrator.views.inspection import Inspection, estimate_smallest_lift, inspect_study

STUDY = """\
study: small
primary: a
tasks:
  a: {path: a}
  b: {path: b}
training: {steps: 200}
selector: {name: random_subset, size: 1}
confirm: {seeds: 2, controls: [single_task, all_tasks]}
budget: {trials: 9}
"""


def write_task(folder: Path, train: list[str], validation: list[str]) -> None:
    """A task of two classes whose label is whether the text's number is odd."""
    folder.mkdir()
    for part, texts in (("train", train), ("validation", validation)):
        rows = [{"sentence1": text, "sentence2": None, "label": int(text.split()[1]) % 2} for text in texts]
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    meta = {"kind": "classification", "labels": ["even", "odd"], "metric": "accuracy", "pair": False}
    (folder / "meta.json").write_text(json.dumps(meta))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Task ``a`` with 800 train and 600 validation rows; 10 rows of ``b``'s 800 occur in ``a``'s validation rows."""
    write_task(tmp_path / "a", [f"apple {i}" for i in range(800)], [f"plum {i}" for i in range(600)])
    write_task(
        tmp_path / "b",
        [f"pear {i}" for i in range(790)] + [f"Plum  {i}" for i in range(10)],
        [f"fig {i}" for i in range(100)],
    )
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path


def study(folder: Path, *overrides: str) -> StudyFile:
    return read_study(folder / "study.yaml", overrides)


def inspected(file: StudyFile) -> Inspection:
    return inspect_study(file, load_study_data(file)[0])


def test_rows_leaks_and_limits_are_counted(folder: Path) -> None:
    inspection = inspected(study(folder))
    a, b = inspection.tasks
    # A tenth of 800 rows, at least 200, but probe and selection together at most a quarter: 100 each.
    assert a.rows == {"train": 600, "probe": 100, "validation": 100, "test": 600} and sum(a.dropped.values()) == 0
    # Those of the ten that were not cut for probe or selection of `b` itself.
    assert b.rows["test"] == 100 and 1 <= b.dropped["test"] <= 10
    assert sum(b.rows.values()) + b.dropped["test"] == 900
    assert a.smallest_lift == pytest.approx(2 * (0.2 / 600) ** 0.5)
    assert (inspection.budget_trials, inspection.confirm_trials, inspection.fewest_search_trials) == (9, 6, 1)


@pytest.mark.parametrize("name", ["tag", "grad_tag"])
def test_an_option_that_older_files_have_and_nobody_reads_is_said(folder: Path, name: str) -> None:
    def said(selector: str) -> list[str]:
        return [each for each in inspected(study(folder, f"selector={selector}")).warnings if "selector" in each]

    assert said(name) == []
    [warning] = said(f"{{name: {name}, models: 2}}")
    assert warning.startswith(f"selector {name}: the option models is not read: with a primary its own row")
    assert warning.endswith("; remove it")
    assert said(f"[{{name: random_subset, trials: 2}}, {{name: {name}, models: 2}}]") == [warning]


def test_an_auxiliary_whose_rows_are_repeated_often_is_warned_of_unless_the_selector_limits_it(folder: Path) -> None:
    def said(*overrides: str) -> list[str]:
        return [each for each in inspected(study(folder, *overrides)).warnings if "passes" in each]

    assert said() == []
    [warning] = said("training.steps=600", "selector=auto")
    rows = inspected(study(folder)).tasks[1].rows["train"]
    assert warning.startswith("b: a training of all tasks in equal shares passes 16 times") and f" {rows} " in warning
    assert "`max_epochs`" in warning
    assert said("training.steps=600", "selector={name: auto, max_epochs: 20}") == []


def test_only_few_test_rows_of_the_primary_are_warned_of(folder: Path) -> None:
    # √(0.8 · 0.2 / 100) is 0.04.
    compared = (
        "only 100 validation and probe rows each: one row is 1.0 points, and a score of 0.8 has a standard error "
    )
    assert inspected(study(folder)).warnings == (f"a: {compared}of 4.0 points",)
    warning, _ = inspected(study(folder, "primary=b")).warnings
    assert "b: only 100 test rows" in warning and "0.089" in warning


@pytest.mark.parametrize(
    ("kind", "metric", "lift"),
    [
        ("classification", "accuracy", 0.04),
        ("classification", "f1", None),
        ("token", "accuracy", None),
        ("multi_label", "accuracy", None),
        ("multi_label", "f1_micro", None),
    ],
)
def test_the_smallest_lift_is_known_for_accuracy_of_rows(kind: str, metric: str, lift: float | None) -> None:
    assert estimate_smallest_lift(kind, metric, 500) == (None if lift is None else pytest.approx(lift))


def test_wrong_data_and_a_wrong_encoder_are_told_together(folder: Path) -> None:
    wrong = study(folder, "tasks.a.label=nothing", "tasks.b.path=missing", "model.layers=9")
    with pytest.raises(StudyDataError) as caught:
        inspected(wrong)
    lines = str(caught.value).splitlines()
    assert [sum(word in line for line in lines) for word in ("`nothing`", "missing", "model.layers")] == [1, 1, 1]


def test_a_selector_that_cannot_answer_says_so(folder: Path) -> None:
    with pytest.raises(SelectorError, match=r"random_subset: selector\.size .* at most 1, .* got 2"):
        inspected(study(folder, "selector.size=2"))


def test_a_budget_is_refused_just_below_the_least(folder: Path) -> None:
    assert confirm_trials(study(folder).options) == 2 * 3
    check_budget(study(folder).options, fewest=3)
    check_budget(study(folder, "budget={wall_hours: 1}").options, fewest=3)
    with pytest.raises(BudgetTooSmall, match=r"8, but confirm takes 6 .* at least 3; set it to 9"):
        check_budget(study(folder, "budget.trials=8").options, fewest=3)
