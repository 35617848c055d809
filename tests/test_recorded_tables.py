"""Recorded tables of all kinds are read, and everything wrong with one is named by file, line and column."""

from __future__ import annotations

import json

import numpy as np
import pytest

from auxtune.orchestrator.tables.reading import read_recorded, read_transfers
from auxtune.orchestrator.tables.rows import TableError
from tests.recorded_tables import (
    ABCD,
    groups_rows,
    half_size,
    mixtures_rows,
    transfer_rows,
    write_rows,
    write_table,
)


def test_groups_are_read_with_networks_of_several_sizes(tmp_path) -> None:
    rows = groups_rows(seeds=2)
    table = read_recorded(write_table(tmp_path, "groups", ABCD, [*rows, *half_size(rows)])).table
    assert len(table.networks) == 15 + 4
    assert table.targets == ABCD
    assert table.seeds == (0, 1)
    full, half = table.place("b"), table.place("b", "half")
    assert (table.networks[full].cost, table.networks[half].cost) == (1.0, 0.5)
    by_hand = [row["value"] for row in rows if (row["tasks"], row["target"], row["split"]) == ("a+c", "c", "test")]
    assert table.mean("test")[table.place("ca"), 2] == pytest.approx(np.mean(by_hand))
    assert np.isnan(table.mean("test")[table.place("ac"), 1])


def test_other_keys_and_columns_are_ignored_and_order_in_a_group_says_nothing(tmp_path) -> None:
    rows = [{**row, "tasks": "+".join(reversed(row["tasks"].split("+"))), "host": "x"} for row in groups_rows()]
    table = read_recorded(write_table(tmp_path, "groups", ABCD, rows, source="elsewhere")).table
    assert table.networks[table.place("ab")].tasks == ("a", "b")


def test_a_file_that_a_spreadsheet_saved_is_read(tmp_path) -> None:
    folder = write_table(tmp_path, "groups", ABCD, groups_rows())
    (folder / "rows.csv").write_bytes(b"\xef\xbb\xbf" + (folder / "rows.csv").read_bytes())
    assert len(read_recorded(folder).table.networks) == 15


def test_transfers_are_read_and_rows_of_a_task_to_itself_left_out(tmp_path) -> None:
    rows = [*transfer_rows(ABCD, "b"), {"source": "a", "target": "a", "seed": 0, "value": 9}]
    table = read_transfers(write_table(tmp_path, "transfer", ABCD, rows, mode="max"))
    assert table.sources == (None, *ABCD)
    assert np.isnan(table.mean[1, 0])
    assert table.mean[table.sources.index("b"), 0] == pytest.approx(0.8, abs=0.05)


def test_mixtures_are_read_with_gaps_and_rounded_shares(tmp_path) -> None:
    rows = [
        {"split": s, "w:a": 0.334, "w:b": 0.333, "w:c": 0.332, "w:d": 0, "y:a": y}
        for s, y in (("train", 1), ("train", ""), ("test", 2))
    ]
    table = read_recorded(write_table(tmp_path, "mixtures", ABCD, rows)).table
    assert table.targets == ("a",)
    assert np.allclose(table.weights["train"].sum(axis=1), 1)
    assert np.isnan(table.values["train"][1, 0])


def test_affinities_are_read_beside_a_table(tmp_path) -> None:
    folder = write_table(tmp_path, "groups", ABCD, groups_rows())
    write_rows(
        folder / "affinity.csv",
        [
            {"method": "tag", "recipient": "a", "source": "b", "seed": 3, "value": 0.5, "seconds": 2},
            {"method": "tag", "recipient": "b", "source": "a", "seed": 3, "value": "", "seconds": ""},
        ],
    )
    found = read_recorded(folder).affinities
    assert found.seeds == (3,)
    assert found.values["tag"][0, 0, 1] == 0.5
    assert np.isnan(found.values["tag"][0, 1, 0])
    assert found.seconds["tag"][0, 0, 1] == 2


GROUP = {"tasks": "a+b", "target": "a", "split": "test", "value": 1, "cost": 1, "seed": 0}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"value": "much"}, ":32: value: expected a finite number, found 'much'"),
        ({"value": ""}, ":32: value: expected a finite number, found ''"),
        ({"value": "inf"}, ":32: value: expected a finite number, found 'inf'"),
        ({"cost": 0}, ":32: cost: expected more than 0, found 0"),
        ({"cost": 2}, ":32: cost: expected one cost for a network, found 2 after 1"),
        ({"tasks": "a+z"}, ":32: tasks: expected tasks of table.json joined by '+', found 'z'"),
        ({"tasks": "a+a"}, ":32: tasks: expected each task once, found 'a+a'"),
        ({"target": "c"}, ":32: target: expected a member of a+b, found 'c'"),
        ({"split": "dev"}, ":32: split: expected validation, test, early, found 'dev'"),
        ({"seed": "1.5"}, ":32: seed: expected a whole number, found 1.5"),
        ({"seed": "0"}, ":32: target: a+b has a value of a on test already"),
    ],
)
def test_every_mistake_in_groups_names_its_line_and_column(tmp_path, change, said) -> None:
    rows = [{key: row[key] for key in GROUP} for row in groups_rows("ab", seeds=3)][:30]
    folder = write_table(tmp_path, "groups", "ab", [*rows, {**GROUP, "seed": 7, **change}])
    with pytest.raises(TableError) as caught:
        read_recorded(folder)
    assert f"{folder / 'rows.csv'}{said}" in str(caught.value)


def test_all_mistakes_are_named_at_once(tmp_path) -> None:
    rows = [{**row, "value": "x"} if number % 10 == 0 else row for number, row in enumerate(groups_rows())]
    with pytest.raises(TableError) as caught:
        read_recorded(write_table(tmp_path, "groups", ABCD, rows))
    assert str(caught.value).count("expected a finite number, found 'x'") == len(rows[::10])


@pytest.mark.parametrize(
    ("kind", "rows", "said"),
    [
        ("groups", [row for row in groups_rows() if row["split"] != "test"], "expected rows of the split test"),
        ("mixtures", [row for row in mixtures_rows() if row["split"] == "test"], "expected rows of the split train"),
        ("mixtures", [{**mixtures_rows()[0], "w:a": -1}], ":2: w:a: expected a share of at least 0, found -1"),
        ("mixtures", [{**mixtures_rows()[0], "w:a": 3}], ":2: w:: expected shares that sum to 1"),
        ("mixtures", [{"split": "train", "w:a": 1}], "missing: w:b, w:c, w:d"),
        (
            "transfer",
            [{"source": "a", "target": "z", "value": 1}],
            ":2: target: expected a task of table.json, found 'z'",
        ),
        (
            "transfer",
            [{"source": "z", "target": "a", "value": 1}],
            ":2: source: expected a task of table.json, found 'z'",
        ),
        ("transfer", [{"source": "a", "target": "b", "value": 1}] * 2, ":3: source: a to b has a value already"),
        ("transfer", [{"source": "a", "target": "b", "value": 1}], "expected a target with at least two sources"),
    ],
)
def test_mistakes_in_other_kinds_and_missing_splits(tmp_path, kind, rows, said) -> None:
    with pytest.raises(TableError) as caught:
        read_recorded(write_table(tmp_path, kind, ABCD, rows))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("format", 2, "format"),
        ("kind", "grid", "kind"),
        ("mode", "best", "mode"),
        ("tasks", [], "tasks"),
        ("tasks", ["a", "a"], "each must be given once, got a"),
        ("tasks", ["a+b"], "must not be empty or, for groups, hold '+'"),
    ],
)
def test_every_mistake_in_the_header_names_its_key(tmp_path, key, value, said) -> None:
    folder = write_table(tmp_path, "groups", ABCD, groups_rows())
    header = json.loads((folder / "table.json").read_text())
    (folder / "table.json").write_text(json.dumps({**header, key: value}))
    with pytest.raises(TableError, match=r"table\.json") as caught:
        read_recorded(folder)
    assert said in str(caught.value)


def test_what_is_no_table_is_said_so(tmp_path) -> None:
    with pytest.raises(TableError, match=r"expected a recorded table, a folder with table.json and rows.csv"):
        read_recorded(tmp_path)
    folder = write_table(tmp_path, "groups", ABCD, groups_rows())
    (folder / "rows.csv").unlink()
    with pytest.raises(TableError, match="found no file"):
        read_recorded(folder)
    (folder / "rows.csv").write_bytes(b"tasks,target\xff\n")
    with pytest.raises(TableError, match="expected a CSV file in UTF-8"):
        read_recorded(folder)
    (folder / "table.json").write_text("{")
    with pytest.raises(TableError, match="expected JSON"):
        read_recorded(folder)
