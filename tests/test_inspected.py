"""What ``validate`` shows of classes and splits, and how it fits a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from written_rows import Row, labelled, write_jsonl, write_separated

from auxtune.orchestrator.cli import main
from auxtune.orchestrator.views.inspection import InspectedTask, estimate_standard_error, list_split_warnings
from auxtune.trials.data import SPLITS

LONG = "stance_of_replies_to_posts_about_public_transport_in_large_cities"


def study(folder: Path, tasks: Mapping[str, Mapping[str, Any]], primary: str = "one") -> Path:
    path = folder / "study.yaml"
    options = {
        "study": "small",
        "primary": primary,
        "tasks": tasks,
        "selector": "random_subset",
        "model": {"name": "tiny"},
        "budget": {"trials": 30},
    }
    path.write_text(json.dumps(options))  # JSON is YAML
    return path


def files(folder: Path, **parts: Sequence[Row]) -> dict[str, Any]:
    names = {part: str(write_jsonl(folder / f"{part}.jsonl", rows)) for part, rows in parts.items()}
    return {"files": names, "text": ["text"], "label": "label"}


def other(folder: Path) -> dict[str, Any]:
    return {
        "path": str(write_separated(folder / "other.csv", labelled(["no", "yes"] * 300, "other"))),
        "text": ["text"],
        "label": "label",
    }


def validate(path: Path, *options: str, width: int = 80) -> str:
    done = CliRunner().invoke(main, ["validate", str(path), *options], env={"COLUMNS": str(width)})
    assert done.exit_code == 0, done.output
    return done.output


def test_classes_and_their_rows_are_shown(tmp_path: Path) -> None:
    names = [f"c{i:02}" for i in range(14)]
    parts = {
        "train": labelled(names * 60),
        "validation": labelled(names * 40, "dev"),
        "test": labelled(names * 50, "test"),
    }
    values = {
        "path": str(write_separated(tmp_path / "v.csv", labelled([0.5, 2.0, 7.25] * 200, "value"))),
        "text": ["text"],
        "label": "label",
    }
    path = study(tmp_path, {"one": files(tmp_path, **parts), "two": other(tmp_path), "values": values})
    shown = validate(path)
    seen = {task["name"]: task for task in json.loads(validate(path, "--json"))["tasks"]}
    counts = seen["one"]["classes"]
    assert [sum(counts[name][part] for name in names) for part in ("test", "validation")] == [700, 560]
    assert counts["c00"]["test"] == 50 and counts["c00"]["train"] == seen["one"]["rows"]["train"] // 14
    assert f"one: 14 classes with their training rows: c00 {counts['c00']['train']}, c01" in shown
    assert " and 4 more\n" in shown and "c10" not in shown
    assert seen["values"]["values"]["test"] == [0.5, 7.25] and "values: values from 0.5 to 7.25\n" in shown
    assert "two: 2 classes with their training rows: no " in shown


def test_what_is_left_out_is_counted_by_split_and_file(tmp_path: Path) -> None:
    dev = labelled(["no", "yes"] * 150, "dev")
    parts = {
        "train": [*labelled(["no", "yes"] * 300), {"text": "", "label": "no"}],
        "validation": dev,
        "test": [*labelled(["no", "yes"] * 300, "test"), *dev[:30]],
    }
    path = study(tmp_path, {"one": files(tmp_path, **parts) | {"missing": "drop"}, "two": other(tmp_path)})
    shown = validate(path)
    assert "warning: one: 30 of 300 validation rows have an input that occurs in test rows and are left out" in shown
    assert "train.jsonl: 1 rows without text or label are left out" in shown
    [task, _] = json.loads(validate(path, "--json"))["tasks"]
    assert (task["shared"], list(task["missing"].values())) == ({"validation": 30}, [1])
    row = next(line for line in shown.splitlines() if line.startswith(" one "))
    assert row.split()[6] == str(30 + sum(task["dropped"].values()))


@pytest.mark.parametrize(
    ("part", "labels", "said"),
    [
        ("test", ["0"], "all 600 test rows have the class 0 and none the class 1: a model that always says so"),
        ("validation", ["1"], "all 600 validation rows have the class 1 and none the class 0"),
        ("test", [1.5], "all 600 test rows have the value 1.5: every model scores alike by a correlation"),
    ],
)
def test_a_part_with_one_class_or_one_value_is_warned_of(
    tmp_path: Path, part: str, labels: list[Any], said: str
) -> None:
    usual: list[Any] = [0.5, 1.5] if isinstance(labels[0], float) else ["0", "1"]
    parts = {
        "train": labelled(usual * 400),
        "validation": labelled(usual * 300, "dev"),
        "test": labelled(usual * 300, "test"),
    }
    parts[part] = labelled(labels * 600, part)
    shown = validate(study(tmp_path, {"one": files(tmp_path, **parts), "two": other(tmp_path)}))
    assert f"warning: one: {said}" in shown
    assert shown.count("warning: one: all ") == 1


def test_a_rare_class_that_no_held_out_row_has_is_warned_of(tmp_path: Path) -> None:
    rare = labelled(["no"] * 397 + ["yes"] * 3)
    path = study(tmp_path, {"one": files(tmp_path, train=rare) | {"metric": "f1"}, "two": other(tmp_path)})
    shown = validate(path)
    for part in ("validation", "probe"):
        assert f"{part} rows have the class no and none the class yes" in shown
    three = {"train": labelled(["a", "b", "c"] * 300), "test": labelled(["a", "b", "d"] * 200, "test")}
    shown = validate(
        study(tmp_path, {"one": files(tmp_path, **three) | {"labels": ["a", "b", "c", "d"]}, "two": other(tmp_path)})
    )
    assert "warning: one: no test row has the class c: how well it is learned is not seen there" in shown
    assert "warning: one: no training row has the class d, but 200 test rows have" in shown


def test_labels_and_tags_that_a_part_lacks_are_warned_of() -> None:
    counts = {"train": 300, "probe": 200, "validation": 200, "test": 600}
    some = {"train": 60, "probe": 40, "validation": 40, "test": 90}
    classes = {"a": some, "b": some | {"validation": 0}, "c": some | {"test": 600}, "d": some | {"validation": 0}}
    task = InspectedTask("one", "multi_label", "f1_micro", counts, {}, None, (), classes)
    said = list(list_split_warnings(task, is_tested=True))
    assert said == [
        "every test row has the label c: a model that always says so is right on all of them",
        "no validation row has the labels b, d: how well they are learned is not seen there",
    ]
    words = {"O": some, "B-x": some | {"probe": 0}}
    tags = InspectedTask("one", "token", "accuracy", counts, {}, None, (), words)
    assert list(list_split_warnings(tags, is_tested=False)) == [
        "all words of the probe rows have the tag O and none the tag B-x: a model that always says so is right on all "
        "of them"
    ]


def test_small_splits_are_told_in_points_of_standard_error() -> None:
    """√(0.8 · 0.2 / 25) is 8 points; of a correlation (1 − 0.64) / √24 is 7.3."""
    rows = {"train": 75, "probe": 25, "validation": 25, "test": 600}
    classes = {name: dict.fromkeys(rows, 10) for name in ("no", "yes")}
    task = InspectedTask("one", "classification", "accuracy", rows, {}, 0.1, (), classes)
    assert list(list_split_warnings(task, is_tested=True)) == [
        "only 25 validation and probe rows each: one row is 4.0 points, and a score of 0.8 has a standard error of 8.0 "
        "points"
    ]
    assert list(list_split_warnings(task, is_tested=False)) == []
    uneven = InspectedTask(
        "one", "regression", "spearman", rows | {"probe": 150}, {}, None, (), values=dict.fromkeys(rows, (0.0, 1.0))
    )
    first, second = list_split_warnings(uneven, is_tested=True)
    assert first == "only 25 validation rows: a correlation of 0.8 has a standard error of 7.3 points"
    assert second.startswith("only 150 probe rows: ")
    assert estimate_standard_error("classification", 25) == pytest.approx(0.08)
    enough = InspectedTask(
        "one", "classification", "accuracy", rows | {"probe": 200, "validation": 200}, {}, 0.1, (), classes
    )
    assert list(list_split_warnings(enough, is_tested=True)) == []


@pytest.mark.parametrize("width", [50, 60, 80, 200])
def test_long_names_wrap_and_nothing_is_cut(tmp_path: Path, width: int) -> None:
    parts = {"train": labelled(["no", "yes"] * 500), "test": labelled(["no", "yes"] * 300, "test")}
    path = study(tmp_path, {LONG: files(tmp_path, **parts), "two": other(tmp_path)}, primary=LONG)
    shown = validate(path, width=width)
    table = shown[: shown.index("dropped: ")].splitlines()[2:]
    assert all(len(line.rstrip()) <= width for line in table)
    assert table[0].split()[1:] == [
        *(["metric"] if width >= 80 else []),
        "train",
        "probe",
        "validation",
        "test",
        "dropped",
        *(["lift", "≥"] if width >= 80 else []),
    ]
    column = table[0].index("metric" if width >= 80 else "train")
    assert "".join(line[:column].split("  ")[0].strip() for line in table[2:] if not line.startswith(" two")) == LONG
    [task, _] = json.loads(validate(path, "--json"))["tasks"]
    assert table[2].split()[-7 if width >= 80 else -5 :] == [
        *(["accuracy"] if width >= 80 else []),
        *(str(task["rows"][part]) for part in SPLITS),
        str(sum(task["dropped"].values())),
        *([f"{task['smallest_lift']:.3f}"] if width >= 80 else []),
    ]
