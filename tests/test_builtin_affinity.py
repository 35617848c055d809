"""The recorded affinities of the built-in tasks: every method, every pair, every seed, of these very rows."""

from __future__ import annotations

import csv
import itertools
import json
from collections import Counter
from importlib.resources import files
from math import isfinite

import pytest

TABLE = files("auxtune.examples") / "tables" / "builtin"
METHODS = ("gradts", "representation", "gradient", "covariance", "covariance_normalised", "tag", "tag_cosine")
SYMMETRIC = METHODS[:5]
SEEDS = 5


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with (TABLE / "affinity.csv").open() as file:
        return list(csv.DictReader(file))


def test_every_pair_of_tasks_has_every_method_and_seed_once(rows: list[dict[str, str]]) -> None:
    tasks = json.loads((TABLE / "table.json").read_text())["tasks"]
    wanted = Counter(
        (method, recipient, source, str(seed))
        for method, recipient, source, seed in itertools.product(METHODS, tasks, tasks, range(SEEDS))
        if recipient != source or method == "tag"      # only its diagonal is of held-out rows
    )
    assert Counter((row["method"], row["recipient"], row["source"], row["seed"]) for row in rows) == wanted


def test_values_are_what_the_methods_can_give(rows: list[dict[str, str]]) -> None:
    values = {(row["method"], row["recipient"], row["source"], row["seed"]): float(row["value"]) for row in rows}
    assert all(map(isfinite, values.values())) and all(float(row["seconds"]) > 0 for row in rows)
    for (method, recipient, source, seed), value in values.items():
        if method in SYMMETRIC:
            assert value == pytest.approx(values[method, source, recipient, seed], abs=1e-5)
        if not method.startswith("tag") or method == "tag_cosine":
            assert -1 <= value <= 1
    one_way = [key for key in values if key[0] == "tag" and key[1] != key[2]]
    assert any(values[key] != values["tag", key[2], key[1], key[3]] for key in one_way), "it has a direction"
