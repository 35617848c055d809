"""What a process expects of mixtures, and how surely one is better than another, whatever part of scores is noise.

A process is fitted with one amount of noise, the likeliest. That is right for what to try next, but it makes a few
scores look better understood than they are: of ten scores that are nothing but noise, the best mixture comes out as
better than the primary alone with a probability above 0.95 in every other search. So the amount of noise is averaged
over here, down to the possibility that mixtures do not matter at all, each by how likely it makes the scores. (Hoeting,
Madigan, Raftery, Volinsky 1999: Bayesian model averaging.) How much each kernel has to say stays as it was fitted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import brentq

from auxtune.selectors.kit.process import FOR_SEARCH, LEVEL, Process

_NOISES = np.array([0.003, 0.01, 0.03, 0.1, 0.3, 0.6])  # parts of the variance of scores
_NOTHING = 0.3  # the probability that mixtures do not matter, before a score is known
_FAR = 50.0  # deviations within which an end of an interval is looked for


@dataclass(frozen=True)
class _Averaged:
    """Means of mixtures, or differences of such: for each part of noise a Student's t, in units of the score.

    Shapes are (noises,), (noises, quantities) twice.
    """

    weights: np.ndarray
    means: np.ndarray
    deviations: np.ndarray
    degrees: int

    def find_cumulative(self, at: float) -> float:
        """The probability that the first quantity is at most ``at``; what is certain counts half at its value."""
        from scipy.stats import t as student  # half a second to import, which no start needs

        certain = self.deviations[:, 0] <= 0
        scaled = (at - self.means[:, 0]) / np.where(certain, 1.0, self.deviations[:, 0])
        below = np.where(certain, 0.5 * (1 + np.sign(scaled)), student.cdf(scaled, self.degrees))
        return float(self.weights @ below)


def estimate_superiority(process: Process, one: np.ndarray, other: np.ndarray) -> float | None:
    """The probability that the mean of ``one``, (K,), is above that of ``other``; ``None`` where they are the same."""
    if np.allclose(one, other):
        return None
    return 1 - _average_noises(process, np.stack([one, other]), np.array([[1.0], [-1.0]])).find_cumulative(0.0)


def estimate_means(process: Process, mixtures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The expected mean of each mixture, (m, K), and its standard deviation: twice (m,), in units of the score."""
    found = _average_noises(process, mixtures, np.eye(len(mixtures)))
    means: np.ndarray = found.weights @ found.means
    spread = found.degrees / max(found.degrees - 2, 1)  # of two degrees and one Student's t has no variance
    variances = found.weights @ (spread * found.deviations**2 + (found.means - means) ** 2)
    return means, np.sqrt(variances)


def estimate_interval(process: Process, mixture: np.ndarray, level: float) -> tuple[float, float]:
    """The interval in which the mean of a mixture, (K,), lies with a probability of ``level``."""
    found = _average_noises(process, mixture[None], np.eye(1))
    reach = _FAR * float(found.deviations.max())
    least, most = float(found.means.min()) - reach, float(found.means.max()) + reach
    low, high = (
        float(brentq(lambda at, share=share: found.find_cumulative(at) - share, least, most))
        for share in ((1 - level) / 2, (1 + level) / 2)
    )
    return low, high


def _average_noises(process: Process, mixtures: np.ndarray, combined: np.ndarray) -> _Averaged:
    """What is known of the means of mixtures, (m, K), each ``combined`` as a column, (m, quantities), says."""
    shares = process.shares
    pairs = ((shares, shares), (shares, mixtures), (mixtures, mixtures))
    among, towards, between = (process.relate(*pair) - LEVEL for pair in pairs)
    spread = float(np.trace(among) / len(among) - among.mean())
    unit = 1 / spread if spread > 0 else 0.0
    kernels = (unit * among, unit * towards, unit * between)
    supposed = [_suppose_noise(noise, process.targets, kernels, combined) for noise in (*_NOISES, 1.0)]
    likelihoods = np.array([one[0] for one in supposed])
    weights = np.r_[(1 - _NOTHING) * _weigh_noises(), _NOTHING] * np.exp(likelihoods - likelihoods.max())
    means, deviations = (process.scale * np.array([one[at] for one in supposed]) for at in (1, 2))
    centres = process.centre * combined.sum(axis=0)  # of a difference 0
    return _Averaged(weights / weights.sum(), centres + means, deviations, len(shares) - 1)


def _weigh_noises() -> np.ndarray:
    """What is thought of each part of noise before a score is known, by what searches assume; sums to 1."""
    away = (np.log(_NOISES) - np.log(FOR_SEARCH.noise)) / FOR_SEARCH.noise_spread
    weights = np.exp(-0.5 * away**2)
    parts: np.ndarray = weights / weights.sum()
    return parts


def _suppose_noise(
    noise: float, targets: np.ndarray, kernels: tuple[np.ndarray, np.ndarray, np.ndarray], combined: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """How likely the scores are with a part of ``noise``; then means and deviations of what is asked, (quantities,).

    The first is the logarithm of the scores' density, their variance integrated out, but for a constant. ``kernels``
    are the covariances among the mixtures with scores, (n, n), from these to those asked for, (n, m), and of these,
    (m, m).
    """
    among, towards, between = ((1 - noise) * kernel + LEVEL for kernel in kernels)
    lower = cholesky(among + noise * np.eye(len(among)), lower=True)
    known = solve_triangular(lower, targets, lower=True)
    whitened = solve_triangular(lower, towards @ combined, lower=True)
    likelihood = -np.log(np.diag(lower)).sum() - 0.5 * (len(targets) - 1) * np.log(known @ known)
    own = (combined * (between @ combined)).sum(axis=0)
    variances = own - (whitened**2).sum(axis=0)
    variances = np.where(variances > 1e-9 * (1 + own), variances, 0.0)
    return float(likelihood), known @ whitened, np.sqrt(variances * (known @ known) / max(len(targets) - 1, 1))
