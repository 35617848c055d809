"""In what proportion to train the tasks: Bayesian optimisation of the shares by expected improvement.

Chooses weights. Source: stage 2 of H. Guo, R. Pasunuru, M. Bansal, "AutoSeM: Automatic Task Selection and Mixing in
Multi-Task Learning", NAACL 2019, https://arxiv.org/abs/1904.04153: a Gaussian process models the primary's score as a
function of the mixing ratio; in each round a mixture is proposed, trained in full, and told.

Provenance. From memory of the paper, unverified: 20 samples, scikit-optimize's defaults (Matérn 5/2, fitted noise, a
random start, expected improvement as one of three acquisitions that are drawn among). The exact bounds of its integer
box are unknown.

Where we differ. The search is over the shares themselves, not over a box of integers in which many points mean the same
mixture; the caller executes shares as whole steps of a cycle, and the process learns from the executed ones. It is that
of ``auto`` (``process.py``), and so are the candidates (``candidates.py``), sparse ones among them. The acquisition is
expected improvement alone, and since scores are noisy it is over the best posterior mean of the mixtures that were
tried, not over the best score. The first mixture is equal shares, the one to beat. A failed mixture
counts as the worst seen; trainings under way count as if they had scored what is expected of them. The answer is the
tried mixture with the best posterior mean, not the best of noisy scores.

One ``propose`` takes hundredths of a second, some tenths with many tasks. Do not use it where shares do not matter
(equal shares then do as well and cost nothing to find), nor to be told when to stop: that is ``auto``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
from pydantic import Field
from scipy.special import ndtr

from auxtune.selectors.beliefs import Belief, Expectation
from auxtune.selectors.kit.candidates import build_candidates, find_nearest
from auxtune.selectors.kit.mixture_search import MixtureSearch, MixtureState, build_proposal, find_best_mixture
from auxtune.selectors.kit.options import options
from auxtune.selectors.kit.process import Process
from auxtune.selectors.protocol import JSON, Done, Evidence, Proposal


@options
class GPMixing(MixtureSearch):
    """The shares of the tasks, by Bayesian optimisation with a Gaussian process."""

    version: ClassVar[int] = 2
    paper: ClassVar[str | None] = "Guo, Pasunuru, Bansal: AutoSeM, stage 2 (2019), https://arxiv.org/abs/1904.04153"
    needs: ClassVar[str] = "tasks that belong together"
    costs: ClassVar[str] = "`samples` runs"
    avoid: ClassVar[str] = "there are more tasks than a third of the samples"

    samples: int = Field(default=20, ge=1, description="mixtures to train")
    startup: int | None = Field(default=None, ge=1, description="random mixtures first; null: tasks, but at least 4")
    min_primary: float = Field(default=0.1, ge=0, le=1, description="the least share of the primary")

    def propose(self, state: MixtureState, evidence: Evidence) -> Proposal | Done:
        """The next mixture; any number may be under way."""
        made, problem = len(state.mixtures), state.problem
        if made == (self.samples if len(problem.tasks) > 1 else 1) or state.is_exhausted:
            return Done()
        rng = np.random.default_rng([problem.seed, made])
        process = state.learn()
        if made < (self.startup or max(4, len(problem.tasks))) or process is None:
            return build_proposal(problem, self._choose_start(state, rng), rng, "")
        mixture, gain = self._find_best(process.imagine(state.pending), state, rng)
        if gain == 0.0:  # nothing is expected to be better
            mixture = self._choose_start(state, rng)
        return build_proposal(problem, mixture, rng, "", {"gain": gain})

    def reading(self, state: MixtureState) -> int:
        """2: the first version read the answer out of another process."""
        return 2

    def beliefs(self, belief: Mapping[str, JSON]) -> Iterator[Belief]:
        """As of every search over mixtures; of an answer of the first version, what it expected."""
        yield from super().beliefs(belief)
        if tried := belief.get("tried"):
            best = max(tried, key=lambda each: each["mean"])
            yield Expectation(best["mean"], best["score"])

    def _choose_start(self, state: MixtureState, rng: np.random.Generator) -> np.ndarray:
        """Equal shares first, or the nearest that are offered, and then a random mixture."""
        tasks, offered = len(state.problem.tasks), state.unused
        if not state.mixtures:
            equal = np.full(tasks, 1 / tasks)
            return equal if offered is None else find_nearest(offered, equal)
        mixtures = build_candidates(state.problem, self.min_primary).draw(rng, 1) if offered is None else offered
        drawn: np.ndarray = mixtures[rng.integers(len(mixtures))]
        return drawn

    def _find_best(self, process: Process, state: MixtureState, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        """The mixture, (K,), of the largest expected improvement, and that in units of the score."""
        best = float(process(state.tried).max())
        candidates = build_candidates(state.problem, self.min_primary)
        return find_best_mixture(
            state, process, lambda shares: estimate_improvements(process, shares, best), candidates, rng
        )


def estimate_improvements(process: Process, shares: np.ndarray, best: float) -> np.ndarray:
    """The expected improvement of the mean of each mixture over ``best``, (m, K) -> (m,), in units of the score.

    With posterior mean μ and deviation σ of that mean, and z = (μ - best) / σ, it is (μ - best) Φ(z) + σ φ(z).
    """
    means, doubts = process.predict(shares)
    deviations = np.sqrt(np.maximum(doubts.variances, 1e-300))
    ahead = (means - best) / deviations
    gains = deviations * (ahead * ndtr(ahead) + np.exp(-(ahead**2) / 2) / np.sqrt(2 * np.pi))
    expected: np.ndarray = np.maximum(gains, 0.0)
    return expected
