"""The audit finds tables whose figures would say less than they seem to, and lets sound ones pass."""

from __future__ import annotations

import numpy as np
import pytest

from auxtune.orchestrator.simulation.audit import audit_table, measure_copied_share
from auxtune.orchestrator.tables.reading import read_recorded
from tests.recorded_tables import ABCD, groups_rows, mixtures_rows, transfer_rows, write_table


def audited(folder, kind, rows, tasks=ABCD, **header):
    return audit_table(read_recorded(write_table(folder, kind, tasks, rows, **header)).table)


def test_sound_tables_pass(tmp_path) -> None:
    assert audited(tmp_path / "g", "groups", groups_rows(seed=1)) == []
    assert audited(tmp_path / "m", "mixtures", mixtures_rows()) == []
    assert audited(tmp_path / "t", "transfer", transfer_rows("abcdefgh", "b"), "abcdefgh", mode="max") == []


def planted(share: float):
    """Test values that are validation values on another scale, in a share of the groups."""
    rows, rng = groups_rows("abcde", noise=0.3), np.random.default_rng(3)
    of = {(row["tasks"], row["target"]): row["value"] for row in rows if row["split"] == "validation"}
    chosen = {key: rng.random() < share for key in of}
    return [
        {**row, "value": 3 * of[row["tasks"], row["target"]] - 0.7}
        if row["split"] == "test" and chosen[row["tasks"], row["target"]]
        else row
        for row in rows
    ]


@pytest.mark.parametrize("share", [1.0, 0.8])
def test_a_planted_affine_copy_is_found_for_every_task(tmp_path, share) -> None:
    lines = audited(tmp_path, "groups", planted(share), "abcde")
    for task in "abcde":
        assert any(line.startswith(f"{task}: test is validation on another scale") for line in lines)


def test_a_few_copied_rows_are_no_copy(tmp_path) -> None:
    assert not [line for line in audited(tmp_path, "groups", planted(0.1), "abcde") if "copy" in line]


def test_a_copy_is_a_copy_with_a_negative_slope_and_noise_is_none() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=50)
    assert measure_copied_share(x, 5 - 2 * x) == 1.0
    assert measure_copied_share(x, x + 0.05 * rng.normal(size=50)) < 0.5
    assert measure_copied_share(x[:3], x[:3]) == 0.0  # too few to tell
    assert measure_copied_share(x[:5], 2 * x[:5]) == 1.0
    assert measure_copied_share(x[:5], x[:5] + 0.1 * rng.normal(size=5)) == 0.0
    assert measure_copied_share(x, np.ones(50)) == 0.0


def test_one_value_for_most_groups_is_said(tmp_path) -> None:
    rows = [
        {**row, "value": 0.5} if row["target"] == "c" and "a" not in row["tasks"] else row
        for row in groups_rows(noise=0)
    ]
    rows = [{**row, "value": 0.5} if row["target"] == "c" and row["split"] == "validation" else row for row in rows]
    assert any(line.startswith("c on validation: 8 of 8 values are 0.5") for line in audited(tmp_path, "groups", rows))


def test_splits_that_do_not_agree_are_said(tmp_path) -> None:
    rng = np.random.default_rng(0)
    rows = [{**row, "value": rng.random()} if row["split"] == "test" else row for row in groups_rows("abcdef")]
    lines = audited(tmp_path, "groups", rows, "abcdef")
    assert any("validation and test hardly agree" in line for line in lines)


def test_gaps_and_constant_columns_and_repeated_mixtures_are_said(tmp_path) -> None:
    rows = [row for row in groups_rows() if (row["tasks"], row["target"]) != ("a+b", "b")]
    lines = audited(tmp_path / "g", "groups", rows)
    assert any("1 groups lack a value of a member on a split (a+b)" in line for line in lines)
    mixtures = [{**row, "w:e": 0} for row in mixtures_rows()]
    mixtures.append({**mixtures[0], "split": "test"})
    lines = audited(tmp_path / "m", "mixtures", mixtures, (*ABCD, "e"))
    assert "w:e is the same in every row: nothing can be learnt of it" in lines
    assert any("1 mixtures of the split train are in the split test, too" in line for line in lines)


def test_the_same_mixtures_at_another_size_are_compared(tmp_path) -> None:
    rows = mixtures_rows()
    larger = [
        {**row, "split": "large", "y:a": 2 * row["y:a"], "y:overall": -(row["y:overall"] ** 2)}
        for row in rows
        if row["split"] == "test"
    ]
    lines = audited(tmp_path, "mixtures", [*rows, *larger])
    assert any(line.startswith("a: large is test on another scale") for line in lines)
    assert any("overall: test and large hardly agree" in line for line in lines)
