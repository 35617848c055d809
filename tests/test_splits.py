"""The cuts of a task's rows, and the rows that may not be trained on."""

from __future__ import annotations

import doctest
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from written_rows import FORMATS, labelled
from written_rows import task_of as task_rows

from auxtune.trials.data import SPLITS, Kind
from auxtune.trials.data import examples as examples_module
from auxtune.trials.data.examples import Examples, hash_input
from auxtune.trials.data.sources import TaskSource
from auxtune.trials.data.splits import count_cuts, divide_rows, take_rows
from auxtune.trials.data.tasks import Task, load_tasks
from auxtune.trials.errors import DataError

SIZES = (50, 700, 1500, 5000, 50_000)
HELD_OUT = ("test", "validation", "probe")


def examples(labels: Sequence[int | float], prefix: str = "train") -> Examples:
    texts = tuple(f"{prefix} {i}" for i in range(len(labels)))
    return Examples(texts, None, tuple(labels), np.array([hash_input(text) for text in texts], np.uint64))


def classes(rows: int) -> list[int]:
    """Three classes, seven tenths, a quarter and a twentieth of the rows, mixed."""
    return [0 if i % 20 < 14 else 1 if i % 20 < 19 else 2 for i in range(rows)]


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(texts: Sequence[str], labels: Sequence[Any] = (0, 1)) -> list[dict[str, Any]]:
    return [{"sentence1": text, "label": labels[i % len(labels)]} for i, text in enumerate(texts)]


def numbered(prefix: str, count: int) -> list[str]:
    return [f"{prefix} {i}" for i in range(count)]


def task_of(at: Path, *, rows: int = 400, more: Mapping[str, int] | None = None, **source: Any) -> Task:
    counts = {"train": rows, **(more or {})}
    files = {part: write(at / f"{part}.jsonl", rows_of(numbered(part, count))) for part, count in counts.items()}
    return load_tasks([TaskSource("one", files=files, **source)])["one"]


def lengths(task: Task) -> tuple[int, ...]:
    return tuple(len(task.splits[part]) for part in SPLITS)


@pytest.mark.parametrize(
    ("rows", "each"), [(50, 6), (700, 87), (1500, 187), (1600, 200), (5000, 500), (20_000, 2000), (50_000, 2000)]
)
def test_validation_and_probe_take_a_tenth_each_and_at_most_a_quarter_together(rows: int, each: int) -> None:
    assert count_cuts(rows, ["validation", "probe"], {}) == {"validation": each, "probe": each}


@pytest.mark.parametrize(("rows", "probe"), [(50, 12), (700, 175), (1500, 200), (5000, 500), (50_000, 2000)])
def test_probe_alone_takes_a_tenth_and_at_most_a_quarter(rows: int, probe: int) -> None:
    assert count_cuts(rows, ["probe"], {}) == {"probe": probe}


@pytest.mark.parametrize(
    ("rows", "test", "each"),
    [(50, 25, 3), (700, 200, 62), (1500, 300, 150), (5000, 1000, 400), (50_000, 2000, 2000)],
)
def test_a_lone_file_gives_a_fifth_to_test_first(rows: int, test: int, each: int) -> None:
    assert count_cuts(rows, HELD_OUT, {}) == {"test": test, "validation": each, "probe": each}


@pytest.mark.parametrize("rows", SIZES)
@pytest.mark.parametrize("names", [("train",), ("train", "validation"), ("train", "validation", "test")])
def test_every_row_is_in_one_split_and_keeps_the_order_of_its_file(rows: int, names: tuple[str, ...]) -> None:
    files = {name: examples(classes(rows if name == "train" else 40), name) for name in names}
    parts = divide_rows(files, {}, {}, "classification")
    assert sum(len(part) for part in parts.values()) == sum(len(file) for file in files.values())
    texts = {text for part in parts.values() for text in part.first}
    assert texts == {text for file in files.values() for text in file.first}
    for part in parts.values():
        numbers = [int(str(text).split()[1]) for text in part.first]
        assert numbers == sorted(numbers)
    if "validation" in names:
        cut = [part for part in HELD_OUT if str(parts[part].first[0]).startswith("train")]
        assert sum(len(parts[part]) for part in cut) <= rows / 4


@pytest.mark.parametrize("rows", SIZES)
def test_cuts_keep_the_shares_of_the_classes_within_a_row(rows: int) -> None:
    train = examples(classes(rows))
    parts = divide_rows({"train": train, "validation": examples([0, 1], "validation")}, {}, {}, "classification")
    left = Counter(train.labels)
    for part in ("validation", "probe"):  # the order in which they are cut
        counts = Counter(parts[part].labels)
        share = len(parts[part]) / left.total()
        assert all(abs(counts[label] - left[label] * share) < 1 for label in left)
        left -= counts


def test_a_regression_is_cut_within_fifths_of_its_values() -> None:
    values = np.random.default_rng(0).exponential(size=5000).astype(np.float32).tolist()
    parts = divide_rows({"train": examples(values), "validation": examples([0.5], "validation")}, {}, {}, "regression")
    edges = np.quantile(values, [0.2, 0.4, 0.6, 0.8])
    for part in ("validation", "probe"):
        fifths = np.bincount(np.searchsorted(edges, parts[part].labels))
        assert all(abs(fifths - 100) <= 1)


@pytest.mark.parametrize("kind", ["classification", "regression", "token"])
def test_cuts_do_not_depend_on_the_order_of_the_file(kind: Kind) -> None:
    labels = classes(1000)
    train = examples([float(label) for label in labels] if kind == "regression" else labels)
    shuffled = train.at(np.random.default_rng(0).permutation(1000))
    cuts = [divide_rows({"train": rows}, {}, {}, kind) for rows in (train, shuffled)]
    assert all(set(cuts[0][part].first) == set(cuts[1][part].first) for part in SPLITS)


def test_cuts_do_not_depend_on_the_other_tasks_nor_on_limits(tmp_path: Path) -> None:
    one = TaskSource("one", path=write(tmp_path / "one.jsonl", rows_of(numbered("mine", 800))))
    shared = numbered("mine", 300) + numbered("its", 500)
    other = TaskSource("other", path=write(tmp_path / "other.jsonl", rows_of(shared)))
    limited = TaskSource("one", path=one.path, rows=30)
    alone = load_tasks([one])["one"]
    for task in (load_tasks([other, one])["one"], load_tasks([limited])["one"]):
        assert all(task.splits[part].first == alone.splits[part].first for part in HELD_OUT)
        assert set(task.splits["train"].first) <= set(alone.splits["train"].first)
    assert load_tasks([one])["one"].digest == alone.digest


def test_taking_gives_the_smallest_keys_of_each_group() -> None:
    keys = np.array([5, 1, 4, 2, 3, 9, 8, 7], np.uint64)
    groups = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    assert take_rows(4, keys, groups).tolist() == [1, 3, 4, 7]  # shares 3 and 1


def test_rows_limits_training_alone_and_keeps_the_shares_of_the_classes(tmp_path: Path) -> None:
    at = write(tmp_path / "one.jsonl", rows_of(numbered("row", 3000), labels=(0, 0, 1)))
    whole, few = (load_tasks([TaskSource("one", path=at, rows=rows)])["one"] for rows in (None, 150))
    assert lengths(few) == (150, *lengths(whole)[1:])
    assert Counter(few.splits["train"].labels) == {0: 100, 1: 50}
    assert few.digest != whole.digest


def test_test_is_a_labelled_test_file_and_validation_then_the_validation_file(tmp_path: Path) -> None:
    assert lengths(task_of(tmp_path, more={"validation": 30, "test": 20})) == (300, 100, 30, 20)
    assert lengths(task_of(tmp_path, more={"validation": 30})) == (300, 50, 50, 30)
    assert lengths(task_of(tmp_path, more={"test": 20})) == (300, 50, 50, 20)
    assert lengths(task_of(tmp_path)) == (150, 25, 25, 200)


def test_splits_say_the_size_or_the_file_of_a_part(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine.jsonl", rows_of(numbered("my own", 7)))
    more = {"validation": 30}
    assert lengths(task_of(tmp_path, more=more, splits={"probe": 11})) == (339, 11, 50, 30)
    assert lengths(task_of(tmp_path, more=more, splits={"probe": 0.5})) == (150, 200, 50, 30)
    assert lengths(task_of(tmp_path, more=more, splits={"probe": mine})) == (300, 7, 100, 30)
    freed = task_of(tmp_path, more=more, splits={"test": 40})
    assert lengths(freed) == (270, 90, 30, 40)
    assert freed.splits["validation"].first[0] == "validation 0"
    other = write(tmp_path / "other.jsonl", rows_of(numbered("another", 7)))
    unused = task_of(tmp_path, more=more, splits={"test": mine, "validation": other})
    assert any("validation.jsonl is not used" in note for note in unused.notes)
    moved = task_of(tmp_path, more=more, splits={"validation": tmp_path / "validation.jsonl"})
    assert lengths(moved) == (150, 50, 30, 200)
    assert set(moved.splits["test"].first).isdisjoint(moved.splits["validation"].first)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"rows": 400, "splits": {"prob": 3}}, "`prob` is not one of test, validation, probe; did you mean `probe`?"),
        ({"rows": 400, "splits": {"probe": 1.5}}, "splits.probe: expected a share between 0 and 1"),
        ({"rows": 400, "splits": {"probe": 0}}, "splits.probe: expected a share between 0 and 1"),
        ({"rows": 400, "splits": {"probe": 400}}, "leave nothing of 400 training rows"),
        ({"rows": 400, "splits": {"probe": 0.0001}}, "probe would have no rows"),
        ({"rows": 6}, "validation, probe would have no rows: 6 training rows are too few"),
        ({"rows": 400, "splits": {"probe": Path("nowhere.csv")}}, "splits.probe: nowhere.csv: there is no such file"),
    ],
)
def test_splits_that_cannot_be_cut_say_why(tmp_path: Path, source: dict[str, Any], expected: str) -> None:
    with pytest.raises(DataError) as error:
        task_of(tmp_path, more={"validation": 30}, **source)
    assert expected in str(error.value)


def test_a_limit_of_no_rows_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "one.jsonl", rows_of(numbered("row", 400)))
    with pytest.raises(DataError, match="rows: expected at least 1, found 0"):
        load_tasks([TaskSource("one", path=path, rows=0)])


def test_the_key_of_an_input_ignores_case_spacing_form_and_the_order_of_a_pair() -> None:
    assert hash_input("A  Plane\tflies ") == hash_input("a plane flies")
    assert hash_input("ﬁve ½") == hash_input("five 1⁄2")
    assert hash_input("one", "two") == hash_input("two", "ONE")
    assert hash_input("one two") != hash_input("one", "two")
    assert len({hash_input(f"text {i}") for i in range(1000)}) == 1000


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(examples_module) == (0, 1)


def test_train_rows_that_relatives_hold_out_are_dropped_and_counted(tmp_path: Path) -> None:
    """Pair task ``b`` holds out, swapped and in capitals, what ``a`` trains on; a single sentence is no pair."""
    pairs = [{"sentence1": f"left {i}", "sentence2": f"right {i}", "label": i % 4} for i in range(400)]
    swapped = [{"sentence1": f"RIGHT  {i}", "sentence2": f"Left {i}", "label": i % 4} for i in range(0, 400, 2)]
    others = [row | {"sentence1": f"other {i}"} for i, row in enumerate(pairs)]
    single = rows_of(numbered("left", 400))
    test = write(tmp_path / "test.jsonl", swapped)
    sources = [
        TaskSource("a", files={"train": write(tmp_path / "a.jsonl", pairs)}),
        TaskSource("b", files={"train": write(tmp_path / "b.jsonl", others), "test": test}),
        TaskSource("c", files={"train": write(tmp_path / "c.jsonl", single)}),
    ]
    tasks = load_tasks(sources)
    alone = load_tasks(sources[:1])["a"]
    even = [text for text in alone.splits["train"].first if int(str(text).split()[1]) % 2 == 0]
    assert alone.dropped == {"test": 0, "validation": 0, "probe": 0}
    assert tasks["a"].dropped == {"test": len(even), "validation": 0, "probe": 0}
    assert set(tasks["a"].splits["train"].first) == set(alone.splits["train"].first) - set(even)
    assert tasks["a"].digest != alone.digest
    assert sum(tasks["c"].dropped.values()) == 0


def test_words_leak_into_the_sentence_that_they_make(tmp_path: Path) -> None:
    tagged = [{"tokens": ["word", str(i)], "tags": ["A", "B"]} for i in range(400)]
    tasks = load_tasks(
        [
            TaskSource("tags", path=write(tmp_path / "tags.jsonl", tagged)),
            TaskSource("texts", path=write(tmp_path / "texts.jsonl", rows_of(numbered("Word", 400)))),
        ]
    )
    held_out = {key for task in tasks.values() for part in HELD_OUT for key in task.splits[part].keys.tolist()}
    for task in tasks.values():
        assert sum(task.dropped.values()) > 0
        assert held_out.isdisjoint(task.splits["train"].keys.tolist())
        assert sum(lengths(task)) + sum(task.dropped.values()) == 400


def test_a_row_that_occurs_twice_in_a_file_is_not_trained_on_if_it_is_held_out(tmp_path: Path) -> None:
    texts = numbered("row", 300) * 2
    task = load_tasks([TaskSource("one", path=write(tmp_path / "one.jsonl", rows_of(texts, (0, 0, 0, 1))))])["one"]
    held_out = {text for part in HELD_OUT for text in task.splits[part].first}
    assert held_out.isdisjoint(task.splits["train"].first)
    assert set(task.splits["test"].first).isdisjoint({*task.splits["validation"].first, *task.splits["probe"].first})


@pytest.mark.parametrize("form", FORMATS)
def test_rows_that_test_has_are_left_out_of_validation_and_probe(tmp_path: Path, form: str) -> None:
    """Twenty validation rows occur in the test file, in capitals; ten training rows do, and one that is cut."""
    train, dev, test = (labelled(["a", "b"] * 100, start) for start in ("train", "dev", "test"))
    shouted = [row | {"text": row["text"].upper() + " "} for row in dev[:20]]
    task = task_rows(tmp_path, form, {"train": train, "validation": dev, "test": [*test, *shouted, *train[::10]]})
    held_out = set(task.splits["test"].keys.tolist())
    assert len(task.splits["test"]) == 240
    assert task.shared["validation"] == 20 and len(task.splits["validation"]) == 180
    assert task.shared.get("probe", 0) + task.dropped["test"] == 20
    assert all(held_out.isdisjoint(task.splits[part].keys.tolist()) for part in ("train", "probe", "validation"))
    apart = task_rows(tmp_path / "x", form, {"train": train, "validation": dev, "test": test})
    assert (apart.shared, sum(apart.dropped.values())) == ({}, 0)


@pytest.mark.parametrize("form", FORMATS)
def test_a_test_file_that_is_a_copy_of_the_validation_file_is_refused(tmp_path: Path, form: str) -> None:
    train, dev = (labelled(["a", "b"] * 100, start) for start in ("train", "dev"))
    with pytest.raises(DataError, match="200 of 200 validation rows have an input that occurs in the 200 test rows"):
        task_rows(tmp_path, form, {"train": train, "validation": dev, "test": dev[::-1]})
    nearly = [*dev[:190], *labelled(["a", "b"] * 5, "fresh")]
    with pytest.raises(DataError, match=r"190 of 200 validation rows .* say under `splits` where validation"):
        task_rows(tmp_path, form, {"train": train, "validation": dev, "test": nearly})


def test_a_file_under_splits_that_is_the_test_file_is_refused(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine.jsonl", rows_of(numbered("test", 20)))
    for part in ("validation", "probe"):
        with pytest.raises(DataError, match=f"20 of 20 {part} rows have an input"):
            task_of(tmp_path, more={"test": 20}, splits={part: mine})


def test_what_a_relative_is_tested_on_does_not_change_what_a_task_is_compared_by(tmp_path: Path) -> None:
    one = {
        "train": write(tmp_path / "a.jsonl", rows_of(numbered("a", 400))),
        "validation": write(tmp_path / "d.jsonl", rows_of(numbered("d", 60))),
    }
    other = {
        "train": write(tmp_path / "b.jsonl", rows_of(numbered("b", 400))),
        "validation": write(tmp_path / "e.jsonl", rows_of(numbered("a", 200))),
    }
    alone = load_tasks([TaskSource("one", files=one)])["one"]
    beside = load_tasks([TaskSource("one", files=one), TaskSource("other", files=other)])["one"]
    assert all(alone.splits[part].first == beside.splits[part].first for part in HELD_OUT) and beside.shared == {}
    assert beside.dropped["test"] > 0


def test_a_task_that_leaks_wholly_is_an_error(tmp_path: Path) -> None:
    same = rows_of(numbered("row", 400))
    files = {"train": write(tmp_path / "train.jsonl", same), "validation": write(tmp_path / "validation.jsonl", same)}
    with pytest.raises(DataError, match="no training rows are left after 300 rows were dropped"):
        load_tasks([TaskSource("one", files=files)])
