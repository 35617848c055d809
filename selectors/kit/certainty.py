"""How surely one mixture is better than another, whatever part of the scores is noise.

A process is fitted with one amount of noise, the likeliest. That is right for what to try next, but it makes a few
scores look better understood than they are: of ten scores that are nothing but noise, the best mixture comes out as
better than the primary alone with a probability above 0.95 in every other search. So the amount of noise is averaged
over here, down to the possibility that mixtures do not matter at all, each by how likely it makes the scores. (Hoeting,
Madigan, Raftery, Volinsky 1999: Bayesian model averaging.) How much each kernel has to say stays as it was fitted.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.stats import t as student

from auxtune.selectors.kit.process import FOR_SEARCH, LEVEL, Process

_NOISES = np.array([0.003, 0.01, 0.03, 0.1, 0.3, 0.6])  # parts of the variance of scores
_NOTHING = 0.3  # the probability that mixtures do not matter, before a score is known


def estimate_superiority(process: Process, one: np.ndarray, other: np.ndarray) -> float | None:
    """The probability that the mean of ``one``, (K,), is above that of ``other``; ``None`` where they are the same."""
    if np.allclose(one, other):
        return None
    shares, both = process.shares, np.stack([one, other])
    among, towards, between = (
        process.relate(*pair) - LEVEL for pair in ((shares, shares), (shares, both), (both, both))
    )
    spread = float(np.trace(among) / len(among) - among.mean())
    if spread <= 0:
        return 0.5
    kernels = (among / spread, towards / spread, between / spread)
    prior = np.r_[(1 - _NOTHING) * _weigh_noises(), _NOTHING]
    supposed = [_suppose_noise(noise, process.targets, kernels) for noise in (*_NOISES, 1.0)]
    likelihoods, probabilities = np.array(supposed).T
    posterior = prior * np.exp(likelihoods - likelihoods.max())
    return float(posterior @ probabilities / posterior.sum())


def _weigh_noises() -> np.ndarray:
    """What is thought of each part of noise before a score is known, by what searches assume; sums to 1."""
    away = (np.log(_NOISES) - np.log(FOR_SEARCH.noise)) / FOR_SEARCH.noise_spread
    weights = np.exp(-0.5 * away**2)
    parts: np.ndarray = weights / weights.sum()
    return parts


def _suppose_noise(
    noise: float, targets: np.ndarray, kernels: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> tuple[float, float]:
    """How likely the scores are with a part of ``noise``, and the probability asked for then.

    The first is the logarithm of their density, their variance integrated out, but for a constant. ``kernels`` are the
    covariances among the mixtures with scores, (n, n), from these to the two compared, (n, 2), and between the two.
    """
    among, towards, between = ((1 - noise) * kernel + LEVEL for kernel in kernels)
    lower = cholesky(among + noise * np.eye(len(among)), lower=True)
    known, whitened = (solve_triangular(lower, each, lower=True) for each in (targets, towards))
    degrees = len(targets) - 1
    likelihood = -np.log(np.diag(lower)).sum() - 0.5 * degrees * np.log(known @ known)
    covariance = between - whitened.T @ whitened
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if variance <= 1e-12:  # nothing but noise
        return float(likelihood), 0.5
    first, second = known @ whitened
    deviation = np.sqrt(variance * (known @ known) / degrees)
    return float(likelihood), float(student.cdf((first - second) / deviation, degrees))
