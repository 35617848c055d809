"""``auxtune simulate`` as it is called: rows as JSON, lines for people, warnings, a picture, and what it refuses."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from auxtune.orchestrator.cli import main
from auxtune.orchestrator.simulation.simulate import COLUMNS
from tests.recorded_tables import ABCD, groups_rows, transfer_rows, write_table


@pytest.fixture
def folder(tmp_path):
    return write_table(tmp_path / "four", "groups", ABCD, groups_rows(seed=4))


def simulated(*arguments):
    return CliRunner().invoke(main, ["simulate", *map(str, arguments)])


def test_json_is_a_list_of_rows_with_null_where_not_applicable(folder) -> None:
    done = simulated(folder, "--selector", "exhaustive", "--selector", "hoa", "--models", "1,2", "--seeds", 2, "--json")
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert [tuple(row) for row in rows] == [COLUMNS] * 8
    assert {(row["selector"], row["models"], row["seed"]) for row in rows} == {
        (name, models, seed) for name in ("exhaustive", "hoa") for models in (1, 2) for seed in (0, 1)
    }
    assert rows[0]["table"] == "four"
    assert (rows[0]["target"], rows[0]["ndcg"], rows[0]["inference_budget"]) == (None, None, None)
    assert rows[0]["total_test"] == pytest.approx(4 * rows[0]["mean_test"])


def test_lines_for_people_say_what_is_better_and_what_costs_are(folder) -> None:
    done = simulated(folder, "--selector", "exhaustive", "--selector", "random_groups", "--seeds", 3)
    assert done.exit_code == 0, done.output
    assert "loss: lower is better. ±: 95 % interval over seeds. Cost in trainings of one task." in done.stdout
    header, exhaustive, random = done.stdout.splitlines()[:3]
    assert header.split() == ["selector", "models", "total_test", "mean_test", "regret", "trials", "cost"]
    assert "±" not in exhaustive
    assert "±" in random


def test_an_option_goes_to_the_selectors_that_have_it(folder) -> None:
    done = simulated(folder, "--selector", "exhaustive", "--selector", "hoa", "--set", "split=early", "--json")
    costs = {row["selector"]: row["cost"] for row in json.loads(done.stdout)}
    assert costs == pytest.approx({"exhaustive": 0.2 * 32, "hoa": 16})
    assert simulated(folder, "--selector", "hoa", "--set", "split=early").exit_code == 2


def test_the_table_is_audited_first(tmp_path) -> None:
    rows = groups_rows(noise=0)
    done = simulated(write_table(tmp_path, "groups", ABCD, rows), "--selector", "hoa", "--json")
    assert "on another scale in 100% of the rows (an affine copy)" in done.stderr
    json.loads(done.stdout)


def test_the_installed_table_is_there_by_name() -> None:
    done = simulated("builtin", "--selector", "tag", "--selector", "single_task", "--seeds", 2)
    assert done.exit_code == 0, done.output
    assert "accuracy: higher is better" in done.stdout
    assert "Cost in seconds" in done.stdout


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_picture_shows_every_selector(folder, tmp_path, suffix) -> None:
    path = tmp_path / f"picture.{suffix}"
    done = simulated(folder, "--selector", "exhaustive", "--selector", "hoa", "--models", "1,2", "--picture", path)
    assert done.exit_code == 0, done.output
    assert path.stat().st_size > 5000
    if suffix == "svg":
        assert path.read_text().startswith("<?xml")


def test_transfers_are_averaged_over_targets(tmp_path) -> None:
    folder = write_table(tmp_path, "transfer", "abcdefgh", transfer_rows("abcdefgh", "b"), mode="max")
    done = simulated(folder, "--selector", "all_tasks", "--budget", 0)
    assert done.exit_code == 0, done.output
    assert "95 % interval over targets" in done.stdout
    assert len([line for line in done.stdout.splitlines() if line.startswith("all_tasks")]) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("--selector", "nobody"),
        (),
        ("--selector", "hoa", "--models", "two"),
        ("--selector", "hoa", "--target", "z"),
        ("--selector", "{name: hoa"),
        ("--selector", "hoa", "--picture", "/nowhere/x.png"),
        ("--selector", "hoa", "--judge-on", "dev"),
    ],
)
def test_bad_arguments_end_with_2_and_a_word_not_a_traceback(folder, arguments) -> None:
    done = simulated(folder, *arguments)
    assert done.exit_code == 2
    assert "Traceback" not in done.output
    assert done.stderr.strip()
