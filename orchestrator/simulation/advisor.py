"""Which mixtures to train next, asked and told: the search of `auto` for trainings that are made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import spearmanr

from auxtune.selectors.kit.certainty import estimate_interval
from auxtune.selectors.kit.mixture_search import MixtureState
from auxtune.selectors.kit.process import Process
from auxtune.selectors.methods.auto import Auto
from auxtune.selectors.protocol import Outcome, Problem, Proposal, TaskInfo

_LEVEL = 0.95  # of intervals
_LEAST = 3  # scores that differ, for anything to be said beyond the best of them

Weights = Mapping[str, float]


@dataclass(frozen=True)
class Quality:
    """How well each score is predicted by the others: rank correlation, and the part of the variance explained."""

    spearman: float
    explained: float


@dataclass(frozen=True)
class BestMixture:
    """The best mixture that was trained, by what all runs together say of it."""

    weights: Weights
    runs: int
    """How many runs trained exactly this."""
    seen: float
    """Their mean score."""
    mean: float
    """The score that is expected of such runs on average."""
    low: float
    high: float
    """The ends of the 95 % interval of that mean, by the model; not confirmed by any run."""
    better_than: Mapping[str, float]
    """The probability that it is better than all tasks alike, and than the primary alone."""


@dataclass(frozen=True)
class Advice:
    """What the runs say, in their own units."""

    runs: int
    quality: Quality | None
    """``None`` before there are three runs whose scores differ."""
    best: BestMixture | None
    """``None`` before the first score."""
    gain: float | None
    """What one more run is expected to add to the best."""
    noise: float | None
    """The standard deviation between runs of one mixture."""


class MixtureAdvisor:
    """Asks for mixtures to train and is told what they came to; it trains nothing.

    >>> advisor = MixtureAdvisor(["code", "books", "web"], mode="min")
    >>> advisor.tell({"code": 0.5, "books": 0.2, "web": 0.3}, 2.91)
    >>> len(advisor.ask(2))
    2

    Raises ``ValueError`` for tasks given twice, a primary that is none of them, weights that are no mixture of them,
    and scores that are not finite.
    """

    def __init__(
        self, tasks: Sequence[str], primary: str | None = None, mode: Literal["max", "min"] = "max", seed: int = 0
    ) -> None:
        if not tasks or len(set(tasks)) < len(tasks):
            raise ValueError(f"expected the names of tasks, each once, got {', '.join(tasks) or 'none'}")
        if primary is not None and primary not in tasks:
            raise ValueError(f"the primary must be one of {', '.join(tasks)}, got {primary!r}")
        infos = tuple(TaskInfo(name, "recorded", 1) for name in tasks)
        self._problem = Problem(infos, primary, seed, scored=None if primary else "score")
        self._selector = Auto(stop=None, min_primary=0.0)
        self._state: MixtureState = self._selector.start(self._problem)
        self._sign = 1.0 if mode == "max" else -1.0

    def tell(self, weights: Weights, score: float) -> None:
        """Note one run: the share of each task, absent tasks 0, and its score. Shares need not sum to 1."""
        total = sum(weights.values())
        unknown = set(weights) - set(self._problem.names)
        if unknown or not np.isfinite(total) or total <= 0 or min(weights.values()) < 0:
            raise ValueError(f"expected shares of {', '.join(self._problem.names)}, got {dict(weights)}")
        if not np.isfinite(score):
            raise ValueError(f"expected a finite score, got {score}")
        number = len(self._state.mixtures)
        shares = {name: share / total for name, share in weights.items() if share > 0}
        self._state = self._selector.proposed(self._state, number, Proposal(tuple(shares), shares))
        self._state = self._selector.told(self._state, number, Outcome(self._sign * score))

    def ask(self, count: int = 1) -> list[dict[str, float]]:
        """Mixtures to train next, each as if those before it had been trained; not remembered until they are told."""
        state, asked = self._state, []
        for _ in range(count):
            proposal = self._selector.propose(state, {})
            if not isinstance(proposal, Proposal):
                break
            state = self._selector.proposed(state, len(state.mixtures), proposal)
            asked.append(dict(proposal.shares))
        return asked

    def advise(self) -> Advice:
        """What all runs together say."""
        scores = [score for score in self._state.scores.values() if score is not None]
        if len(scores) < _LEAST or len(set(scores)) < 2:
            return Advice(len(scores), None, None, None, None)
        chosen = self._selector.select(self._state, {})
        leader = chosen.belief["leaders"][0]
        shares = np.array([leader["weights"].get(name, 0.0) for name in self._problem.names])
        low, high = sorted(self._sign * end for end in estimate_interval(self._require_process(), shares, _LEVEL))
        best = BestMixture(
            weights=leader["weights"],
            runs=leader["runs"],
            seen=self._sign * leader["seen"],
            mean=self._sign * leader["mean"],
            low=low,
            high=high,
            better_than=chosen.belief["better_than"],
        )
        return Advice(len(scores), self._measure_quality(), best, chosen.belief["gain"], chosen.belief["noise"])

    def predict_left_out(self) -> tuple[np.ndarray, np.ndarray]:
        """What all others expect of each run, and what it scored, (runs,) each.

        Raises ``ValueError`` before two scores differ.
        """
        process = self._require_process()
        seen = process.centre + process.scale * process.targets
        return self._sign * process.predict_left_out(), self._sign * seen

    def _require_process(self) -> Process:
        process = self._state.learn()
        if process is None:
            raise ValueError("expected two runs or more whose scores differ")
        return process

    def _measure_quality(self) -> Quality:
        expected, seen = self.predict_left_out()
        missed = float(((expected - seen) ** 2).sum() / ((seen - seen.mean()) ** 2).sum())
        return Quality(float(spearmanr(expected, seen).statistic), 1 - missed)
