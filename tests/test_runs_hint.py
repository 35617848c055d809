"""Runs made elsewhere as a prior of `auto`: the direction they give, what their weight becomes, and what is tried."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_auto import Surface, problem_of, search
from test_hints import USEFUL, ask_thrice, measure_saving, useful, with_earlier

from auxtune.selectors.kit.hints import build_runs_hint
from auxtune.selectors.methods.auto import Auto
from auxtune.selectors.protocol import EarlierRuns, Problem


def run_elsewhere(
    surface: Surface, tasks: int, count: int = 40, noise: float = 0.02, scale: float = 1.0, offset: float = 0.0
) -> EarlierRuns:
    """Random mixtures and what a trainer elsewhere made of them."""
    rng = np.random.default_rng(7)
    shares = rng.dirichlet(np.full(tasks, 0.5), count)
    scores = [scale * (surface(row) + noise * rng.standard_normal()) + offset for row in shares]
    return EarlierRuns("runs.csv", tuple(map(tuple, shares.tolist())), tuple(scores))


def knowing(problem: Problem, surface: Surface, **how: float) -> Problem:
    return replace(problem, runs=(run_elsewhere(surface, len(problem.tasks), **how),))


def opposite(shares: np.ndarray) -> float:
    return -useful(shares)


def unrelated(shares: np.ndarray) -> float:
    """About tasks that have nothing to do with what is ``useful``."""
    return float(np.sqrt(shares[[1, 3]]) @ [1.0, -1.0])


def test_the_direction_has_one_scale_and_turns_with_the_sign_of_the_scores() -> None:
    shares = np.random.default_rng(1).dirichlet(np.ones(7), 30)
    plain = build_runs_hint(run_elsewhere(useful, 7))
    scaled = build_runs_hint(run_elsewhere(useful, 7, scale=40.0, offset=-900.0))
    turned = build_runs_hint(run_elsewhere(opposite, 7, noise=0.0))
    clean = build_runs_hint(run_elsewhere(useful, 7, noise=0.0))
    assert plain and scaled and turned and clean
    assert scaled.follow(shares) == pytest.approx(plain.follow(shares), abs=1e-3)
    trained = np.array(plain.runs.shares)
    assert plain.follow(trained).mean() == pytest.approx(0) and plain.follow(trained).std() == pytest.approx(1)
    truth = [useful(row) for row in shares]
    assert np.corrcoef(plain.follow(shares), truth)[0, 1] > 0.9
    assert np.corrcoef(turned.follow(shares), clean.follow(shares))[0, 1] < -0.9


@pytest.mark.parametrize("scores", [(), (1.0, 2.0), (1.0, 1.0, 1.0), (1e9, 1e9, 1e9 + 1e-3)])
def test_runs_that_are_too_few_or_all_alike_are_no_hint(scores: tuple[float, ...]) -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(4), len(scores))
    runs = EarlierRuns("runs.csv", tuple(map(tuple, shares.tolist())), scores)
    assert build_runs_hint(runs) is None
    assert Auto().start(replace(problem_of(4), runs=(runs,))).hints == ()


def test_scores_of_one_mixture_alone_are_no_hint() -> None:
    assert build_runs_hint(EarlierRuns("runs.csv", ((0.5, 0.5),) * 4, (1.0, 2.0, 3.0, 1.5))) is None


def test_what_the_runs_expect_most_of_is_tried_once_after_the_usual_mixtures() -> None:
    problem = knowing(problem_of(7), useful)
    state, asked = search(Auto(), problem, useful, 6)
    assert [each.stage for each in asked] == ["start", "start", "hint", "search", "search", "search"]
    shares = np.array(state.mixtures[2])
    assert useful(shares) > 0.9 * max(useful(np.array(mixture)) for mixture in state.mixtures.values())
    assert useful(shares) > max(map(useful, map(np.array, problem.runs[0].shares)))


def test_the_weight_of_runs_is_fitted_and_may_be_negative_or_nothing() -> None:
    def weight_of(surface: Surface, **how: float) -> dict[str, float]:
        problem = knowing(problem_of(9), surface, **how)
        state, _ = search(Auto(stop=None), problem, useful, 12, noise=0.02)
        belief = Auto().select(state, {}).belief
        assert any("runs.csv: one standard" in getattr(each, "text", "") for each in Auto().beliefs(belief))
        weight: dict[str, float] = belief["hints"]["runs.csv"]
        return weight

    right, wrong = weight_of(useful, scale=0.01, offset=-7.0), weight_of(useful, scale=-100.0, offset=5.0)
    beside = weight_of(unrelated)
    assert right["mean"] > 1.5 * right["deviation"]
    assert wrong["mean"] < -wrong["deviation"]
    assert abs(beside["mean"]) < right["mean"] / 4


def test_right_runs_save_trainings() -> None:
    """Of thirty tasks two help."""
    assert measure_saving(lambda seed: knowing(problem_of(30, seed), useful, scale=3.0, offset=1.0, count=60)) > 0.1


def test_off_reads_no_runs_and_says_that_it_does_not() -> None:
    problem = problem_of(6)
    plain = search(Auto(), problem, useful, 8)[1]
    assert search(Auto(evidence="off"), knowing(problem, useful), useful, 8)[1] == plain
    assert search(Auto(), knowing(problem, useful), useful, 8)[1] != plain
    assert Auto().wants().reads_runs and not Auto(evidence="off").wants().reads_runs


def test_runs_and_rankings_are_weighed_apart() -> None:
    problem = with_earlier(knowing(problem_of(7), unrelated), USEFUL)
    two = replace(problem, runs=(*problem.runs, replace(run_elsewhere(useful, 7), source="other.csv")))
    state, asked = search(Auto(stop=None), two, useful, 14, noise=0.02)
    weights = Auto().select(state, {}).belief["hints"]
    assert list(weights) == ["earlier", "runs.csv", "other.csv"]
    assert [each.stage for each in asked].count("hint") == 1
    assert abs(weights["runs.csv"]["mean"]) < max(weights["earlier"]["mean"], weights["other.csv"]["mean"])


def test_of_offered_mixtures_the_one_that_runs_expect_most_of_is_tried() -> None:
    offered = ((1.0, 0.0, 0.0), (1 / 3,) * 3, (0.6, 0.0, 0.4), (0.4, 0.6, 0.0), (0.0, 0.0, 1.0))
    runs = EarlierRuns("runs.csv", offered, (0.1, 0.2, 0.9, 0.0, 0.1))
    problem = replace(problem_of(3, scored="mean"), offered=offered, runs=(runs,))
    asked = ask_thrice(problem)
    assert ("hint", offered[2]) in asked or offered[2] in [shares for _, shares in asked[:2]]


def test_what_the_runs_suggest_obeys_floor_and_cap() -> None:
    """The runs trained no primary, and the task that looks best has few rows."""
    infos = tuple(replace(task, train_rows=30 if task.name == "t001" else 5000) for task in problem_of(4).tasks)
    shares = np.insert(np.random.default_rng(0).dirichlet(np.ones(3), 20), 0, 0.0, axis=1)
    runs = EarlierRuns("runs.csv", tuple(map(tuple, shares.tolist())), tuple(shares[:, 1].tolist()))
    problem = replace(problem_of(4), tasks=infos, examples=1000, runs=(runs,))
    _, asked = search(Auto(max_epochs=5, min_primary=0.1), problem, lambda row: float(row[2]), 4)
    [hinted] = [each for each in asked if each.stage == "hint"]
    assert hinted.shares["t000"] >= 0.1 and hinted.shares["t001"] == pytest.approx(0.15)


def test_a_narrowed_problem_keeps_the_runs_that_trained_no_other_task() -> None:
    runs = EarlierRuns("runs.csv", ((0.5, 0.5, 0.0), (0.2, 0.0, 0.8), (0.0, 0.4, 0.6)), (1.0, 2.0, 3.0))
    narrowed = replace(problem_of(3), runs=(runs,)).keep_tasks(["t000", "t002"])
    assert narrowed.runs == (EarlierRuns("runs.csv", ((0.2, 0.8),), (2.0,)),)
