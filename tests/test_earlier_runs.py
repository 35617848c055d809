"""Runs made elsewhere reach `auto` through the study file, and what cannot be used is said with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from small_study import StudyRun

from auxtune.orchestrator import Study
from auxtune.orchestrator.cli import main
from auxtune.orchestrator.errors import StudyDataError, StudyFileError
from auxtune.orchestrator.planning.context import compute_fingerprint, list_unread_runs
from auxtune.orchestrator.planning.earlier import describe_runs, read_earlier_results, read_earlier_runs
from auxtune.selectors.protocol import EarlierRuns
from tests.recorded_tables import transfer_rows, write_table

STUDY = """
study: prior
primary: mood
tasks: {mood: {builtin: mood, rows: 200}, stars: {builtin: stars}, tint: {builtin: tint}}
training: {steps: 8, evaluate_every: 4}
selector: {name: auto, stop: null}
earlier:
  - csv: notes/runs.csv
    target: loss
    mode: min
confirm: {seeds: 1, controls: [single_task]}
budget: {trials: 7}
resources: {gpus: 0}
"""
RUNS = """w:tint,w:mood,w:river,y:loss,y:f1,who
0.5,0.5,0,2.5,0.7,ada
0,1,0,3.0,0.6,ada
0.25,0.25,0.5,1.0,0.9,ada
1,0,0,3.5,,bob
0.1,0.9,0,,0.5,bob
0.3,0.7,0,2.75,0.6,bob
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "runs.csv").write_text(RUNS)
    return tmp_path / "study.yaml"


def write_runs(study: Path, text: str) -> None:
    (study.parent / "notes" / "runs.csv").write_text(text)


def refusal_of(study: Path, *overrides: str) -> str:
    with pytest.raises(StudyDataError) as raised:
        read_earlier_runs(Study.from_yaml(study, overrides).file)
    return str(raised.value)


def test_shares_are_those_of_the_studys_tasks_and_higher_is_better(study: Path) -> None:
    [runs] = read_earlier_runs(Study.from_yaml(study).file)
    rows = ((0.5, 0.0, 0.5), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.7, 0.0, 0.3))  # mood, stars (never trained), tint
    assert runs == EarlierRuns("runs.csv", rows, (-2.5, -3.0, -3.5, -2.75))


def test_files_of_one_name_are_told_apart_and_tables_may_stand_beside(study: Path) -> None:
    tasks = ("mood", "stars", "tint", "pace")
    write_table(study.parent / "log", "transfer", tasks, transfer_rows(tasks, "stars"), mode="max")
    listed = "[log, {csv: notes/runs.csv, target: f1}, {csv: notes/../notes/runs.csv, target: loss, mode: min}]"
    file = Study.from_yaml(study, [f"earlier={listed}"]).file
    assert [runs.source for runs in read_earlier_runs(file)] == ["runs.csv", "runs.csv (2)"]
    assert {one.target for one in read_earlier_results(file)} == {"stars", "tint", "pace"}
    assert read_earlier_results(Study.from_yaml(study).file) == ()


def test_left_out_runs_are_counted_with_their_tasks(study: Path) -> None:
    [said] = describe_runs(Study.from_yaml(study).file)
    assert said == "earlier: runs.csv: 1 of 6 runs trained tasks that the study lacks (river) and are left out"
    write_runs(study, RUNS.replace("0.25,0.25,0.5,", "0.25,0.75,0,"))
    assert list(describe_runs(Study.from_yaml(study).file)) == []  # a column of zeros leaves nothing out


def test_what_cannot_be_used_is_said_with_file_line_and_key(study: Path) -> None:
    line = f"{study}:"
    assert refusal_of(study, "earlier=[{csv: notes/runs.csv}]").endswith(
        "runs.csv:1: expected `target: NAME`, one of loss, f1; got none"
    )
    study.write_text(STUDY.replace("target: loss", "target: perplexity"))
    assert refusal_of(study).startswith(
        f"{line}9: earlier.0.target: {study.parent}/notes/runs.csv:1: expected a target"
    )
    study.write_text(STUDY.replace("notes/runs.csv", "notes/none.csv"))
    assert refusal_of(study).startswith(f"{line}8: earlier.0.csv: {study.parent}/notes/none.csv: expected")
    study.write_text(STUDY)
    write_runs(study, RUNS.replace("0.5,0.5,0,", "0.5,0.2,0,").replace("3.0,0.6", "much,0.6"))
    shares, number = sorted(refusal_of(study).splitlines())
    assert ":2: w:: expected shares that sum to 1, found a sum of 0.7" in shares
    assert number.startswith(f"{line}8: earlier.0.csv: ") and ":3: y:loss: expected a finite number" in number


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("w:tint,w:mood,y:loss\n1,0,2\n0,1,3\n", "found 2 runs, 2 different values"),
        ("w:tint,w:mood,y:loss\n1,0,2\n0,1,2\n0.5,0.5,2\n", "found 3 runs, 1 different values"),
        (
            "w:tint,w:x,y:loss\n1,0,2\n0,1,3\n0.5,0.5,1\n1,0,\n",
            "of 4 runs 1 have none and 2 trained tasks .* lacks \\(x\\)",
        ),
        (
            "w:x,w:y,y:loss\n1,0,2\n0,1,3\n0.5,0.5,1\n",
            "found 0 runs, .*3 trained tasks that the study lacks \\(x, y\\)",
        ),
    ],
)
def test_fewer_than_three_runs_that_differ_are_refused(study: Path, text: str, why: str) -> None:
    write_runs(study, text)
    with pytest.raises(StudyDataError, match=f"study.yaml:8: earlier.0.csv: .*expected 3 runs or more of .*{why}"):
        read_earlier_runs(Study.from_yaml(study).file)


@pytest.mark.parametrize(
    ("earlier", "place"),
    [
        ("3", "earlier: expected the folder of a table, or a list"),
        ("{csv: runs.csv}", "earlier: expected the folder of a table, or a list"),
        ("[[log]]", "earlier: expected the folder of a table, or a list"),
        ("[{csv: 3}]", "earlier.0.csv: expected text or null, found 3"),
        ("[log, {csv: runs.csv, mode: most}]", "earlier.1.mode: expected `max` or `min`, found 'most'"),
        ("[{csv: runs.csv, taget: loss}]", "earlier.0.taget: unknown key; did you mean `target`"),
        ("[{target: loss}]", "earlier.0: expected either `table` or `csv`, found neither"),
        ("[{table: log, csv: runs.csv}]", "earlier.0: expected either `table` or `csv`, found table and csv"),
        ("[{table: log, mode: min}]", "earlier.0.mode: is for the runs of a `csv`; remove it"),
    ],
)
def test_a_wrong_form_is_said_with_its_key(study: Path, earlier: str, place: str) -> None:
    head, _, tail = STUDY.partition("earlier:\n")
    study.write_text(f"{head}earlier: {earlier}\nconfirm{tail.partition('confirm')[2]}")
    with pytest.raises(StudyFileError) as raised:
        Study.from_yaml(study)
    assert place in str(raised.value) and "study.yaml:7: " in str(raised.value)


@pytest.mark.parametrize(
    ("selector", "is_read"),
    [
        ("auto", True),
        ("[{name: random_subset}, {name: auto}]", True),
        ("{name: auto, evidence: 'off'}", False),
        ("random_mixture", False),
    ],
)
def test_a_selector_that_does_not_read_runs_is_said(study: Path, selector: str, is_read: bool) -> None:
    options = Study.from_yaml(study, [f"selector={selector}"]).file.options
    said = list_unread_runs(options)
    assert [line.partition(": not read")[0] for line in said] == ([] if is_read else ["earlier: notes/runs.csv"])
    assert list_unread_runs(Study.from_yaml(study, [f"selector={selector}", "earlier=null"]).file.options) == ()


def test_validate_tells_what_is_left_out_and_not_read(study: Path) -> None:
    done = CliRunner().invoke(main, ["validate", str(study), "--set", "selector=random_mixture"])
    assert done.exit_code == 0
    assert "warning: earlier: runs.csv: 1 of 6 runs trained tasks that the study lacks (river)" in done.output
    assert "warning: earlier: notes/runs.csv: not read by this selector" in done.output
    write_runs(study, "w:mood,y:loss\n1,2\n")
    done = CliRunner().invoke(main, ["validate", str(study)])
    assert done.exit_code == 2 and "study.yaml:8: earlier.0.csv: " in done.output


def test_the_fingerprint_covers_the_runs(study: Path) -> None:
    class Base:
        digest = "base"

    def print_of(*overrides: str) -> str | None:
        file = Study.from_yaml(study, overrides).file
        return compute_fingerprint(file, {}, Base(), read_earlier_runs(file)).get("earlier")

    first = print_of()
    assert first == print_of() and print_of("earlier=null") is None
    write_runs(study, RUNS.replace("ada", "eve"))
    assert print_of() == first  # a column that is not read
    write_runs(study, RUNS.replace("2.75", "2.76"))
    assert print_of() != first


@pytest.mark.slow
def test_a_study_begins_where_the_runs_point_and_notices_when_they_change(study: Path) -> None:
    run = StudyRun(study.parent)
    answer = run.ask("run", "study.yaml", "--json")
    assert list(answer["belief"]["hints"]) == ["runs.csv"]
    assert answer["cost"]["phases"]["search"]["trials"] >= 4
    assert "verified" in run.finish("status", "studies/prior", "--verify")
    write_runs(study, RUNS.replace("2.75", "2.25"))
    assert "earlier" in run.finish("run", "study.yaml", "--set", "budget.trials=8", code=2)
