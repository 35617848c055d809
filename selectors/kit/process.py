"""A Gaussian process over mixtures whose kernels let a task's share matter much at first and then less and less.

The kernel is a sum of simple ones on powers of the shares: straight lines in the share and its roots, a Brownian path
in a root (any effect of each task by itself), Matérn kernels on roots, and the square of a straight line (effects of
tasks together). The amount of each, and of noise, is fitted by marginal likelihood: one number per kernel and one more,
however many tasks. No source: we know of no other model of mixtures of this kind. That square roots suit shares is
well known: they make the distance between mixtures Hellinger's.

``Assumptions`` says which kernels there are and what is thought of their amounts before a score is known:
``FOR_PREDICTION`` where there are scores by the dozen, ``FOR_SEARCH`` where there are few.

A fit takes a tenth of a second with 256 mixtures of 64 tasks, under a second with 512, and grows cubically from there;
with more than ``Assumptions.most`` mixtures the amounts are fitted to that many of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

LEVEL = 100.0  # variance of the unknown mean of standardised scores: nearly uninformative
# Scores this many times as far below the best as the median of all others count as no worse: a few very bad ones, such
# as of a primary without help or of a training that diverged, would otherwise hide what tells the good ones apart. Only
# these need to be told apart.
_DEEP = 2.5
_MOSTLY = 0.3  # the part of pairs in which picking them out takes longer than adding all
_STEPS = 40  # of the fit; more change no prediction


@dataclass(frozen=True)
class Kernel:
    """How alike the scores of two mixtures are: of all pairs, (n, K) and (m, K) -> (n, m), and of each with itself."""

    pairs: Callable[[np.ndarray, np.ndarray], np.ndarray]
    own: Callable[[np.ndarray], np.ndarray]


def _build_line_kernel(power: float) -> Kernel:
    return Kernel(
        lambda one, other: (one**power) @ (other**power).T,
        lambda shares: (shares ** (2 * power)).sum(axis=1),
    )


def _build_path_kernel(power: float) -> Kernel:
    """A Brownian path along each task's share, the same amount of each."""

    def pairs(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        total = np.zeros((len(one), len(other)))
        for mine, theirs in zip((one**power).T, (other**power).T, strict=True):
            rows, columns = np.flatnonzero(mine), np.flatnonzero(theirs)
            if rows.size * columns.size > _MOSTLY * total.size:
                total += np.minimum.outer(mine, theirs)
            else:  # mixtures of many tasks are sparse, and what neither of two holds adds nothing
                total[np.ix_(rows, columns)] += np.minimum.outer(mine[rows], theirs[columns])
        return total

    return Kernel(pairs, lambda shares: (shares**power).sum(axis=1))


def _build_matern_kernel(power: float, length: float) -> Kernel:
    """Matérn 5/2 in the distance of two mixtures, the shares to a ``power``."""

    def pairs(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        a, b = one**power, other**power
        squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * a @ b.T
        scaled = np.sqrt(5 * np.maximum(squared, 0.0)) / length
        matern: np.ndarray = (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
        return matern

    return Kernel(pairs, lambda shares: np.ones(len(shares)))


def _build_square(kernel: Kernel) -> Kernel:
    """The square of a kernel: of a straight line, every product of two tasks' shares."""
    return Kernel(lambda one, other: kernel.pairs(one, other) ** 2, lambda shares: kernel.own(shares) ** 2)


@dataclass(frozen=True)
class Assumptions:
    """The kernels, and what is thought of each one's amount and of the noise before a score is known.

    Amounts are variances in units of the scores' own, log-normal around ``amount`` and ``noise``; ``spread`` and
    ``noise_spread`` are the standard deviations of their logarithms.
    """

    kernels: tuple[Kernel, ...]
    amount: float
    spread: float
    noise: float
    noise_spread: float
    most: int = 512  # mixtures to fit the amounts to


# The lengths are half the largest distance between two mixtures of few tasks.
FOR_PREDICTION = Assumptions(
    (
        _build_line_kernel(1.0),
        _build_line_kernel(0.5),
        _build_line_kernel(0.25),
        _build_path_kernel(0.5),
        _build_matern_kernel(0.5, 1.0),
        _build_matern_kernel(0.25, 1.5),
    ),
    amount=1.0,
    spread=4.0,
    noise=1.0,
    noise_spread=4.0,
)
# A few scores cannot tell noise from shape: trainings that differ by seed alone usually differ less than mixtures do.
FOR_SEARCH = Assumptions(
    (
        _build_line_kernel(1.0),
        _build_line_kernel(0.5),
        _build_path_kernel(0.5),
        _build_matern_kernel(0.5, 0.6),
        _build_matern_kernel(0.5, 1.2),
        _build_square(_build_line_kernel(0.5)),
    ),
    amount=0.3,
    spread=2.0,
    noise=0.03,
    noise_spread=1.5,
)


@dataclass(frozen=True)
class Process:
    """A fitted process: the mixtures it was fitted to, and the numbers that predict others."""

    kernels: tuple[Kernel, ...]
    shares: np.ndarray  # (n, K)
    amounts: np.ndarray  # (kernels,) the amount of each kernel before scaling
    noise: float  # variance of a score around its mixture's mean, in units of the scores' variance
    targets: np.ndarray  # (n,) the standardised scores
    lower: np.ndarray  # (n, n) Cholesky factor of the covariance
    centre: float  # mean of the scores
    scale: float  # standard deviation of the scores

    def __call__(self, shares: np.ndarray) -> np.ndarray:
        """The posterior mean, (m, K) -> (m,)."""
        dual = cho_solve((self.lower, True), self.targets)
        mean: np.ndarray = self.centre + self.scale * (self.relate(shares, self.shares) @ dual)
        return mean

    @property
    def noise_deviation(self) -> float:
        """The standard deviation of one training's score around its mixture's mean, in units of the score."""
        return self.scale * float(np.sqrt(self.noise))

    def predict(self, shares: np.ndarray) -> tuple[np.ndarray, Doubts]:
        """The posterior mean of each mixture, (m, K) -> (m,), and the doubt about all of them."""
        cross = self.relate(self.shares, shares)
        whitened = solve_triangular(self.lower, cross, lower=True)
        known = solve_triangular(self.lower, self.targets, lower=True)
        own = sum(amount * kernel.own(shares) for amount, kernel in zip(self.amounts, self.kernels, strict=True))
        variances = self.scale**2 * np.maximum(own + LEVEL - (whitened**2).sum(axis=0), 0.0)
        return self.centre + self.scale * (known @ whitened), Doubts(self, shares, whitened, variances)

    def predict_left_out(self) -> np.ndarray:
        """What the process expects of each mixture when that one's score is left out: (n,), in units of the score.

        Rasmussen and Williams 2006, equation 5.12. The amounts are fitted to all scores, so that it flatters a little.
        """
        inverse = cho_solve((self.lower, True), np.eye(len(self.targets)))
        left_out: np.ndarray = self.targets - (inverse @ self.targets) / np.diag(inverse)
        return self.centre + self.scale * left_out

    def regress(self, feature: np.ndarray, amount: float) -> tuple[float, float]:
        """Mean and variance of the slope along a ``feature`` of the mixtures, (n,), whose prior variance is ``amount``.

        In units of the standardised scores. A line along the feature must be one of the kernels, with that amount.
        """
        whitened = solve_triangular(self.lower, feature, lower=True)
        known = solve_triangular(self.lower, self.targets, lower=True)
        return amount * float(whitened @ known), max(amount - amount**2 * float(whitened @ whitened), 0.0)

    def imagine(self, pending: np.ndarray) -> Process:
        """The process as if each of the ``pending`` mixtures, (p, K), had scored what is expected of it.

        Means stay as they are; only the doubt shrinks. (Ginsbourger, Le Riche, Carraro 2010: "kriging believer".)
        """
        if not len(pending):
            return self
        shares = np.concatenate([self.shares, pending])
        targets = np.r_[self.targets, (self(pending) - self.centre) / self.scale]
        return _solve(self.kernels, shares, targets, self.amounts, self.noise, self.centre, self.scale)

    def relate(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """The prior covariance, the mean's included."""
        parts = (
            amount * kernel.pairs(one, other)
            for amount, kernel in zip(self.amounts, self.kernels, strict=True)
            if amount
        )
        return sum(parts, np.full((len(one), len(other)), LEVEL))


@dataclass(frozen=True)
class Doubts:
    """The posterior variance of the mean of each mixture, in squares of the score, and what they have in common."""

    process: Process
    shares: np.ndarray  # (m, K)
    whitened: np.ndarray  # (n, m) what the process knows of them
    variances: np.ndarray  # (m,)

    def share_with(self, other: Doubts) -> np.ndarray:
        """The posterior covariance of these means with other ones of the same process: (m, m') squares of the score."""
        prior = self.process.relate(self.shares, other.shares)
        covariance: np.ndarray = self.process.scale**2 * (prior - self.whitened.T @ other.whitened)
        return covariance


def bound_below(scores: np.ndarray) -> np.ndarray:
    """Scores, (n,), none of them much worse than is usual."""
    best = scores.max()
    lower = scores[scores < best]
    return scores if not lower.size else np.maximum(scores, best - _DEEP * (best - np.median(lower)))


def are_alike(values: np.ndarray) -> bool:
    """Whether some values, (n,), do not differ by more than their last digits; true of none at all."""
    return not len(values) or bool(np.ptp(values) <= 1e-9 * np.abs(values).max())


def fit_process(shares: np.ndarray, scores: np.ndarray, assumed: Assumptions = FOR_PREDICTION) -> Process:
    """The process fitted to mixtures, (n, K), and scores, (n,), at least two of them different."""
    centre, scale = float(scores.mean()), float(scores.std())
    targets = (scores - centre) / scale
    used = np.unique(np.linspace(0, len(scores) - 1, min(len(scores), assumed.most)).astype(int))
    amounts, noise = _fit_amounts(shares[used], targets[used], assumed)
    return _solve(assumed.kernels, shares, targets, amounts, noise, centre, scale)


def _solve(
    kernels: tuple[Kernel, ...],
    shares: np.ndarray,
    targets: np.ndarray,
    amounts: np.ndarray,
    noise: float,
    centre: float,
    scale: float,
) -> Process:
    grams = np.stack([kernel.pairs(shares, shares) for kernel in kernels])
    lower = cholesky(_build_covariance(grams, amounts, noise), lower=True)
    return Process(kernels, shares, amounts, noise, targets, lower, centre, scale)


def _fit_amounts(shares: np.ndarray, targets: np.ndarray, assumed: Assumptions) -> tuple[np.ndarray, float]:
    """The likeliest amount of each kernel, before scaling, and of the noise, given standardised scores, (n,)."""
    count = len(assumed.kernels)
    grams = np.stack([kernel.pairs(shares, shares) for kernel in assumed.kernels])
    # Kernels are scaled by how much they vary between these mixtures, so that amounts compare; a constant one gets 0.
    spread = np.array([np.trace(gram) / len(targets) - gram.mean() for gram in grams])
    useful = spread > 1e-12
    unit = np.where(useful, 1 / np.where(useful, spread, 1.0), 0.0)
    grams *= unit[:, None, None]
    start = np.log(np.r_[np.full(count, 0.7 / count), 0.3])
    bounds = [(-12.0, 6.0)] * count + [(-9.0, 3.0)]
    thought = np.log(np.r_[np.full(count, assumed.amount), assumed.noise])
    spreads = np.r_[np.full(count, assumed.spread), assumed.noise_spread]
    known = (grams, targets, thought, spreads)
    fit = minimize(_evaluate_misfit, start, known, "L-BFGS-B", jac=True, bounds=bounds, options={"maxiter": _STEPS})
    return np.exp(fit.x[:-1]) * unit, float(np.exp(fit.x[-1]))


def _build_covariance(grams: np.ndarray, amounts: np.ndarray, noise: float) -> np.ndarray:
    covariance: np.ndarray = np.tensordot(amounts, grams, 1) + LEVEL
    covariance.flat[:: len(covariance) + 1] += noise
    return covariance


def _evaluate_misfit(
    logs: np.ndarray, grams: np.ndarray, target: np.ndarray, thought: np.ndarray, spreads: np.ndarray
) -> tuple[float, np.ndarray]:
    """The negative log posterior density of the logarithms of the amounts and of the noise, and its gradient.

    With C the covariance and y the target it is ½ yᵀ C⁻¹ y + ½ log |C| + ½ Σ ((logs - thought) / spreads)². The
    derivative by the logarithm of an amount a of kernel K is ½ a · tr((C⁻¹ - C⁻¹ y yᵀ C⁻¹) K) and that of the prior;
    for the noise K is the identity.
    """
    amounts = np.exp(logs)
    away = (logs - thought) / spreads
    factor = cho_factor(_build_covariance(grams, amounts[:-1], amounts[-1]), lower=True)
    inverse = cho_solve(factor, np.eye(len(target)))
    dual = inverse @ target
    value = 0.5 * target @ dual + np.log(np.diag(factor[0])).sum() + (away**2).sum() / 2
    slope = (inverse - np.outer(dual, dual)).ravel()
    parts = np.r_[grams.reshape(len(grams), -1) @ slope, slope[:: len(target) + 1].sum()]
    return float(value), 0.5 * amounts * parts + away / spreads
