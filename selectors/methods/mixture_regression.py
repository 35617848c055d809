"""In what proportion to train the tasks: train many mixtures, learn to predict scores, verify the best predictions.

Chooses weights. Sources: Q. Liu et al., "RegMix: Data Mixture as Regression for Language Model Pre-training", 2024,
https://arxiv.org/abs/2407.01492, and its successor olmix: mixtures drawn around the sizes, a regression from shares to
the score, the best of many predictions.

Provenance. From memory of the paper, unverified: hundreds of small runs; boosted trees rank better than a linear
regression. The draws, and where they differ: ``mixtures.py``; the regressions: ``mixture_models.py``.

Where we differ. No single regression is trusted: log-linear, linear, trees and a Gaussian process are blended by how
well each predicts scores it has not seen. If the blend shows no skill there, the answer is all tasks in equal shares,
and ``belief`` says so. The search goes in rounds, each with twice the samples of the last, so that a budget that ends
early has had its best predictions trained too, and a large one is used up. The maximised value is the predicted score
less ``kappa`` times the disagreement of regressions and folds, because the largest of many predictions is the most
flattered. The best ``verify`` mixtures of a round are trained, and the answer is a mixture that was trained: of all,
the one with the best posterior mean of a process with fitted noise, since the best of many noisy scores is luck too.
Half of the draws give the primary a share drawn uniformly, and how often rows may be repeated is an option
(``max_epochs``), which the sources always bound.

All samples of a round may run at once, so it suits many slots; the decision after them takes some seconds with 512
samples of 64 tasks. Do not use it with fewer than about three runs per task, or where shares do not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np
from pydantic import Field

from auxtune.selectors.beliefs import Belief, Expectation, PredictionQuality, read_why
from auxtune.selectors.kit.mixture_models import LEAST, Blend, fit_blend
from auxtune.selectors.kit.mixture_search import build_proposal
from auxtune.selectors.kit.mixtures import Draws, build_draws
from auxtune.selectors.kit.options import options
from auxtune.selectors.kit.process import fit_process
from auxtune.selectors.protocol import JSON, Done, Evidence, Outcome, Problem, Proposal, Selection, Wait, Wants

_NO_SCORES = f"fewer than {LEAST} mixtures gave scores that differ: all tasks, equal shares"
_NO_SKILL = "what was not seen is not predicted better than by chance: all tasks, equal shares"


@dataclass(frozen=True)
class RegressionState:
    """Every mixture, as executed, and its score, ``None`` for a failed one, by the proposal's number.

    ``rounds`` are the mixtures that the regressions of each round chose to verify, (mixtures, tasks) shares.
    """

    problem: Problem
    mixtures: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    scores: Mapping[int, float | None] = field(default_factory=dict)
    verified: frozenset[int] = frozenset()
    rounds: tuple[tuple[tuple[float, ...], ...], ...] = ()

    @property
    def sampled(self) -> int:
        """How many mixtures were proposed to learn from."""
        return len(self.mixtures) - len(self.verified)

    @property
    def unverified(self) -> tuple[tuple[float, ...], ...]:
        """Mixtures of the last round that are not proposed yet."""
        before = sum(map(len, self.rounds[:-1]))
        return self.rounds[-1][len(self.verified) - before :] if self.rounds else ()

    @property
    def good(self) -> list[int]:
        """Mixtures that gave a score."""
        return [number for number in sorted(self.scores) if self.scores[number] is not None]

    @property
    def shares(self) -> np.ndarray:
        """The shares of all good mixtures, (n, K), columns in the problem's order."""
        return np.array([_list_shares(self.problem, self.mixtures[number]) for number in self.good])

    @property
    def values(self) -> np.ndarray:
        """The scores of all good mixtures, (n,)."""
        return np.array([self.scores[number] for number in self.good], dtype=float)


@options
class MixtureRegression:
    """The shares of the tasks, by regressions on many sampled mixtures, the best predicted verified."""

    version: ClassVar[int] = 2
    paper: ClassVar[str | None] = "Liu et al.: RegMix (2024), https://arxiv.org/abs/2407.01492"
    needs: ClassVar[str] = "many cheap runs, best at once"
    costs: ClassVar[str] = "`samples` + `verify` runs, and more, to `rounds` rounds, where the budget allows"
    avoid: ClassVar[str] = "fewer than three runs per task can be paid for"

    samples: int = Field(
        default=32, ge=LEAST, description="mixtures to train before the first regression; each round doubles them"
    )
    verify: int = Field(default=3, ge=1, description="best predicted mixtures to train in each round")
    rounds: int = Field(
        default=5, ge=1, le=10, description="how often to regress and verify; the budget may end it earlier"
    )
    kappa: float = Field(default=1.0, ge=0, description="standard deviations of disagreement taken off a prediction")
    min_primary: float = Field(default=0.1, ge=0.05, le=1, description="the least share of the primary")
    max_epochs: float | None = Field(
        default=None,
        gt=0,
        description="how often a training may repeat a task's rows, but for the primary at its least share; null: any",
    )

    def wants(self) -> Wants:
        """Its answers and the needs of its runs."""
        return Wants(frozenset({"primary", "scored"}), "weights")

    def start(self, problem: Problem) -> RegressionState:
        """No mixture yet.

        Raises ``ValueError`` without a primary or something else that is scored, and where repeats cannot be limited.
        """
        if problem.scored is None:
            problem.require_primary()
        self._build_draws(problem)
        return RegressionState(problem)

    def propose(self, state: RegressionState, evidence: Evidence) -> Proposal | Wait | Done:
        """A mixture to sample, any number at a time; once all are told, mixtures to verify; and so on in each round."""
        rng = np.random.default_rng([state.problem.seed, len(state.mixtures)])
        if state.unverified:
            return build_proposal(state.problem, np.array(state.unverified[0]), rng, "verify", {"verify": True})
        if len(state.rounds) == self.rounds:
            return Done()
        wanted = self.samples * 2 ** len(state.rounds) if len(state.problem.names) > 1 else 1
        if state.sampled < wanted:
            return build_proposal(state.problem, self._build_draws(state.problem).draw(rng, 1)[0], rng, "sample", {})
        if len(state.scores) < len(state.mixtures):
            return Wait()
        model = _learn_blend(state)
        if model is None:
            return Done()
        mixtures = self._choose_mixtures(state, model, rng)
        return build_proposal(state.problem, np.array(mixtures[0]), rng, "verify", {"verify": True, "round": mixtures})

    def proposed(self, state: RegressionState, number: int, proposal: Proposal) -> RegressionState:
        """One more mixture, with the shares that are actually trained; a round's first one to verify names them all."""
        chosen = tuple(tuple(mixture) for mixture in proposal.notes.get("round", ()))
        return replace(
            state,
            mixtures={**state.mixtures, number: dict(proposal.shares)},
            verified=state.verified | {number} if "verify" in proposal.notes else state.verified,
            rounds=(*state.rounds, chosen) if chosen else state.rounds,
        )

    def told(self, state: RegressionState, number: int, outcome: Outcome) -> RegressionState:
        """One more score or failure."""
        return replace(state, scores={**state.scores, number: outcome.score})

    def select(self, state: RegressionState, evidence: Evidence) -> Selection:
        """The trained mixture with the best posterior mean, the earliest on ties; without skill, equal shares."""
        model = _learn_blend(state)
        if model is None:
            return self._select_equal_shares(state.problem, _NO_SCORES, {"scores": len(state.good)})
        belief = _describe_blend(model)
        if not model.skill.shown:
            return self._select_equal_shares(state.problem, _NO_SKILL, belief)
        means = fit_process(state.shares, state.values)(state.shares)
        at = int(np.argmax(np.round(means, 9)))
        best = state.good[at]
        chosen = {"score": state.scores[best], "mean": float(means[at]), "verified": best in state.verified}
        weights = {name: state.mixtures[best][name] for name in state.problem.names if state.mixtures[best].get(name)}
        return Selection("mixture", tuple(weights), weights, belief={**belief, "chosen": chosen})

    def beliefs(self, belief: Mapping[str, JSON]) -> Iterator[Belief]:
        """How well the unseen is predicted, and what is expected of the answer."""
        yield from read_why(belief)
        if skill := belief.get("skill"):
            yield PredictionQuality({measure: value for measure, value in skill.items() if value is not None})
        if chosen := belief.get("chosen"):
            yield Expectation(chosen["mean"], chosen["score"])

    def fewest(self, problem: Problem) -> int:
        """The scores that a regression needs; 1 for a single task."""
        return LEAST if len(problem.names) > 1 else 1

    def predict(
        self, state: RegressionState, evidence: Evidence, asked: Sequence[Proposal]
    ) -> list[Mapping[str, float]]:
        """The score that each mixture of ``asked`` would have; empty before there are ten scores that differ."""
        won = state.problem.primary or state.problem.scored
        model = _learn_blend(state)
        if model is None or won is None or not asked:
            return [{} for _ in asked]
        rows = [_list_shares(state.problem, each.shares) for each in asked]
        return [{won: float(mean)} for mean in model.predict(np.array(rows))]

    def _choose_mixtures(self, state: RegressionState, model: Blend, rng: np.random.Generator) -> list[list[float]]:
        """Mixtures to verify: those with the best predictions, or equal shares if predictions show no skill."""
        if not model.skill.shown:
            return [self._share_equally(state.problem)]

        def predict_cautiously(shares: np.ndarray) -> np.ndarray:
            return model.predict(shares) - self.kappa * model.estimate_spread(shares)

        best = self._build_draws(state.problem).find_best(predict_cautiously, state.shares, self.verify, rng)
        mixtures: list[list[float]] = best.tolist()
        return mixtures

    def _build_draws(self, problem: Problem) -> Draws:
        return build_draws(problem, self.min_primary, self.max_epochs)

    def _share_equally(self, problem: Problem) -> list[float]:
        """Equal shares, as far as the cap on repeats allows."""
        equal = np.full((1, len(problem.names)), 1 / len(problem.names))
        shares: list[float] = self._build_draws(problem).limit(equal)[0].tolist()
        return shares

    def _select_equal_shares(self, problem: Problem, why: str, belief: Mapping[str, JSON]) -> Selection:
        shares = self._share_equally(problem)
        weights = {name: share for name, share in zip(problem.names, shares, strict=True) if share > 0}
        if max(shares) > min(shares) + 1e-9:
            why += ", as far as `max_epochs` allows"
        return Selection("mixture", tuple(weights), weights, belief={"why": why, **belief})


def _learn_blend(state: RegressionState) -> Blend | None:
    """The regressions on all measurements, or ``None`` if these are too few."""
    if len(state.good) < LEAST:
        return None
    return _fit_cached_blend(state.shares.tobytes(), state.values.tobytes(), state.problem.seed)


@lru_cache(maxsize=16)
def _fit_cached_blend(shares: bytes, scores: bytes, seed: int) -> Blend | None:
    """``fit_blend``, which depends on nothing else and takes long, cached between ``propose`` and ``select``."""
    values = np.frombuffer(scores)
    return fit_blend(np.frombuffer(shares).reshape(len(values), -1), values, seed)


def _describe_blend(model: Blend) -> dict[str, JSON]:
    """For people: how well blend and regressions predict unseen scores, and the proportions of the blend."""
    skill = {"spearman": model.skill.spearman, "low": model.skill.low, "high": model.skill.high}
    return {"skill": skill, "alone": dict(model.alone), "blend": dict(model.parts)}


def _list_shares(problem: Problem, weights: Mapping[str, float]) -> list[float]:
    return [weights.get(name, 0.0) for name in problem.names]
