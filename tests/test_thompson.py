"""The bandit's posterior by hand, its draws by Monte-Carlo, its invariances, and what thompson makes of its runs."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from auxtune.selectors.kit.rounds import fold_rounds
from auxtune.selectors.methods.beta_bandit import BetaBandit
from auxtune.selectors.methods.thompson import Thompson
from auxtune.selectors.protocol import Done, Outcome, Problem, Proposal, TaskInfo, Wait
from auxtune.selectors.testing.benchmark import SyntheticBenchmark
from auxtune.selectors.testing.study import simulate_study


def problem_of(names, primary="p", seed=0):
    return Problem(tuple(TaskInfo(name, "classification", 1000) for name in names), primary, seed)


def rewarded(pulls, rewards):
    """Rounds of ``(task, score)`` that begin with the round of the primary that only sets the reference."""
    levels = np.cumsum([0.5, *(0.01 if reward else -0.01 for reward in rewards)]).tolist()
    return tuple(zip(["p", *pulls], levels, strict=True))


def posterior(bandit, names, rounds):
    state = fold_rounds(bandit, problem_of(names), rounds)
    return state.alpha, state.beta


@pytest.mark.parametrize(
    ("gamma", "alpha", "beta"),
    [(0.3, (2.49, 1, 1), (1, 1.7, 1)), (0.0, (3, 1, 1), (1, 2, 1))],
)
def test_the_posterior_of_three_pulls_by_hand(gamma, alpha, beta):
    found = posterior(BetaBandit(gamma=gamma), ("p", "a", "b"), rewarded(["p", "a", "p"], [1, 0, 1]))
    assert found == (pytest.approx(alpha), pytest.approx(beta))


@pytest.mark.parametrize(("reward", "mean"), [(1, 1.3 / 1.6), (0, 0.3 / 1.6)])
def test_an_arm_pulled_for_ever_comes_to_its_limit_and_one_never_pulled_stays_at_a_half(reward, mean):
    bandit = BetaBandit(gamma=0.3)
    alpha, beta = posterior(bandit, ("p", "a"), rewarded(["p"] * 100, [reward] * 100))
    assert (alpha[0], beta[0]) == pytest.approx((1 + 1 / 0.3, 1) if reward else (1, 1 + 1 / 0.3))
    assert alpha[0] / (alpha[0] + beta[0]) == pytest.approx(mean)
    assert alpha[1] / (alpha[1] + beta[1]) == 0.5


@pytest.mark.parametrize(
    ("pulls", "rewards", "chance"),
    [(["p"], [1], 2 / 3), (["p", "p", "a", "a"], [1, 1, 0, 0], 0.95)],
)
def test_draws_prefer_an_arm_as_often_as_its_posterior_says(pulls, rewards, chance):
    draws, bandit = 3000, BetaBandit(gamma=0)
    state = fold_rounds(bandit, problem_of("pa"), rewarded(pulls, rewards))
    asked = [
        bandit.propose(replace(state, problem=replace(state.problem, seed=seed)), {}).tasks for seed in range(draws)
    ]
    assert abs(asked.count(("p",)) / draws - chance) < 4 * math.sqrt(chance * (1 - chance) / draws)


def test_a_round_is_rewarded_when_the_score_does_not_fall():
    bandit, scores = BetaBandit(gamma=0), [0.50, 0.52, 0.52, 0.51, 0.60]
    alphas = [posterior(bandit, "p", [("p", score) for score in scores[:n]])[0][0] for n in range(1, 6)]
    assert np.diff(alphas).tolist() == [1, 1, 0, 1]


def test_the_first_round_teaches_nothing_whatever_its_score():
    for score in (-0.5, 0.0, 0.9):
        assert posterior(BetaBandit(), "pa", [("p", score)]) == ((1, 1), (1, 1))


def trajectory(transform, rounds=200):
    """Arms and final posterior in a noisy world whose metric is seen through ``transform``."""
    bandit, problem = BetaBandit(), problem_of("pabc", seed=11)
    state, noise, level, arms = bandit.start(problem), np.random.default_rng(0), 0.5, []
    for number in range(rounds):
        asked = bandit.propose(state, {})
        arms.append(asked.tasks)
        level += {"p": 0.01, "a": 0.02, "b": -0.01, "c": 0.0}[asked.tasks[0]] + 0.02 * noise.normal()
        state = bandit.told(bandit.proposed(state, number, asked), number, Outcome(float(transform(level))))
    return arms, state.alpha, state.beta


@pytest.mark.parametrize("transform", [np.exp, lambda x: 5 * x - 3, lambda x: x**3, np.arctan])
def test_a_strictly_increasing_transform_of_the_metric_changes_nothing(transform):
    plain = trajectory(lambda x: x)
    assert len(set(plain[0])) == 4
    assert trajectory(transform) == plain


def test_arms_in_another_order_give_the_same_posterior_in_that_order():
    arms, _, _ = trajectory(lambda x: x)
    rounds = [(task, math.sin(number)) for number, (task,) in enumerate(arms)]
    found = {
        names: dict(zip(names, zip(*posterior(BetaBandit(), names, rounds), strict=True), strict=True))
        for names in ("pabc", "cbpa", "bcap")
    }
    assert found["pabc"] == found["cbpa"] == found["bcap"]


def test_the_primary_goes_first_and_a_pull_is_waited_for():
    bandit = BetaBandit()
    state = bandit.start(problem_of("abp"))
    assert bandit.propose(state, {}) == Proposal(("p",))
    state = bandit.proposed(state, 0, Proposal(("p",)))
    assert bandit.propose(state, {}) == Wait()
    state = bandit.told(state, 0, Outcome(None, why="error"))
    assert isinstance(bandit.propose(state, {}), Proposal)
    assert state.alpha == state.beta == (1, 1, 1)


def told(thompson, names, *runs):
    """The answer after ``runs``: rounds of a run, or ``None`` for one that failed."""
    state = thompson.start(problem_of(names))
    for number, _ in enumerate(runs):
        state = thompson.proposed(state, number, thompson.propose(state, {}))
    for number, rounds in enumerate(runs):
        outcome = Outcome(None, why="error") if rounds is None else Outcome(0.5, rounds=rounds)
        state = thompson.told(state, number, outcome)
    return thompson.select(state, {})


def test_runs_go_side_by_side_from_seeds_of_their_own():
    thompson = Thompson(seeds=3, rounds=7, round_steps=4, gamma=0.2)
    state, asked = thompson.start(problem_of("apb", seed=9)), []
    for number in range(3):
        asked.append(thompson.propose(state, {}))
        state = thompson.proposed(state, number, asked[-1])
    assert thompson.propose(state, {}) == Done()
    assert {proposal.tasks for proposal in asked} == {("a", "p", "b")}
    assert {(p.inner.name, p.inner.rounds, p.inner.round_steps, p.inner.options["gamma"]) for p in asked} == {
        ("beta_bandit", 7, 4, 0.2)
    }
    assert len({seed for p in asked for seed in (p.seed, p.inner.seed)}) == 6
    for number, outcome in ((1, Outcome(None, why="error")), (0, Outcome(0.5, rounds=rewarded("a", [1])))):
        state = thompson.told(state, number, outcome)
        assert thompson.propose(state, {}) == Done()
    assert thompson.propose(thompson.told(state, 2, Outcome(None, why="hang")), {}) == Done()


def test_the_two_best_are_kept_and_any_further_one_that_surely_does_better():
    """Of four auxiliaries a further one is kept from a probability of 3/4 on that its rounds beat all others'."""
    bandit = Thompson(seeds=1)
    three_help = told(bandit, "abpcd", rewarded("abcd" * 6 + "d" * 6, [*[1, 1, 1, 0] * 6, *[0] * 6]))
    assert three_help.tasks == ("a", "b", "p", "c")
    assert min(three_help.belief["better"][task] for task in "abc") > 0.75 == three_help.belief["level"]
    unsure = told(bandit, "abpcd", rewarded("abcd", [1, 1, 1, 0]))
    assert unsure.tasks == ("a", "b", "p")  # utilities of 2/3 after one round each: nothing to go by
    all_alike = told(bandit, "abpcd", rewarded("abcd" * 20, [1] * 80))
    assert all_alike.tasks == ("a", "b", "p")  # all well above 0.5, and none above the others
    all_hurt = told(bandit, "abpcd", rewarded("abccd", [0, 0, 0, 0, 0]))
    assert all_hurt.tasks == ("a", "b", "p")  # ties in the study's order
    assert all_hurt.weights is None


def test_the_released_reading_keeps_the_two_best_and_any_further_one_above_a_half():
    bandit = Thompson(seeds=1, gamma=0, released=True)
    three_help = told(bandit, "abpcd", rewarded("abcd", [1, 1, 1, 0]))
    assert three_help.tasks == ("a", "b", "p", "c")
    one_helps = told(bandit, "abpcd", rewarded("abc", [0, 0, 1]))
    assert one_helps.tasks == ("p", "c", "d")  # d was never pulled: 0.5 is among the best two, but no more
    all_hurt = told(bandit, "abpcd", rewarded("abccd", [0, 0, 0, 0, 0]))
    assert all_hurt.tasks == ("a", "b", "p")  # ties in the study's order
    assert all_hurt.weights is None


def test_the_primary_is_no_candidate_however_well_it_does():
    selection = told(Thompson(seeds=1, gamma=0), "pabc", rewarded("pppabc", [1, 1, 1, 0, 0, 1]))
    assert selection.tasks == ("p", "a", "c")
    assert selection.belief["utility"] == pytest.approx({"p": 4 / 5, "a": 1 / 3, "b": 1 / 3, "c": 2 / 3})


def test_rewards_are_added_up_over_the_runs_that_gave_rounds():
    selection = told(Thompson(seeds=3), "pa", rewarded("aa", [1, 1]), None, rewarded("a", [0]))
    belief = selection.belief  # two of three rewarded: Beta(3, 2)
    assert belief["utility"] == pytest.approx({"p": 0.5, "a": 3 / 5})
    assert [run["a"] for run in belief["runs"]] == pytest.approx([3 / 4, 1 / 3])
    assert (belief["rounds"], belief["overall"]) == ({"p": 0, "a": 3}, pytest.approx(2 / 3))
    # The distribution function of Beta(3, 2) is 4 x^3 - 3 x^4. Of the other nothing is known, so better is its mean.
    assert [4 * x**3 - 3 * x**4 for x in belief["interval"]["a"]] == pytest.approx([0.025, 0.975])
    assert belief["better"]["a"] == pytest.approx(3 / 5)
    json.dumps(belief)


def test_forgetting_steers_a_run_and_changes_nothing_of_what_its_rounds_say():
    rounds = rewarded("abcabcaabb", [1, 0, 0, 1, 1, 0, 1, 1, 0, 0])
    answers = [told(Thompson(seeds=1, gamma=gamma), "pabc", rounds) for gamma in (0, 0.3, 1)]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0].belief["utility"] == pytest.approx({"p": 1 / 2, "a": 5 / 6, "b": 2 / 6, "c": 1 / 4})


def test_parameters_are_averaged_over_the_runs_in_the_released_reading():
    selection = told(
        Thompson(seeds=3, gamma=0, released=True), "pa", rewarded("aa", [1, 1]), None, rewarded("a", [0])
    )  # Beta(3, 1) and Beta(1, 2): mean Beta(2, 1.5)
    assert selection.belief["utility"] == pytest.approx({"p": 0.5, "a": 2 / 3.5})
    assert [run["a"] for run in selection.belief["runs"]] == pytest.approx([3 / 4, 1 / 3])


@pytest.mark.parametrize("runs", [(), (None, None)])
def test_without_any_run_the_primary_stands_alone_and_the_belief_says_so(runs):
    selection = told(Thompson(), "pab", *runs)
    assert selection.tasks == ("p",)
    assert "primary alone" in selection.belief["why"]


def test_a_score_without_rounds_is_refused():
    with pytest.raises(ValueError, match="must be told the rounds of run 0"):
        told(Thompson(), "pa", ())


def test_a_clearly_best_task_is_found():
    """Of 20 studies with five candidates, so many rank the one helpful task first that chance is ruled out."""
    studies, world = 20, SyntheticBenchmark({"a": -0.01, "help": 0.02, "b": -0.01, "c": -0.01, "d": -0.01}, noise=0.01)
    needed = int(binom.isf(1e-6, studies, 1 / 5)) + 1  # a selector that guesses comes so far once in a million times
    first = 0
    for seed in range(studies):
        problem = problem_of(("a", "help", "p", "b", "c", "d"), seed=seed)
        utility = simulate_study(Thompson(), problem, world).steps[-1].selection.belief["utility"]
        first += max(problem.auxiliaries, key=utility.get) == "help"
    assert first >= needed
