"""Mixtures drawn, learned from and verified: the search finds what its samples did not, and says when it cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from auxtune.selectors.extensions import Predicts
from auxtune.selectors.kit.mixtures import Draws, build_draws, count_cycle, share_by_cycle
from auxtune.selectors.methods.mixture_regression import MixtureRegression, RegressionState
from auxtune.selectors.protocol import Done, Outcome, Problem, Proposal, Selection, TaskInfo, Wait
from auxtune.selectors.testing.contract import SelectorContract

Law = Callable[[np.ndarray], float]

OPTIMUM = np.array([0.35, 0.4, 0.15, 0.1, 0.0])


class TestContract(SelectorContract):
    selector = MixtureRegression(samples=10, verify=2, rounds=1)
    questions = 5


class Ranks(MixtureRegression):
    """Answers with a mixture where there is a primary, and with a ranking where something else is scored."""

    def select(self, state: RegressionState, evidence: Any) -> Selection:
        names = state.problem.names
        if state.problem.scored is None:
            return Selection("mixture", names)
        return Selection("ranking", ranking=tuple((name, 0.0) for name in names))


def test_the_contract_tries_what_mixes_with_something_scored() -> None:
    suite = SelectorContract()
    suite.selector = Ranks()
    with pytest.raises(AssertionError, match="the answer must be a mixture, got ranking"):
        suite.test_an_answer_is_legal_at_any_time()


def problem_of(tasks: int, seed: int = 0, scored: str | None = None) -> Problem:
    infos = tuple(TaskInfo(f"t{i}", "classification", 1000 * (i + 1)) for i in range(tasks))
    return Problem(infos, None if scored else "t0", seed, scored=scored)


def row(problem: Problem, proposal: Proposal) -> np.ndarray:
    return np.array([(proposal.weights or {}).get(name, 0.0) for name in problem.names])


def concave(shares: np.ndarray) -> float:
    return float(1 - np.abs(np.sqrt(shares) - np.sqrt(OPTIMUM)).sum() / 2)


def search(selector: Any, problem: Problem, law: Law, noise: float = 0.0, whole_steps: bool = True) -> Any:
    """The state when all is done, every trial executed as a study would."""
    state, rng = selector.start(problem), np.random.default_rng(problem.seed)
    for number in range(1000):
        asked = selector.propose(state, {})
        if isinstance(asked, Done):
            return state
        assert isinstance(asked, Proposal)
        counts = count_cycle(asked.weights or {}, problem.primary)
        shares = {name: share for name, share in share_by_cycle(counts).items() if share > 0}
        trained = replace(asked, tasks=tuple(shares), weights=shares) if whole_steps else asked
        state = selector.proposed(state, number, trained)
        state = selector.told(state, number, Outcome(law(row(problem, trained)) + noise * float(rng.normal())))
    raise AssertionError("never done")


def test_draws_are_mixtures_around_the_sizes_with_room_for_the_primary() -> None:
    draws = build_draws(problem_of(5), min_primary=0.1)
    assert draws.prior == pytest.approx(np.sqrt([1, 2, 3, 4, 5]) / np.sqrt([1, 2, 3, 4, 5]).sum())
    drawn = draws.draw(np.random.default_rng(0), 4000)
    assert drawn.sum(axis=1) == pytest.approx(np.ones(4000))
    assert drawn[:, 0].min() >= 0.1 - 1e-12
    assert drawn[drawn > 0].min() >= 0.5 / 20  # less is no step of the longest cycle
    # Half of the draws are around the sizes, half give the primary a share of its own, a half on average.
    apart = np.r_[0.5, 0.5 * draws.prior[1:] / draws.prior[1:].sum()]
    expected = 0.9 * (draws.prior + apart) / 2 + np.array([0.1, 0, 0, 0, 0])
    assert drawn.mean(axis=0) == pytest.approx(expected, abs=0.02)
    largest = drawn.max(axis=1)
    assert (largest > 0.8).mean() > 0.05 and (largest < 0.4).mean() > 0.05


def test_a_primary_of_few_rows_gets_every_share_and_the_others_theirs_by_their_sizes() -> None:
    infos = (TaskInfo("p", "classification", 150), *(TaskInfo(f"a{i}", "classification", 5400) for i in range(6)))
    drawn = build_draws(Problem(infos, "p"), 0.1).draw(np.random.default_rng(0), 4000)
    for least in (0.3, 0.5, 0.7):  # around the sizes alone it is above 0.3 in a fortieth
        assert (drawn[:, 0] > least).mean() > 0.9 * (1 - least) / 0.9 / 2
    assert np.ptp(drawn[:, 1:].mean(axis=0)) < 0.02
    scored = build_draws(replace(Problem(infos, None), scored="loss"), 0.1).draw(np.random.default_rng(0), 4000)
    prior = np.sqrt([150, *[5400] * 6])
    assert scored.mean(axis=0) == pytest.approx(prior / prior.sum(), abs=0.02)  # no task is the primary


def test_one_task_is_all_of_its_mixture() -> None:
    assert build_draws(problem_of(1), 0.1).draw(np.random.default_rng(0), 5).tolist() == [[1.0]] * 5


@pytest.mark.parametrize("matched", [False, True])
def test_no_mixture_repeats_rows_more_often_than_is_asked(matched: bool) -> None:
    rows = np.array([150, 400, 900, 2000, 5400, 9])
    infos = tuple(TaskInfo(f"t{i}", "classification", int(count)) for i, count in enumerate(rows))
    problem = Problem(infos, "t0", **({"primary_examples": 600} if matched else {"examples": 9600}))
    selector = MixtureRegression(samples=12, verify=2, rounds=1, max_epochs=4)
    state = selector.start(problem)
    for number in range(14):
        asked = selector.propose(state, {})
        assert isinstance(asked, Proposal)
        state = selector.proposed(state, number, asked)
        state = selector.told(state, number, Outcome(0.5 + asked.shares.get("t1", 0.0)))
    assert isinstance(selector.propose(state, {}), Done)
    answers = [selector.select(at, {}).weights or {} for at in (state, selector.start(problem))]
    for weights in [*state.mixtures.values(), *answers]:
        shares = np.array([weights.get(name, 0.0) for name in problem.names])
        assert shares.sum() == pytest.approx(1)
        seen = shares * (600 / shares[0] if matched else 9600)
        most = np.maximum(4 * rows, 0 if matched else [960, 0, 0, 0, 0, 0])  # the primary has its least share
        assert (seen <= most + 1e-6).all()


def test_a_cap_on_repeats_that_cannot_be_kept_is_refused_at_the_start() -> None:
    selector = MixtureRegression(max_epochs=2)
    with pytest.raises(ValueError, match="max_epochs needs to know how long trainings are"):
        selector.start(problem_of(3))
    with pytest.raises(ValueError, match="all 6,000 training rows fill only 20% with max_epochs 2"):
        selector.start(replace(problem_of(3), examples=100_000))


@pytest.mark.parametrize("tasks", [2, 5, 64])
def test_the_search_over_mixtures_finds_an_optimum_and_keeps_its_choices_apart(tasks: int) -> None:
    floor = np.where(np.arange(tasks) == 0, 0.1, 0.0)
    draws = Draws(np.full(tasks, 1 / tasks), floor)
    optimum = np.zeros(tasks)
    optimum[:2] = [0.3, 0.7]
    rng = np.random.default_rng(0)
    known = draws.draw(rng, 10)
    found = draws.find_best(lambda shares: -np.abs(shares - optimum).sum(axis=1), known, 3, rng)
    assert found.sum(axis=1) == pytest.approx(np.ones(3))
    assert found[:, 0].min() >= 0.1 - 1e-9
    wrong = np.abs(found - optimum).sum(axis=1) / 2
    assert wrong[0] < 0.05
    assert list(wrong) == sorted(wrong)
    assert min(np.abs(found[i] - found[j]).sum() / 2 for i, j in ((0, 1), (0, 2), (1, 2))) > 0.05


def test_samples_run_side_by_side_and_the_best_predicted_after_them() -> None:
    selector, problem = MixtureRegression(samples=12, verify=2, rounds=1), problem_of(3)
    state, stages = selector.start(problem), []
    for number in range(12):
        asked = selector.propose(state, {})
        assert isinstance(asked, Proposal)
        stages.append(asked.stage)
        state = selector.proposed(state, number, asked)
    assert stages == ["sample"] * 12
    for number in range(12):
        assert selector.propose(state, {}) == Wait()
        state = selector.told(state, number, Outcome(0.5 + state.mixtures[number].get("t1", 0.0)))
    for number in (12, 13):
        asked = selector.propose(state, {})
        assert isinstance(asked, Proposal) and asked.stage == "verify"
        state = selector.proposed(state, number, asked)
    assert selector.propose(state, {}) == Done()
    verified = [state.mixtures[number]["t1"] for number in (12, 13)]
    assert min(verified) > 0.7  # more of t1 is better, and the primary needs a tenth


@pytest.mark.parametrize("scored", [None, "loss"])
def test_it_finds_better_mixtures_than_its_samples(scored: str | None) -> None:
    better = []
    for seed in range(4):
        problem = problem_of(5, seed, scored)
        state = search(MixtureRegression(samples=40, rounds=1), problem, concave, noise=0.02)
        selection = MixtureRegression(samples=40, rounds=1).select(state, {})
        assert selection.kind == "mixture"
        found = concave(np.array([(selection.weights or {}).get(name, 0.0) for name in problem.names]))
        sampled = {number: mixture for number, mixture in state.mixtures.items() if number not in state.verified}
        lucky = max(sampled, key=lambda number: state.scores[number])
        of_lucky = concave(np.array([sampled[lucky].get(name, 0.0) for name in problem.names]))
        better.append(found - of_lucky)
        assert selection.belief["skill"]["low"] > 0
    assert np.mean(better) > 0.02  # of a law that spans about 1


def test_without_skill_it_says_so_and_answers_with_equal_shares() -> None:
    selector, problem = MixtureRegression(samples=16, rounds=1), problem_of(4, seed=3)
    state = search(selector, problem, lambda shares: 0.5, noise=0.1)
    selection = selector.select(state, {})
    assert selection.weights == pytest.approx(dict.fromkeys(problem.names, 0.25))
    assert "not predicted better than by chance" in selection.belief["why"]
    assert selection.belief["skill"]["low"] <= 0
    (tried,) = (state.mixtures[number] for number in state.verified)
    assert tried == pytest.approx(dict.fromkeys(problem.names, 0.25))


def test_nothing_learnt_is_equal_shares_too() -> None:
    selector, problem = MixtureRegression(samples=12), problem_of(4)
    for law in (lambda shares: 0.5, lambda shares: float("nan")):
        state = selector.start(problem)
        for number in range(12):
            asked = selector.propose(state, {})
            assert isinstance(asked, Proposal)
            state = selector.proposed(state, number, asked)
            score = law(row(problem, asked))
            state = selector.told(state, number, Outcome(None if np.isnan(score) else score, why="error"))
        assert selector.propose(state, {}) == Done()
        selection = selector.select(state, {})
        assert selection.weights == pytest.approx(dict.fromkeys(problem.names, 0.25))
        assert "fewer than 10" in selection.belief["why"]


def test_it_learns_from_what_was_executed_and_not_from_what_was_asked() -> None:
    selector, problem = MixtureRegression(samples=30, rounds=1), problem_of(3, scored="loss")
    state = selector.start(problem)
    for number in range(30):
        asked = selector.propose(state, {})
        assert isinstance(asked, Proposal)
        swapped = row(problem, asked)[::-1]  # a recorded table may have something else in place of it
        trained = dict(zip(problem.names, swapped.tolist(), strict=True))
        state = selector.proposed(state, number, replace(asked, tasks=problem.names, weights=trained))
        state = selector.told(state, number, Outcome(float(np.sqrt(swapped[2]))))
    low, high = selector.predict(state, {}, [Proposal(("t0",)), Proposal(("t2",), {"t2": 1.0})])
    assert low["loss"] < 0.3 and high["loss"] > 0.9
    chosen = selector.propose(state, {})
    assert isinstance(chosen, Proposal)
    assert (chosen.weights or {})["t2"] > 0.8


def test_predictions_are_of_the_primary_and_start_with_ten_scores() -> None:
    selector, problem = MixtureRegression(samples=20, rounds=1), problem_of(5)
    assert isinstance(selector, Predicts)
    asked = [Proposal(problem.names), Proposal(("t0", "t4"), {"t0": 0.2, "t4": 0.8})]
    state, at_nine = selector.start(problem), None
    assert selector.predict(state, {}, asked) == [{}, {}]
    for number in range(20):
        proposal = selector.propose(state, {})
        assert isinstance(proposal, Proposal)
        state = selector.proposed(state, number, proposal)
        state = selector.told(state, number, Outcome(concave(row(problem, proposal))))
        at_nine = selector.predict(state, {}, asked) if number == 8 else at_nine
    assert at_nine == [{}, {}]
    equal, poor = selector.predict(state, {}, asked)
    assert list(equal) == list(poor) == ["t0"]
    assert equal["t0"] > poor["t0"] + 0.1
    assert selector.predict(state, {}, []) == []


def test_the_answer_is_not_the_luckiest_score() -> None:
    selector, problem = MixtureRegression(samples=40, rounds=1), problem_of(2)
    shares = np.linspace(0.1, 0.95, 40)
    rng = np.random.default_rng(0)
    scores = 1 - (shares - 0.6) ** 2 + 0.01 * rng.normal(size=40)
    scores[1] += 0.3
    mixtures = {number: {"t0": share, "t1": 1 - share} for number, share in enumerate(shares.tolist())}
    state = RegressionState(problem, mixtures, dict(enumerate(scores.tolist())))
    weights = selector.select(state, {}).weights or {}
    assert weights["t0"] == pytest.approx(0.6, abs=0.15)


def test_a_score_of_no_task_is_won_by_a_mixture_of_all() -> None:
    selector = MixtureRegression(samples=12, verify=1)
    problem = problem_of(3, scored="loss")
    state = search(selector, problem, lambda shares: float(np.sqrt(shares[1])))
    least = min(mixture.get("t0", 0.0) for mixture in state.mixtures.values())
    assert least < 0.05  # no task is the primary, none has a least share
    selection = selector.select(state, {})
    assert selection.kind == "mixture"
    assert sum((selection.weights or {}).values()) == pytest.approx(1)
    with pytest.raises(ValueError, match="needs a primary task, got none"):
        selector.start(replace(problem, scored=None))


def test_each_round_samples_twice_as_many_and_verifies_what_all_before_taught() -> None:
    selector, problem = MixtureRegression(samples=10, verify=2, rounds=3), problem_of(3)
    state, stages = selector.start(problem), []
    while isinstance(asked := selector.propose(state, {}), Proposal):
        number = len(stages)
        stages.append(asked.stage)
        state = selector.proposed(state, number, asked)
        state = selector.told(state, number, Outcome(0.5 + asked.weights.get("t1", 0.0)))
    assert stages == [
        *["sample"] * 10,
        *["verify"] * 2,
        *["sample"] * 10,
        *["verify"] * 2,
        *["sample"] * 20,
        *["verify"] * 2,
    ]
    assert asked == Done()
