"""Hints about auxiliaries: what is read of earlier studies and of TAG, how `auto` weighs it, and where it does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from test_auto import Surface, answer, begin, problem_of, run, search

from auxtune.selectors.kit.hints import build_hint, build_hint_kernel, read_earlier_hint, weigh_hints
from auxtune.selectors.kit.process import FOR_SEARCH, fit_process
from auxtune.selectors.methods.auto import Auto
from auxtune.selectors.protocol import Evidence, Outcome, Problem, Proposal, Transfer

USEFUL = {"t002": 1.0, "t004": 0.8, "t005": -0.5}


def with_earlier(problem: Problem, looks: Mapping[str, float], target: str = "other") -> Problem:
    """``problem`` after a study of another target, whose scores with each auxiliary are ``looks`` or 0."""
    found = tuple(Transfer(name, target, looks.get(name, 0.0)) for name in problem.auxiliaries)
    return replace(problem, earlier=found)


def useful(shares: np.ndarray) -> float:
    """Auxiliaries help and hurt as ``USEFUL`` says, less and less, and all the others cost a little."""
    worth = np.full(len(shares), -0.2)
    worth[0] = 0.5
    for name, value in USEFUL.items():
        worth[int(name[1:])] = value
    return float(worth @ np.sqrt(shares))


def weight_of(problem: Problem, surface: Surface, trials: int = 12) -> dict[str, float]:
    state, _ = search(Auto(stop=None), problem, surface, trials, noise=0.02)
    weights: dict[str, dict[str, float]] = Auto().select(state, {}).belief["hints"]
    return weights["earlier"]


def test_a_hint_is_on_one_scale_and_knows_nothing_of_the_primary_and_the_unknown() -> None:
    hint = build_hint("any", problem_of(5), {"t000": 9.0, "t001": 3.0, "t002": 5.0, "t004": np.nan})
    assert hint is not None and hint.values == pytest.approx((0.0, -1.0, 1.0, 0.0, 0.0))


@pytest.mark.parametrize("found", [{}, {"t001": 1.0}, {"t001": 1e9, "t002": 1e9}, {"t001": np.nan, "t002": 1.0}])
def test_what_tells_no_two_auxiliaries_apart_is_no_hint(found: Mapping[str, float]) -> None:
    assert build_hint("any", problem_of(4), found) is None


def test_earlier_results_are_read_as_a_ranking_of_sources() -> None:
    problem = with_earlier(problem_of(7), USEFUL)
    hint = read_earlier_hint(problem)
    assert hint is not None
    order = [problem.names[place] for place in np.argsort(hint.values)[::-1]]
    assert order[:2] == ["t002", "t004"] and order[-1] == "t005"
    assert np.mean(hint.values[1:]) == pytest.approx(0) and np.std(hint.values[1:]) == pytest.approx(1)


def test_results_on_the_primary_itself_and_questions_without_one_have_no_hint() -> None:
    assert read_earlier_hint(with_earlier(problem_of(7), USEFUL, target="t000")) is None
    assert read_earlier_hint(with_earlier(problem_of(7, scored="mean"), USEFUL)) is None
    assert Auto().start(with_earlier(problem_of(7, scored="mean"), USEFUL)).hints == ()


def test_the_mixture_that_hints_suggest_comes_after_the_usual_ones() -> None:
    problem = with_earlier(problem_of(7), USEFUL)
    _, asked = search(Auto(), problem, useful, 5)
    assert [each.stage for each in asked] == ["start", "start", "hint", "search", "search"]
    assert dict(asked[2].shares) == {"t000": 0.5, "t002": 0.25, "t004": 0.25}


def test_the_slope_along_a_hint_is_that_of_regression() -> None:
    """The same posterior as of y = Φ w + f + noise with w ~ N(0, amount): Rasmussen and Williams 2006, 2.42."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(6), 20)
    hint = build_hint("any", problem_of(6), {f"t{place:03}": value for place, value in enumerate(rng.normal(size=6))})
    assert hint is not None
    feature = np.sqrt(shares) @ np.array(hint.values)
    scores = 0.7 * feature + 0.3 * np.sqrt(shares[:, 0]) + 0.05 * rng.normal(size=20)
    kernels = (*FOR_SEARCH.kernels, build_hint_kernel(hint))
    process = fit_process(shares, scores, replace(FOR_SEARCH, kernels=kernels))
    assert process.amounts[-1] > 0
    others = process.relate(shares, shares) - process.amounts[-1] * np.outer(feature, feature)
    inverse = np.linalg.inv(others + process.noise * np.eye(20))
    precision = feature @ inverse @ feature + 1 / process.amounts[-1]
    unit = process.scale * np.sqrt(0.5)
    [told] = weigh_hints(process, [hint]).values()
    assert told["mean"] == pytest.approx(unit * (feature @ inverse @ process.targets) / precision, rel=1e-6)
    assert told["deviation"] == pytest.approx(unit / np.sqrt(precision), rel=1e-6)
    assert told["mean"] == pytest.approx(0.7 * np.sqrt(0.5), abs=3 * told["deviation"])


def test_the_weight_of_a_hint_is_fitted_and_may_be_negative_or_nothing() -> None:
    problem = problem_of(9)
    right = weight_of(with_earlier(problem, USEFUL), useful)
    wrong = weight_of(with_earlier(problem, {name: -value for name, value in USEFUL.items()}), useful)
    beside = weight_of(with_earlier(problem, {"t001": 1.0, "t003": -1.0, "t006": 0.5, "t007": -0.5}), useful)
    assert right["mean"] > 1.5 * right["deviation"]
    assert wrong["mean"] < -wrong["deviation"]
    assert abs(beside["mean"]) < right["mean"] / 4


def measure_saving(ask: Callable[[int], Problem]) -> float:
    """How much better six trainings with what is known before answer than twelve without, over problems by seed."""

    def average(evidence: Literal["auto", "off"], trials: int) -> float:
        found = []
        for seed in range(3):
            selector = Auto(stop=None, evidence=evidence)
            state, _ = search(selector, ask(seed), useful, trials, noise=0.02)
            found.append(useful(answer(selector, state)))
        return float(np.mean(found))

    return average("auto", 6) - average("off", 12)


def test_a_right_hint_saves_trainings() -> None:
    """Of thirty tasks two help."""
    assert measure_saving(lambda seed: with_earlier(problem_of(30, seed), USEFUL)) > 0.1


def test_off_reads_nothing_and_without_earlier_results_nothing_changes() -> None:
    problem = problem_of(6)
    plain = search(Auto(), problem, useful, 8)
    assert search(Auto(evidence="off"), problem, useful, 8) == plain
    assert search(Auto(evidence="off"), with_earlier(problem, USEFUL), useful, 8)[1] == plain[1]
    assert "hints" not in Auto().select(plain[0], {}).belief


def ask_thrice(problem: Problem) -> list[tuple[str, tuple[float, ...]]]:
    """Stage and shares of the first three proposals, each told a better score than the one before."""
    selector, asked = Auto(), []
    state = selector.start(problem)
    for number in range(3):
        proposal = selector.propose(state, {})
        assert isinstance(proposal, Proposal)
        state = selector.told(selector.proposed(state, number, proposal), number, Outcome(float(number)))
        asked.append((proposal.stage, tuple(proposal.shares.get(name, 0.0) for name in problem.names)))
    return asked


def test_of_offered_mixtures_the_nearest_to_the_suggested_is_taken() -> None:
    offered = ((1.0, 0.0, 0.0, 0.0), (0.25,) * 4, (0.6, 0.0, 0.4, 0.0), (0.4, 0.6, 0.0, 0.0), (0.5, 0.0, 0.0, 0.5))
    problem = replace(with_earlier(problem_of(4), {"t002": 1.0}), offered=offered)
    asked = [shares for _, shares in ask_thrice(problem)]
    assert asked[2] in offered and asked[2][2] > 0


def lookahead(problem: Problem, row: Mapping[str, float]) -> Evidence:
    """The arrays of a joint run in which every auxiliary does ``row`` or nothing for the primary."""
    affinity = np.zeros((len(problem.names),) * 2)
    affinity[0] = [row.get(name, 0.0) for name in problem.names]
    return {"key": {"tasks": np.array(problem.names), "affinity": affinity}}


def test_tag_is_measured_by_the_training_of_all_tasks_and_suggests_a_mixture_once() -> None:
    selector, problem = Auto(evidence="tag"), problem_of(7)
    state, stages = selector.start(problem), []
    for number in range(6):
        evidence = lookahead(problem, USEFUL) if number > 1 else {}
        proposal = selector.propose(state, evidence)
        assert isinstance(proposal, Proposal)
        assert bool(proposal.measure) == (number == 1)
        if proposal.measure:
            assert proposal.tasks == problem.names and proposal.measure[0].probe == "lookahead"
            state = begin(selector, state, number, proposal)
            outcome = Outcome(useful(np.array(state.mixtures[number])), evidence={"lookahead": "key"})
            state = selector.told(state, number, outcome)
        else:
            state = run(selector, state, number, proposal, useful)
        stages.append(proposal.stage)
        if proposal.stage == "hint":
            assert proposal.shares == {"t000": 0.5, "t002": 0.25, "t004": 0.25}
    assert stages == ["start", "start", "hint", "search", "search", "search"]
    chosen = selector.select(state, lookahead(problem, USEFUL))
    assert list(chosen.belief["hints"]) == ["tag"]
    assert any("tag" in getattr(each, "text", "") for each in selector.beliefs(chosen.belief))


def test_a_joint_run_that_failed_leaves_no_hint() -> None:
    selector = Auto(evidence="tag")
    state = selector.start(problem_of(5))
    for number in range(8):
        proposal = selector.propose(state, {})
        assert isinstance(proposal, Proposal) and proposal.stage != "hint"
        state = begin(selector, state, number, proposal)
        failed = Outcome(None, why="error")
        state = selector.told(state, number, failed if proposal.measure else Outcome(useful(np.ones(6) / (number + 6))))


def test_tag_needs_a_primary() -> None:
    with pytest.raises(ValueError, match="needs a primary task"):
        Auto(evidence="tag").start(problem_of(4, scored="mean"))
