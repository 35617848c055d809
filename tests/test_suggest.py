"""Advice on mixtures from runs that were made elsewhere: the command on a CSV, and asking and telling in Python."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from auxtune import MixtureAdvisor
from auxtune.orchestrator.cli import main

TASKS = ["code", "books", "web", "maths", "chat"]


def measure_loss(weights: dict[str, float]) -> float:
    """Lowest with two thirds of books and a third of code."""
    shares = np.array([weights.get(name, 0.0) for name in TASKS])
    best = np.array([1 / 3, 2 / 3, 0.0, 0.0, 0.0])
    return 3.0 + float(((np.sqrt(shares) - np.sqrt(best)) ** 2).sum())


def write_runs(path: Path, count: int = 30, noise: float = 0.02) -> Path:
    rng = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"w:{name}" for name in TASKS), "y:loss", "y:accuracy", "note"])
        for shares in rng.dirichlet(np.full(len(TASKS), 0.5), count):
            loss = measure_loss(dict(zip(TASKS, shares, strict=True))) + noise * rng.standard_normal()
            writer.writerow([*shares.round(4), loss, "", "elsewhere"])
    return path


def suggest(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["suggest", *arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_it_says_how_well_runs_are_predicted_the_best_and_what_to_train_next(tmp_path: Path) -> None:
    runs = str(write_runs(tmp_path / "runs.csv"))
    said = json.loads(suggest(runs, "--target", "loss", "--mode", "min", "--next", "3", "--json"))
    assert said["runs"] == 30 and said["quality"]["spearman"] > 0.9 and 0 < said["noise"] < 0.1
    best = said["best"]
    assert measure_loss(best["weights"]) < 3.25  # all tasks alike: 3.43, the best there is: 3
    assert best["low"] < best["mean"] < best["high"] and best["better_than"] == {"all tasks": pytest.approx(1, abs=0.1)}
    assert [sum(mixture.values()) for mixture in said["next"]] == pytest.approx([1, 1, 1])
    assert min(map(measure_loss, said["next"])) < measure_loss(best["weights"])
    shown = suggest(runs, "--target", "loss", "--mode", "min")
    assert "30 runs with loss." in shown and "books" in shown and "Train next" in shown


def test_runs_that_say_nothing_are_called_so(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    rng = np.random.default_rng(1)
    rows = [[*shares, rng.standard_normal()] for shares in rng.dirichlet(np.ones(3), 25).round(4)]
    path.write_text("w:a,w:b,w:c,y:score\n" + "\n".join(",".join(map(str, row)) for row in rows))
    assert "hardly better than chance" in suggest(str(path))


def test_asking_and_telling_comes_to_the_best_in_few_runs_of_the_lower_the_better() -> None:
    advisor = MixtureAdvisor(TASKS, mode="min")
    for _ in range(10):
        for weights in advisor.ask(2):
            advisor.tell(weights, measure_loss(weights))
    best = advisor.advise().best
    assert best is not None and measure_loss(best.weights) < 3.01
    assert best.seen == pytest.approx(measure_loss(best.weights)) and best.low <= best.mean <= best.high


def test_what_is_asked_for_is_not_remembered_and_several_differ() -> None:
    advisor = MixtureAdvisor(TASKS, primary="chat")
    first = advisor.ask(4)
    assert first == advisor.ask(4) and len({json.dumps(weights, sort_keys=True) for weights in first}) == 4
    assert first[0] == {"chat": 1.0}


def test_few_runs_or_scores_alike_give_mixtures_and_no_judgement(tmp_path: Path) -> None:
    for count, noise in ((0, 0.0), (2, 0.0)):
        advisor = MixtureAdvisor(TASKS)
        for weights in advisor.ask(count):
            advisor.tell(weights, 1.0 + noise)
        assert advisor.advise().best is None and len(advisor.ask(3)) == 3
    path = tmp_path / "runs.csv"
    path.write_text("w:a,w:b,y:score\n1,0,0.5\n0.5,0.5,\n")
    said = suggest(str(path))
    assert "1 without a value left out" in said and "Fewer than three runs" in said and "Train next" in said


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        ("w:a,w:b,y:s\n0.5,0.6,1\n", (), "runs.csv:2: w:: expected shares that sum to 1, found a sum of 1.1"),
        ("w:a,w:b,y:s\n0.5,0.5,1\n-0.5,1.5,1\n", (), "runs.csv:3: w:a: expected a share of at least 0, found -0.5"),
        ("w:a,w:b,y:s\n0.5,0.5,high\n", (), "runs.csv:2: y:s: expected a finite number, found 'high'"),
        ("w:a,w:b,y:s\n0.5,0.5,inf\n", (), "runs.csv:2: y:s: expected a finite number, found 'inf'"),
        ("w:a,w:b\n0.5,0.5\n", (), "runs.csv:1: expected a column y:<target>, found w:a, w:b"),
        ("a,b,y:s\n0.5,0.5,1\n", (), "runs.csv:1: expected a column w:<task>, found a, b, y:s"),
        ("w:a,w:b,y:s,y:t\n0.5,0.5,1,1\n", (), "expected --target NAME, one of s, t; got none"),
        ("w:a,w:b,y:s\n0.5,0.5,1\n", ("--target", "t"), "expected a target of s, got 't'"),
        ("w:a,w:b,y:s\n0.5,0.5,1\n", ("--primary", "c"), "--primary: expected one of a, b, got 'c'"),
        ("w:a,w:b,y:s\n", (), "expected rows, found only a header"),
    ],
)
def test_mistakes_are_named_with_line_and_column(
    tmp_path: Path, text: str, arguments: tuple[str, ...], said: str
) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(text)
    assert said in suggest(str(path), *arguments, code=2)
    assert "expected" in suggest(str(tmp_path / "none.csv"), code=2)


@pytest.mark.parametrize(
    ("weights", "score"),
    [({"code": 0.5, "news": 0.5}, 1.0), ({"code": -1.0, "web": 2.0}, 1.0), ({}, 1.0), ({"code": 1.0}, math.nan)],
)
def test_what_is_no_mixture_or_no_score_is_refused(weights: dict[str, float], score: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        MixtureAdvisor(TASKS).tell(weights, score)


def test_odd_tasks_are_refused() -> None:
    for tasks, primary in (([], None), (["a", "a"], None), (["a"], "b")):
        with pytest.raises(ValueError, match=r"expected|primary"):
            MixtureAdvisor(tasks, primary)


def test_a_picture_shows_what_was_expected_of_each_run(tmp_path: Path) -> None:
    runs = str(write_runs(tmp_path / "runs.csv"))
    suggest(runs, "--target", "loss", "--mode", "min", "--plot", str(tmp_path / "fit.svg"))
    assert (
        "predicted from the other runs" in (tmp_path / "fit.svg").read_text() or (tmp_path / "fit.svg").stat().st_size
    )
    assert "cannot be written" in suggest(runs, "--target", "loss", "--plot", str(tmp_path / "fit.odd"), code=2)
