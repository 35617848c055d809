"""From shares to scores: the regressions that ``mixture_regression`` chooses from, and how it blends them.

Sources. Log-linear, score = c - exp(t . shares): J. Ye et al., "Data Mixing Laws", 2024, https://arxiv.org/abs/2403.16952,
and, fitted with Huber's loss, the olmix code. Trees: Q. Liu et al., "RegMix", 2024, https://arxiv.org/abs/2407.01492
(boosted there; ours are scikit-learn's extra trees, which need no stopping rule). Linear is the plain comparator, and
the Gaussian process (``process.py``) is ours.

The blend is a stack: each regression predicts what it has not seen (cross-validation), and non-negative least squares
finds in what proportion those predictions together come nearest to the scores. Its skill is Spearman's correlation of
predicted and measured where neither a regression nor the proportions have seen the measured, with a 95 % interval.
One blend of 128 mixtures takes about a second, of 512 mixtures of 64 tasks some seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize, nnls
from scipy.stats import spearmanr

from auxtune.selectors.kit.process import process

Predict = Callable[[np.ndarray], np.ndarray]  # (m, K) -> (m,)
Fit = Callable[[np.ndarray, np.ndarray], Predict]  # (n, K), (n,) -> Predict

FOLDS = 5
LEAST = 2 * FOLDS  # scores below which nothing can be said of what is unseen

_HUBER = 0.3  # standard deviations beyond which a score pulls no harder
_STEPS = 60  # of the log-linear fit


def log_linear(shares: np.ndarray, scores: np.ndarray) -> Predict:
    """C - exp(t . shares), by Huber's loss: every task pushes the score to its ceiling, ever less the nearer it is."""
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

    # From no task matters, and stopped early: of few mixtures the best fit says much that is not so.
    start = np.concatenate([[target.max() + 1.0], np.zeros(shares.shape[1])])
    fit = minimize(misfit, start, method="L-BFGS-B", jac=True, options={"maxiter": _STEPS})
    return lambda mixtures: centre + scale * (fit.x[0] - below(fit.x, mixtures))


def linear(shares: np.ndarray, scores: np.ndarray) -> Predict:
    """A plane, its ridge by leave-one-out."""
    from sklearn.linear_model import RidgeCV

    middle = shares.mean(axis=0)
    fit = RidgeCV(np.logspace(-4, 3, 15)).fit(shares - middle, scores)
    return lambda mixtures: np.asarray(fit.predict(mixtures - middle))


def trees(shares: np.ndarray, scores: np.ndarray) -> Predict:
    """Extra trees on square roots, so that thresholds among small shares are drawn as often as among large ones."""
    from sklearn.ensemble import ExtraTreesRegressor

    fit = ExtraTreesRegressor(100, min_samples_leaf=2, random_state=0).fit(np.sqrt(shares), scores)
    return lambda mixtures: np.asarray(fit.predict(np.sqrt(mixtures)))


MODELS: Mapping[str, Fit] = {"log_linear": log_linear, "linear": linear, "trees": trees, "process": process}


@dataclass(frozen=True)
class Skill:
    """Spearman's correlation of predicted and measured on what was not seen, and its 95 % interval."""

    spearman: float
    low: float
    high: float

    @property
    def shown(self) -> bool:
        """Whether the interval leaves out that there is none."""
        return self.low > 0


@dataclass(frozen=True)
class Blend:
    """Regressions and in what proportion they are believed, each fitted to all, and once for each fold left out."""

    parts: Mapping[str, float]  # sum to 1
    whole: Mapping[str, Predict]
    folds: tuple[Mapping[str, Predict], ...]
    skill: Skill
    alone: Mapping[str, float]  # Spearman of each regression by itself on what it has not seen

    def mean(self, shares: np.ndarray) -> np.ndarray:
        """Predicted scores, (m, K) -> (m,)."""
        return self._mixed(self.whole, shares)

    def spread(self, shares: np.ndarray) -> np.ndarray:
        """How much the predictions depend on rows left out and on the regression, a standard deviation, (m,)."""
        centre = self._mixed(self.whole, shares)
        apart = np.zeros(len(shares))
        for models in self.folds:
            for name, part in self.parts.items():
                apart += part * (models[name](shares) - centre) ** 2 / len(self.folds)
        spread: np.ndarray = np.sqrt(apart)
        return spread

    def _mixed(self, models: Mapping[str, Predict], shares: np.ndarray) -> np.ndarray:
        mixed: np.ndarray = np.sum([part * models[name](shares) for name, part in self.parts.items()], axis=0)
        return mixed


def blend(shares: np.ndarray, scores: np.ndarray, seed: int) -> Blend | None:
    """The blend for mixtures, (n, K), and scores, (n,); ``None`` for under ten scores or all alike."""
    n = len(scores)
    if n < LEAST or np.ptp(scores) <= 1e-12 * np.abs(scores).max():
        return None
    fold = np.random.default_rng([seed, n]).permutation(n) % FOLDS
    fitted = []
    unseen = np.zeros((n, len(MODELS)))
    for left in range(FOLDS):
        out = fold == left
        fitted.append({name: _fit(model, shares[~out], scores[~out]) for name, model in MODELS.items()})
        unseen[out] = np.stack([predict(shares[out]) for predict in fitted[-1].values()], axis=1)
    stacked = np.zeros(n)
    for left in range(FOLDS):
        out = fold == left
        stacked[out] = unseen[out] @ _proportions(unseen[~out], scores[~out])
    found = {name: float(part) for name, part in zip(MODELS, _proportions(unseen, scores), strict=True) if part > 0}
    whole = {name: _fit(MODELS[name], shares, scores) for name in found}
    alone = {name: _spearman(column, scores) for name, column in zip(MODELS, unseen.T, strict=True)}
    return Blend(found, whole, tuple(fitted), _skill(stacked, scores), alone)


def _fit(model: Fit, shares: np.ndarray, scores: np.ndarray) -> Predict:
    if np.ptp(scores) <= 1e-12 * np.abs(scores).max():
        level = float(scores.mean())
        return lambda mixtures: np.full(len(mixtures), level)
    return model(shares, scores)


def _proportions(predicted: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """In what proportion the columns of ``predicted``, (n, models), come nearest to ``scores``; equal if none does."""
    found, _ = nnls(predicted - scores.mean(), scores - scores.mean())
    if found.sum() <= 0:
        return np.full(len(found), 1 / len(found))
    found[found < 0.01 * found.sum()] = 0.0  # not worth its time
    shares: np.ndarray = found / found.sum()
    return shares


def _skill(predicted: np.ndarray, scores: np.ndarray) -> Skill:
    """Fisher's interval with the standard error for ranks of Bonett and Wright, Psychometrika 65 (2000)."""
    rho = _spearman(predicted, scores)
    reach = 1.96 * math.sqrt((1 + rho**2 / 2) / (len(scores) - 3))
    centre = math.atanh(min(max(rho, -0.9999), 0.9999))
    return Skill(rho, math.tanh(centre - reach), math.tanh(centre + reach))


def _spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's correlation; 0 where one is constant."""
    return float(spearmanr(one, other).statistic) if np.ptp(one) > 0 and np.ptp(other) > 0 else 0.0
