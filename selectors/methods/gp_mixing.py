"""In what proportion to train the tasks: Bayesian optimisation of the shares with a Gaussian process.

Chooses weights. Source: stage 2 of H. Guo, R. Pasunuru, M. Bansal, "AutoSeM: Automatic Task Selection and Mixing in
Multi-Task Learning", NAACL 2019, https://arxiv.org/abs/1904.04153: a Gaussian process models the primary's score as a
function of the mixing ratio; in each round a mixture is proposed, trained in full, and told.

Provenance. From memory of the paper, unverified: 20 samples, scikit-optimize's defaults (Matérn 5/2, fitted
noise, random start-up). The exact bounds of its integer box are unknown.

Where we differ. The search is over the simplex (``mixtures.py``), not over a box of integers in which many points mean
the same mixture; the caller executes shares as whole steps of a cycle, and the process learns from the executed ones.
The sampler is Optuna's ``GPSampler`` (Matérn 5/2, log expected improvement, which allows for trials still running). The
first mixture is equal shares, the one to beat. A failed mixture counts as the worst seen, so that the search avoids it.
The answer is not the best of noisy scores, but the tried mixture with the best posterior mean.

One ``propose`` rebuilds the process from the history: tenths of a second, and some seconds the first time, when it
loads Optuna. Do not use it with more tasks than about a third of its trials, or where shares do not matter (equal
shares then do as well and cost nothing to find).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from pydantic import Field

from auxtune.selectors.beliefs import Belief, Expectation, read_why
from auxtune.selectors.kit.mixtures import convert_to_point, convert_to_shares
from auxtune.selectors.kit.options import options
from auxtune.selectors.protocol import JSON, Done, Evidence, Outcome, Problem, Proposal, Selection, Wants


@dataclass(frozen=True)
class MixingState:
    """Every proposed mixture, as executed, and its score, ``None`` for a failed one, by the proposal's number.

    ``asked`` are the points of the cube at which they were proposed.
    """

    problem: Problem
    asked: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    mixtures: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    scores: Mapping[int, float | None] = field(default_factory=dict)

    @property
    def order(self) -> tuple[str, ...]:
        """The tasks in the order in which the stick is broken: the primary first, if there is one."""
        first = () if self.problem.primary is None else (self.problem.primary,)
        return (*first, *self.problem.auxiliaries)

    @property
    def pending(self) -> list[int]:
        """Mixtures that are being trained."""
        return [number for number in self.mixtures if number not in self.scores]

    @property
    def good(self) -> list[int]:
        """Mixtures that gave a score."""
        return [number for number in sorted(self.scores) if self.scores[number] is not None]


@options
class GPMixing:
    """The shares of the tasks, by Bayesian optimisation with a Gaussian process."""

    version: ClassVar[int] = 1
    paper: ClassVar[str | None] = "Guo, Pasunuru, Bansal: AutoSeM, stage 2 (2019), https://arxiv.org/abs/1904.04153"
    needs: ClassVar[str] = "tasks that belong together"
    costs: ClassVar[str] = "`samples` runs"
    avoid: ClassVar[str] = "there are more tasks than a third of the samples"

    samples: int = Field(default=20, ge=1, description="mixtures to train")
    startup: int | None = Field(default=None, ge=1, description="random mixtures first; null: tasks, but at least 4")
    min_primary: float = Field(default=0.1, ge=0, le=1, description="the least share of the primary")

    def wants(self) -> Wants:
        """Its answers and the needs of its runs."""
        return Wants(frozenset({"primary", "scored"}), "weights")

    def start(self, problem: Problem) -> MixingState:
        """No mixture yet. Raises ``ValueError`` without a primary or something else that is scored."""
        if problem.scored is None:
            problem.require_primary()
        return MixingState(problem)

    def propose(self, state: MixingState, evidence: Evidence) -> Proposal | Done:
        """The next mixture; any number may be under way."""
        made = len(state.mixtures)
        if made == (self.samples if len(state.order) > 1 else 1):
            return Done()
        rng = np.random.default_rng([state.problem.seed, made])
        seed, sampler_seed = rng.integers(2**31, size=2).tolist()
        point = self._choose_point(state, rng, sampler_seed)
        shares = (
            convert_to_shares(point, self._find_floor(state))
            if made
            else np.full(len(state.order), 1 / len(state.order))
        )
        weights = {name: float(share) for name, share in zip(state.order, shares, strict=True) if share > 0}
        tasks = tuple(name for name in state.problem.names if name in weights)
        return Proposal(tasks, {name: weights[name] for name in tasks}, seed=seed, notes={"point": point.tolist()})

    def proposed(self, state: MixingState, number: int, proposal: Proposal) -> MixingState:
        """One more mixture is under way, with the shares that are actually trained."""
        asked = {**state.asked, number: tuple(proposal.notes["point"])}
        return replace(state, asked=asked, mixtures={**state.mixtures, number: dict(proposal.shares)})

    def told(self, state: MixingState, number: int, outcome: Outcome) -> MixingState:
        """One more score or failure."""
        return replace(state, scores={**state.scores, number: outcome.score})

    def select(self, state: MixingState, evidence: Evidence) -> Selection:
        """The tried mixture with the best posterior mean, the earliest on ties; before any score, equal shares."""
        if not state.good:
            return Selection("mixture", state.problem.names, belief={"why": "no mixture gave a score: equal shares"})
        points, scores = self._read_scored(state)
        means = _predict_means(points, scores, points) if _can_learn(points, scores) else scores
        best = state.good[int(np.argmax(np.round(means, 9)))]
        tried = [
            {"weights": dict(state.mixtures[number]), "score": score, "mean": mean}
            for number, score, mean in zip(state.good, scores.tolist(), means.tolist(), strict=True)
        ]
        tasks = tuple(name for name in state.problem.names if state.mixtures[best].get(name, 0.0) > 0)
        weights = {name: state.mixtures[best][name] for name in tasks}
        return Selection("mixture", tasks, weights, belief={"tried": tried})

    def beliefs(self, belief: Mapping[str, JSON]) -> Iterator[Belief]:
        """What the process expects of the mixture that it answers with."""
        yield from read_why(belief)
        if tried := belief.get("tried"):
            best = max(tried, key=lambda each: each["mean"])
            yield Expectation(best["mean"], best["score"])

    def predict(self, state: MixingState, evidence: Evidence, asked: Sequence[Proposal]) -> list[Mapping[str, float]]:
        """The posterior mean at each mixture; empty before there are three scores, not all alike."""
        won = state.problem.primary or state.problem.scored
        points, scores = self._read_scored(state)
        if won is None or not asked or not _can_learn(points, scores):
            return [{} for _ in asked]
        shares = [np.array([each.shares.get(name, 0.0) for name in state.order]) for each in asked]
        at = np.stack([convert_to_point(each, self._find_floor(state)) for each in shares])
        return [{won: mean} for mean in _predict_means(points, scores, at).tolist()]

    def fewest(self, problem: Problem) -> int:
        """1: a single mixture with a score."""
        return 1

    def _choose_point(self, state: MixingState, rng: np.random.Generator, seed: int) -> np.ndarray:
        """The next point, (K-1,): first equal shares, then random points, then those that the process suggests."""
        made, tasks = len(state.mixtures), len(state.order)
        if made == 0:
            return convert_to_point(np.full(tasks, 1 / tasks), self._find_floor(state))
        # A process needs two scores to have a scale.
        drawn = made < (self.startup or max(4, tasks)) or len(state.good) < 2
        return rng.random(tasks - 1) if drawn else self._suggest_point(state, seed)

    def _suggest_point(self, state: MixingState, seed: int) -> np.ndarray:
        """The point of the cube with the largest expected improvement, by a sampler rebuilt from the history."""
        import optuna
        from threadpoolctl import threadpool_limits

        names = [f"break{i}" for i in range(len(state.order) - 1)]
        cube: dict[str, optuna.distributions.BaseDistribution] = {
            name: optuna.distributions.FloatDistribution(0.0, 1.0) for name in names
        }
        worst = min(score for score in state.scores.values() if score is not None)
        with warnings.catch_warnings(), threadpool_limits(limits=1):
            warnings.simplefilter("ignore")  # Optuna warns at every call that the sampler is experimental
            optuna.logging.set_verbosity(optuna.logging.ERROR)
            sampler = optuna.samplers.GPSampler(seed=seed, n_startup_trials=0, deterministic_objective=False)
            study = optuna.create_study(sampler=sampler, direction="maximize")
            for number in state.mixtures:
                params = dict(zip(names, self._locate(state, number).tolist(), strict=True))
                told = number in state.scores
                score = state.scores.get(number)
                study.add_trial(
                    optuna.trial.create_trial(
                        state=optuna.trial.TrialState.COMPLETE if told else optuna.trial.TrialState.RUNNING,
                        params=params,
                        distributions=cube,
                        value=(worst if score is None else score) if told else None,
                    )
                )
            asked = study.ask(cube).params
        return np.array([asked[name] for name in names])

    def _read_scored(self, state: MixingState) -> tuple[np.ndarray, np.ndarray]:
        """The points of mixtures with a score, (n, K-1), and their scores, (n,)."""
        points = [self._locate(state, number) for number in state.good]
        scores = np.array([state.scores[number] for number in state.good], dtype=float)
        return np.array(points).reshape(len(points), len(state.order) - 1), scores

    def _find_floor(self, state: MixingState) -> float:
        """The least share of the first task; 0 without a primary."""
        return 0.0 if state.problem.primary is None else self.min_primary

    def _locate(self, state: MixingState, number: int) -> np.ndarray:
        shares = np.array([state.mixtures[number].get(name, 0.0) for name in state.order])
        return convert_to_point(shares, self._find_floor(state), np.array(state.asked[number]))


def _can_learn(points: np.ndarray, scores: np.ndarray) -> bool:
    """Whether a process can learn from these: three scores, not all alike."""
    return len(scores) >= 3 and points.shape[1] > 0 and bool(np.ptp(scores) > 0)


def _predict_means(points: np.ndarray, scores: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The posterior mean of a Gaussian process with fitted noise, from (n, K-1) and (n,), at (m, K-1): (m,)."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    # The length-scale starts at one edge of the cube: a few trials cannot tell a narrow peak from luck.
    kernel = ConstantKernel(1.0, (0.01, 100)) * Matern(1.0, (0.2, 100), nu=2.5) + WhiteKernel(0.1, (1e-4, 10))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of a hyperparameter at its bound, which is fine here
        process = GaussianProcessRegressor(kernel, normalize_y=True).fit(points, scores)
    means: np.ndarray = process.predict(at)
    return means
