"""What every way of measuring says of every pair of the built-in tasks: the file is whole, and of these very rows."""

from __future__ import annotations

import csv
import json
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

from auxtune.trials.builtin import BUILTIN, hash_builtin

TABLE = files("auxtune.examples") / "tables" / "builtin"
SEEDS = 5
SYMMETRIC = ("gradts", "representation", "gradient", "covariance", "covariance_normalised", "tag_cosine")


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with (TABLE / "affinity.csv").open() as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def described(rows: list[dict[str, str]]) -> Any:
    return json.loads((TABLE / "table.json").read_text())["affinity"]


def table(rows: list[dict[str, str]], method: str, column: str = "value") -> np.ndarray:
    """(seeds, tasks, tasks), [recipient, source], in the tasks' order."""
    tasks = list(BUILTIN)
    found = np.full((SEEDS, len(tasks), len(tasks)), np.nan)
    for row in rows:
        if row["method"] == method:
            found[int(row["seed"]), tasks.index(row["recipient"]), tasks.index(row["source"])] = float(row[column])
    return found


def test_the_file_is_whole(rows: list[dict[str, str]], described: Any) -> None:
    assert list(rows[0]) == ["method", "recipient", "source", "seed", "value", "seconds"]
    assert {row["method"] for row in rows} == set(described["methods"]) == {*SYMMETRIC, "tag", "tag_first"}
    assert len(rows) == len(described["methods"]) * SEEDS * len(BUILTIN) ** 2
    for method in described["methods"]:
        assert np.isfinite(table(rows, method)).all() and (table(rows, method, "seconds") > 0).all()


def test_it_is_of_these_very_rows_and_of_the_recipe_of_the_table(described: Any) -> None:
    assert described["data"] == hash_builtin()
    assert described["training"] == json.loads((TABLE / "table.json").read_text())["training"]
    assert described["seeds"] == list(range(SEEDS))


def test_likeness_goes_both_ways_and_help_does_not(rows: list[dict[str, str]]) -> None:
    for method in SYMMETRIC:
        assert np.allclose(table(rows, method), table(rows, method).swapaxes(1, 2), rtol=1e-5, atol=1e-5), method
        own = table(rows, method).diagonal(axis1=1, axis2=2)
        assert np.allclose(own, 1, atol=1e-5) if method != "covariance" else (own < 1).all(), method
    for method in ("tag", "tag_first"):
        assert not np.allclose(table(rows, method), table(rows, method).swapaxes(1, 2)), method


def test_seeds_measured_runs_of_their_own(rows: list[dict[str, str]], described: Any) -> None:
    for method in described["methods"]:
        found = table(rows, method)
        assert len({each.tobytes() for each in found}) == SEEDS, method


def test_methods_that_read_the_same_evidence_name_the_same_price(rows: list[dict[str, str]]) -> None:
    for one, other in (("covariance", "covariance_normalised"), ("tag", "tag_cosine")):
        assert np.array_equal(table(rows, one, "seconds"), table(rows, other, "seconds"))
    parts = table(rows, "gradts", "seconds")
    own = parts.diagonal(axis1=1, axis2=2)
    assert np.allclose(parts, own[:, :, None] + own[:, None, :] - np.eye(len(BUILTIN)) * own[:, None, :], atol=2e-4)
