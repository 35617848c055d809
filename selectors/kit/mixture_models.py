"""From shares to scores: the regressions that ``mixture_regression`` chooses from, and their blend.

Sources. Log-linear, score = c - exp(t . shares): J. Ye et al., "Data Mixing Laws", 2024,
https://arxiv.org/abs/2403.16952, and, fitted with Huber's loss, the olmix code. Trees: Q. Liu et al., "RegMix", 2024,
https://arxiv.org/abs/2407.01492 (boosted there; ours are scikit-learn's extra trees, which need no stopping rule).
Linear is the plain comparator, and the Gaussian process (``process.py``) is ours.

The blend is a stack: each regression predicts scores that it has not seen (cross-validation), and non-negative least
squares finds the proportions in which these predictions together come closest to the scores. The blend's skill is
Spearman's correlation of predicted and measured scores that neither the regressions nor the proportions have seen, with
a 95 % interval. A blend of 128 mixtures takes about a second, one of 512 mixtures of 64 tasks some seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize, nnls
from scipy.stats import spearmanr

from auxtune.selectors.kit.process import fit_process

Predict = Callable[[np.ndarray], np.ndarray]  # (m, K) -> (m,)
Fit = Callable[[np.ndarray, np.ndarray], Predict]  # (n, K), (n,) -> Predict

FOLDS = 5
LEAST = 2 * FOLDS  # scores below which nothing can be said about unseen ones

_HUBER = 0.3  # standard deviations beyond which the pull of a score no longer grows
_STEPS = 60  # of the log-linear fit


def fit_log_linear(shares: np.ndarray, scores: np.ndarray) -> Predict:
    """C - exp(t . shares), by Huber's loss: every task moves the score to its ceiling, with diminishing returns."""
    centre, scale = float(scores.mean()), float(scores.std())
    target = (scores - centre) / scale

    def below(at: np.ndarray, mixtures: np.ndarray) -> np.ndarray:
        short: np.ndarray = np.exp(np.clip(mixtures @ at[1:], -30.0, 30.0))
        return short

    def misfit(at: np.ndarray) -> tuple[float, np.ndarray]:
        short = below(at, shares)
        apart = at[0] - short - target
        bounded = np.clip(apart, -_HUBER, _HUBER)
        slope = np.concatenate([[bounded.mean()], -(bounded * short) @ shares / len(target)])
        return float((bounded * (apart - bounded / 2)).mean()), slope

    # Starts where no task matters and stops early: with few mixtures the best fit would be an overfit.
    start = np.concatenate([[target.max() + 1.0], np.zeros(shares.shape[1])])
    fit = minimize(misfit, start, method="L-BFGS-B", jac=True, options={"maxiter": _STEPS})
    return lambda mixtures: centre + scale * (fit.x[0] - below(fit.x, mixtures))


def fit_linear(shares: np.ndarray, scores: np.ndarray) -> Predict:
    """A plane, with its ridge chosen by leave-one-out."""
    from sklearn.linear_model import RidgeCV

    middle = shares.mean(axis=0)
    fit = RidgeCV(np.logspace(-4, 3, 15)).fit(shares - middle, scores)
    return lambda mixtures: np.asarray(fit.predict(mixtures - middle))


def fit_trees(shares: np.ndarray, scores: np.ndarray) -> Predict:
    """Extra trees on square roots, so that thresholds are drawn among small shares as often as among large ones."""
    from sklearn.ensemble import ExtraTreesRegressor

    fit = ExtraTreesRegressor(100, min_samples_leaf=2, random_state=0).fit(np.sqrt(shares), scores)
    return lambda mixtures: np.asarray(fit.predict(np.sqrt(mixtures)))


MODELS: Mapping[str, Fit] = {
    "log_linear": fit_log_linear,
    "linear": fit_linear,
    "trees": fit_trees,
    "process": fit_process,
}


@dataclass(frozen=True)
class Skill:
    """Spearman's correlation of predicted and measured scores, all unseen, and its 95 % interval."""

    spearman: float
    low: float
    high: float

    @property
    def shown(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0


@dataclass(frozen=True)
class Blend:
    """Regressions and their proportions, each fitted to all scores, and once without each fold."""

    parts: Mapping[str, float]  # sum to 1
    whole: Mapping[str, Predict]
    folds: tuple[Mapping[str, Predict], ...]
    skill: Skill
    alone: Mapping[str, float]  # Spearman's correlation of each regression by itself, on unseen scores

    def predict(self, shares: np.ndarray) -> np.ndarray:
        """Predicted scores, (m, K) -> (m,)."""
        return self._mix(self.whole, shares)

    def estimate_spread(self, shares: np.ndarray) -> np.ndarray:
        """The standard deviation, (m,), of predictions over folds left out and over regressions."""
        centre = self._mix(self.whole, shares)
        apart = np.zeros(len(shares))
        for models in self.folds:
            for name, part in self.parts.items():
                apart += part * (models[name](shares) - centre) ** 2 / len(self.folds)
        spread: np.ndarray = np.sqrt(apart)
        return spread

    def _mix(self, models: Mapping[str, Predict], shares: np.ndarray) -> np.ndarray:
        mixed: np.ndarray = np.sum([part * models[name](shares) for name, part in self.parts.items()], axis=0)
        return mixed


def fit_blend(shares: np.ndarray, scores: np.ndarray, seed: int) -> Blend | None:
    """The blend for mixtures (n, K) and scores (n,); ``None`` for fewer than ten scores or all alike.

    The skill needs a second level of cross-validation: a fold's predictions are combined in proportions found on the
    other folds, so that neither regressions nor proportions have seen its scores.
    """
    n = len(scores)
    if n < LEAST or np.ptp(scores) <= 1e-12 * np.abs(scores).max():
        return None
    fold = np.random.default_rng([seed, n]).permutation(n) % FOLDS
    fitted = []
    unseen = np.zeros((n, len(MODELS)))
    for left in range(FOLDS):
        out = fold == left
        fitted.append({name: _fit_model(model, shares[~out], scores[~out]) for name, model in MODELS.items()})
        unseen[out] = np.stack([predict(shares[out]) for predict in fitted[-1].values()], axis=1)
    stacked = np.zeros(n)
    for left in range(FOLDS):
        out = fold == left
        stacked[out] = unseen[out] @ _solve_proportions(unseen[~out], scores[~out])
    found = {
        name: float(part) for name, part in zip(MODELS, _solve_proportions(unseen, scores), strict=True) if part > 0
    }
    whole = {name: _fit_model(MODELS[name], shares, scores) for name in found}
    alone = {name: _compute_spearman(column, scores) for name, column in zip(MODELS, unseen.T, strict=True)}
    return Blend(found, whole, tuple(fitted), _measure_skill(stacked, scores), alone)


def _fit_model(model: Fit, shares: np.ndarray, scores: np.ndarray) -> Predict:
    if np.ptp(scores) <= 1e-12 * np.abs(scores).max():
        level = float(scores.mean())
        return lambda mixtures: np.full(len(mixtures), level)
    return model(shares, scores)


def _solve_proportions(predicted: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The proportions, summing to 1, in which the columns of ``predicted`` (n, models) come closest to ``scores``.

    Non-negative least squares about the mean score; equal proportions if no column helps.
    """
    found, _ = nnls(predicted - scores.mean(), scores - scores.mean())
    if found.sum() <= 0:
        return np.full(len(found), 1 / len(found))
    found[found < 0.01 * found.sum()] = 0.0  # not worth its computing time
    shares: np.ndarray = found / found.sum()
    return shares


def _measure_skill(predicted: np.ndarray, scores: np.ndarray) -> Skill:
    """Fisher's interval with the standard error for ranks, √((1 + ρ²/2) / (n - 3)): Bonett and Wright, 2000.

    D. Bonett, T. Wright, "Sample Size Requirements for Estimating Pearson, Kendall and Spearman Correlations",
    Psychometrika 65.
    """
    rho = _compute_spearman(predicted, scores)
    reach = 1.96 * math.sqrt((1 + rho**2 / 2) / (len(scores) - 3))
    centre = math.atanh(min(max(rho, -0.9999), 0.9999))
    return Skill(rho, math.tanh(centre - reach), math.tanh(centre + reach))


def _compute_spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's correlation; 0 if either is constant."""
    return float(spearmanr(one, other).statistic) if np.ptp(one) > 0 and np.ptp(other) > 0 else 0.0
