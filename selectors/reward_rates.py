"""What a bandit's rounds say of each task: the rate of its rewards over the whole of all runs, and how sure that is.

No source: it is ours, and plain counting. A bandit that forgets (``beta_bandit.py``) has forgotten nearly all it was
told by the time it ends; what it was told is still there and is counted here.

    w_k, l_k  rounds of task k that were rewarded, and that were not, added up over the runs
    rate      of rewards, a priori uniform: Beta(1 + w_k, 1 + l_k), what the bandit itself would believe with gamma = 0
    utility   its mean, (1 + w_k) / (2 + w_k + l_k), with the 95 % interval between its quantiles
    better    P(rate of k > rate of all other tasks' rounds together), both Beta and independent. By Evan Miller,
              "Formulas for Bayesian A/B Testing" (2015), https://www.evanmiller.org/bayesian-ab-testing.html: for
              X ~ Beta(a, b), Y ~ Beta(c, d) and integer a,
              P(X > Y) = sum_{i=0}^{a-1} B(c + i, b + d) / ((b + i) B(1 + i, b) B(c, d))

The others' rounds are the reference, and not 0.5: a score that has levelled off falls about every other time whatever
is trained, ties count as rewards, and a score that still rises rewards everything.

Rounds count as independent of each other, which they are not quite: each is compared with the one before, and runs
differ. In twenty real runs (benchmarks/results/thompson_readouts.json) the variance of a task's rate between runs was
1.2 times what is counted here, so an interval is about a tenth too narrow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betaln, logsumexp
from scipy.stats import beta as beta_distribution

_LEVEL = 0.95  # of the intervals


@dataclass(frozen=True)
class RewardRates:
    """Rounds of each task, by name: how many were rewarded, ``won``, and how many were not, ``lost``."""

    won: Mapping[str, int]
    lost: Mapping[str, int]

    @property
    def utility(self) -> dict[str, float]:
        """Task -> mean of its rate of rewards; 0.5 where it had no round."""
        return {task: (1 + self.won[task]) / (2 + self.won[task] + self.lost[task]) for task in self.won}

    @property
    def interval(self) -> dict[str, tuple[float, float]]:
        """Task -> the ends of the central 95 % interval of its rate."""
        tails = ((1 - _LEVEL) / 2, (1 + _LEVEL) / 2)
        return {
            task: tuple(beta_distribution.ppf(tails, 1 + self.won[task], 1 + self.lost[task]).tolist())
            for task in self.won
        }

    @property
    def better(self) -> dict[str, float]:
        """Task -> the probability that its rate is above that of all other tasks' rounds together."""
        won, lost = sum(self.won.values()), sum(self.lost.values())
        return {
            task: chance_of_larger(
                (1 + self.won[task], 1 + self.lost[task]),
                (1 + won - self.won[task], 1 + lost - self.lost[task]),
            )
            for task in self.won
        }

    @property
    def rounds(self) -> dict[str, int]:
        """Task -> its rounds that were rewarded or not."""
        return {task: self.won[task] + self.lost[task] for task in self.won}

    @property
    def overall(self) -> float | None:
        """The share of all rounds that were rewarded; ``None`` without any."""
        rounds = sum(self.rounds.values())
        return sum(self.won.values()) / rounds if rounds else None


def add_rates(runs: Sequence[RewardRates]) -> RewardRates:
    """The rounds of several runs over the same tasks together. ``runs`` must not be empty."""
    tasks = runs[0].won
    return RewardRates(
        {task: sum(run.won[task] for run in runs) for task in tasks},
        {task: sum(run.lost[task] for run in runs) for task in tasks},
    )


def chance_of_larger(one: tuple[int, int], other: tuple[int, int]) -> float:
    """P(X > Y) of independent X ~ Beta(*one) and Y ~ Beta(*other), parameters of at least 1; exact."""
    (a, b), (c, d) = one, other
    i = np.arange(a)  # (a,)
    terms = betaln(c + i, b + d) - np.log(b + i) - betaln(1 + i, b) - betaln(c, d)
    return float(min(1.0, np.exp(logsumexp(terms))))
