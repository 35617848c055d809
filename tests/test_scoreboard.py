"""The scoreboard names a winner only where chance cannot have made one, and says what the result files say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import scoreboard  # noqa: E402 (benchmarks are scripts: on the path only now)
import scoreboard_run  # noqa: E402 (as above)


def judged(higher: bool = True, costs=MappingProxyType({}), **values):
    rows = pd.DataFrame(
        [
            {"selector": name, "seed": seed, "quality": value, "cost": costs.get(name, 10.0)}
            for name, each in values.items()
            for seed, value in enumerate(each)
        ]
    )
    result = {"measure": "quality", "higher_is_better": higher, "beyond_budget": []}
    order = scoreboard._order(rows, result)
    return scoreboard.verdict(rows, result, order)


NOISE = np.random.default_rng(0).normal(size=(4, 20))


def test_a_lead_beyond_chance_over_every_other_wins_in_either_direction() -> None:
    leads = {"a": 5 + NOISE[0], "b": NOISE[1], "c": NOISE[2]}
    assert judged(**leads) == "Winner: `a`."
    assert judged(higher=False, **{name: -values for name, values in leads.items()}) == "Winner: `a`."


def test_leads_within_chance_win_nothing_and_say_who_is_level() -> None:
    said = judged(a=0.1 + NOISE[0], b=NOISE[1], c=NOISE[2] - 9)
    assert said.startswith("No winner:")
    assert said.count("`") == 4  # the leader and the one that is level, not the third


def test_the_more_are_compared_the_larger_a_lead_must_be() -> None:
    lead = 0.35 + 0.7 * NOISE[0] / NOISE[0].std(ddof=1)
    lead += 0.35 - lead.mean()  # t = 2.24: beyond chance for one pair, not for several
    assert judged(a=lead, b=np.zeros(20)) == "Winner: `a`."
    assert judged(a=lead, b=np.zeros(20), c=np.full(20, -9), d=np.full(20, -9)).startswith("No winner")


def test_nothing_wins_against_what_cost_less_but_for_controls() -> None:
    leads = {"a": 5 + NOISE[0], "b": NOISE[1]}
    assert judged(costs={"b": 8.0}, **leads) == "No winner at equal cost: `a` is best, and `b` cost less."
    assert judged(costs={"b": 9.5}, **leads) == "Winner: `a`."
    assert judged(costs={"all_tasks": 1.0}, a=leads["a"], all_tasks=NOISE[1]) == "Winner: `a`."


def test_where_seeds_change_nothing_no_winner_is_named() -> None:
    assert judged(a=np.full(5, 2.0), b=np.full(5, 1.0)) == "No winner: `a` leads, and `b` cannot be told from it."


def test_one_that_failed_with_some_seed_is_not_compared() -> None:
    assert judged(a=np.full(5, np.nan), b=NOISE[0][:5]) == "No winner: nothing to compare."


@pytest.mark.parametrize("script", ["scoreboard.py", "bench.py"])
def test_the_page_says_what_the_files_do(script: str) -> None:
    done = subprocess.run(
        [sys.executable, f"benchmarks/{script}", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", scoreboard.results("scoreboard"), ids=lambda path: path.stem)
def test_every_block_holds_its_provenance_and_its_controls(path) -> None:
    result = json.loads(path.read_text())
    assert result["commit"] and result["command"].startswith("python benchmarks/scoreboard_run.py")
    assert result["machine"]["cores"] >= 1
    names = {row["selector"] for row in result["rows"]}
    assert {"all_tasks"} <= names & set(scoreboard.CONTROLS)
    assert names & {"random_subset", "random_groups"}
    assert len(result["rows"]) == len(names) * len(result["seeds"])


def test_a_block_is_run_and_written(tmp_path, monkeypatch) -> None:
    block = scoreboard_run.Block(
        "builtin", "Which tasks help?", "mean_test", ("tag", "random_subset", "all_tasks"), {"budgets": [4]}
    )
    monkeypatch.setitem(scoreboard_run.BLOCKS, "small", block)
    monkeypatch.setattr(scoreboard_run, "RESULTS", tmp_path)
    scoreboard_run.run("small", scoreboard_run.INSTALLED / "builtin", seeds=3)
    result = json.loads((tmp_path / "scoreboard_small.json").read_text())
    lines = list(scoreboard.section(result))
    assert lines[0] == "## builtin: Which tasks help?\n"
    assert sum(line.startswith("| ") for line in lines) == 1 + 3
    assert any(line.startswith("| *`all_tasks`* |") for line in lines)
    assert result["peak_memory_mb"] > 0
