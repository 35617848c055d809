"""Regressions over mixtures: each finds the truth it is made for, and the blend is as good as the best of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.stats import spearmanr

from auxtune.selectors.kit import process as mixture_process
from auxtune.selectors.kit.mixture_models import (
    LEAST,
    MODELS,
    Skill,
    _measure_skill,
    fit_blend,
    fit_linear,
    fit_log_linear,
    fit_trees,
)
from auxtune.selectors.kit.mixtures import Draws
from auxtune.selectors.kit.process import FOR_PREDICTION, FOR_SEARCH, Assumptions, fit_process

TASKS = 6
EXPONENTS = np.array([-2.0, -0.5, 0.3, 1.0, -1.0, 0.0])


def mixtures(count: int, seed: int) -> np.ndarray:
    uniform = Draws(np.full(TASKS, 1 / TASKS), np.zeros(TASKS))
    return uniform.draw(np.random.default_rng(seed), count)


def saturating(shares: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(shares) @ np.array([0.5, 0.3, 0.2, 0.1, 0.0, -0.2]))


def exponential(shares: np.ndarray) -> np.ndarray:
    return np.asarray(0.8 - 0.3 * np.exp(shares @ EXPONENTS))


def threshold(shares: np.ndarray) -> np.ndarray:
    return np.asarray((shares[:, 0] > 0.15) * 1.0 + (shares[:, 2] > 0.3) * 0.5)


def rank(one: np.ndarray, other: np.ndarray) -> float:
    return float(spearmanr(one, other).statistic)


def test_log_linear_finds_its_own_law() -> None:
    known, fresh = mixtures(40, 0), mixtures(200, 1)
    found = fit_log_linear(known, exponential(known))(fresh)
    assert found == pytest.approx(exponential(fresh), abs=0.1 * float(exponential(known).std()))
    assert rank(found, exponential(fresh)) > 0.99


def test_an_outlier_does_not_lead_log_linear_astray() -> None:
    known, fresh = mixtures(60, 0), mixtures(200, 1)
    scores = exponential(known)
    scores[0] -= 30 * scores.std()  # a run that fell apart
    assert rank(fit_log_linear(known, scores)(fresh), exponential(fresh)) > 0.98
    assert rank(fit_linear(known, scores)(fresh), exponential(fresh)) < 0.9


def test_linear_finds_a_plane_and_trees_a_threshold() -> None:
    known, fresh = mixtures(150, 0), mixtures(300, 1)
    assert fit_linear(known, known @ EXPONENTS)(fresh) == pytest.approx(fresh @ EXPONENTS, abs=0.01)
    of_trees = rank(fit_trees(known, threshold(known))(fresh), threshold(fresh))
    assert of_trees > rank(fit_linear(known, threshold(known))(fresh), threshold(fresh)) + 0.05
    assert of_trees > rank(fit_log_linear(known, threshold(known))(fresh), threshold(fresh)) + 0.03


def test_the_process_finds_effects_that_saturate() -> None:
    known, fresh = mixtures(40, 0), mixtures(300, 1)
    noisy = saturating(known) + 0.01 * np.random.default_rng(2).normal(size=40)
    found = rank(fit_process(known, noisy)(fresh), saturating(fresh))
    assert found > 0.98
    assert found > rank(fit_linear(known, noisy)(fresh), saturating(fresh)) + 0.02


def test_the_process_smooths_noise_and_keeps_what_is_none() -> None:
    known = mixtures(80, 0)
    exact = fit_process(known, saturating(known))
    assert exact(known) == pytest.approx(saturating(known), abs=0.02 * float(saturating(known).std()))
    noise = 0.1 * np.random.default_rng(3).normal(size=80)
    smoothed = fit_process(known, saturating(known) + noise)(known)
    assert ((smoothed - saturating(known)) ** 2).mean() < 0.5 * (noise**2).mean()


@pytest.mark.parametrize("assumed", [FOR_PREDICTION, FOR_SEARCH])
def test_the_slope_of_the_misfit_is_that_of_differences(assumed: Assumptions) -> None:
    known = mixtures(25, 0)
    grams = np.stack([kernel.pairs(known, known) for kernel in assumed.kernels])
    target = (saturating(known) - saturating(known).mean()) / saturating(known).std()
    count = len(grams) + 1
    rest = (grams, target, np.full(count, -1.0), np.linspace(1.0, 3.0, count))
    for seed in range(3):
        logs = np.random.default_rng(seed).normal(size=count)
        error = check_grad(
            lambda at: mixture_process._evaluate_misfit(at, *rest)[0],
            lambda at: mixture_process._evaluate_misfit(at, *rest)[1],
            logs,
        )
        assert error < 1e-3 * np.linalg.norm(mixture_process._evaluate_misfit(logs, *rest)[1])


@pytest.mark.parametrize("assumed", [FOR_PREDICTION, FOR_SEARCH])
def test_kernels_are_symmetric_have_no_negative_direction_and_know_their_diagonal(assumed: Assumptions) -> None:
    known = np.concatenate([mixtures(40, 0), np.eye(TASKS)])
    for kernel in assumed.kernels:
        gram = kernel.pairs(known, known)
        assert gram == pytest.approx(gram.T)
        assert kernel.own(known) == pytest.approx(np.diag(gram))
        assert np.linalg.eigvalsh(gram).min() > -1e-9 * np.trace(gram)


@pytest.mark.parametrize("law", [saturating, exponential, threshold])
def test_the_blend_is_nowhere_far_from_the_best_and_above_log_linear(law) -> None:
    fresh, found = mixtures(300, 99), []
    for seed in range(3):
        known = mixtures(60, seed)
        scores = law(known) + 0.1 * law(known).std() * np.random.default_rng(seed).normal(size=60)
        alone = [rank(fit(known, scores)(fresh), law(fresh)) for fit in MODELS.values()]
        learnt = fit_blend(known, scores, seed)
        assert learnt is not None
        assert sum(learnt.parts.values()) == pytest.approx(1)
        assert min(learnt.parts.values()) > 0
        found.append([rank(learnt.predict(fresh), law(fresh)), max(alone), alone[0]])
    blended, best, plain = np.mean(found, axis=0)
    assert blended > best - 0.02
    assert blended > plain - 0.01


def test_predictions_follow_the_scale_of_scores() -> None:
    known, fresh = mixtures(30, 0), mixtures(50, 1)
    scores = saturating(known) + 0.02 * np.random.default_rng(0).normal(size=30)
    one, other = fit_blend(known, scores, 0), fit_blend(known, 1000 * scores - 7, 0)
    assert one is not None and other is not None
    assert other.predict(fresh) == pytest.approx(1000 * one.predict(fresh) - 7, abs=20 * one.predict(fresh).std())
    assert other.estimate_spread(fresh) == pytest.approx(1000 * one.estimate_spread(fresh), rel=0.1)
    assert other.skill.spearman == pytest.approx(one.skill.spearman, abs=0.01)


def test_regressions_disagree_most_far_from_what_they_know() -> None:
    known = mixtures(60, 0)
    known = known[known[:, 0] < 0.3]
    learnt = fit_blend(known, saturating(known) + 0.02 * np.random.default_rng(0).normal(size=len(known)), 0)
    assert learnt is not None
    near = learnt.estimate_spread(known).mean()
    far = learnt.estimate_spread(np.eye(TASKS)[:1] * 0.95 + 0.05 / TASKS)[0]
    assert far > 2 * near


def test_chance_shows_no_skill_and_a_law_does() -> None:
    shown = []
    for seed in range(8):
        known = mixtures(24, seed)
        learnt = fit_blend(known, np.random.default_rng(seed).normal(size=24), seed)
        assert learnt is not None
        shown.append(learnt.skill.shown)
    assert sum(shown) <= 1  # a fortieth of the time, by the interval
    known = mixtures(24, 0)
    learnt = fit_blend(known, saturating(known), 0)
    assert learnt is not None and learnt.skill.shown


def test_the_interval_of_skill_is_that_of_ranks() -> None:
    # By hand: squared differences of ranks 42, so rho = 1 - 6 * 42 / 504 = 0.5, whose atanh is .5493; the standard
    # error is sqrt((1 + .125) / 5) = .4743, and 1.96 of them are .9297.
    skill = _measure_skill(np.array([4.0, 2, 1, 3, 0, 7, 6, 5]), np.arange(8.0))
    assert skill.spearman == pytest.approx(0.5)
    assert (skill.low, skill.high) == pytest.approx((-0.3631, 0.9013), abs=2e-4)
    assert not skill.shown
    assert Skill(0.5, 0.01, 0.7).shown
    assert not Skill(0.3, 0.0, 0.5).shown


def test_too_little_is_not_learnt_from() -> None:
    known = mixtures(LEAST, 0)
    assert fit_blend(known[:-1], saturating(known[:-1]), 0) is None
    assert fit_blend(known, np.full(LEAST, 0.7), 0) is None
    one_differs = np.where(np.arange(LEAST) == 3, 0.8, 0.7)
    assert fit_blend(known, one_differs, 0) is not None  # though a fold without that one learns from equal scores
