"""What searches over mixtures have in common: their state, a process that learns from it, and their answer.

A search differs from another by what it proposes. The answer of each is a mixture that was trained: the one with the
best posterior mean, since the best of many noisy scores is luck. A failed mixture counts as the worst seen, and how bad
a bad one is does not matter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import numpy as np

from auxtune.selectors.beliefs import Belief, Expectation, Leader, Leaders, Remark, read_why
from auxtune.selectors.kit.candidates import REFINED, Candidates, name_usual
from auxtune.selectors.kit.certainty import estimate_means, estimate_superiority
from auxtune.selectors.kit.hints import Hint, build_hint_kernel, weigh_hints
from auxtune.selectors.kit.process import FOR_SEARCH, Process, are_alike, bound_below, fit_process
from auxtune.selectors.protocol import JSON, Done, Evidence, Outcome, Problem, Proposal, Selection, Wait, Wants

_SHOWN = 5  # leaders in the belief


@dataclass(frozen=True)
class MixtureState:
    """Every proposed mixture, as executed, and its score, ``None`` for a failed one, by the proposal's number.

    ``hints`` are what is thought of auxiliaries before they are tried, ``is_hinted`` whether the mixture that they
    suggest was proposed, and ``measured`` the key of arrays that hold one more.
    """

    problem: Problem
    mixtures: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    scores: Mapping[int, float | None] = field(default_factory=dict)
    hints: tuple[Hint, ...] = ()
    is_hinted: bool = False
    measured: str | None = None

    @property
    def good(self) -> list[int]:
        """Mixtures that gave a score."""
        return [number for number in sorted(self.scores) if self.scores[number] is not None]

    @property
    def pending(self) -> np.ndarray:
        """Mixtures that are being trained, (p, K)."""
        return self.read_shares([number for number in self.mixtures if number not in self.scores])

    def __hash__(self) -> int:
        return hash((self.problem.seed, len(self.mixtures), len(self.scores)))

    def build_rng(self) -> np.random.Generator:
        """The randomness of the next proposal."""
        return np.random.default_rng([self.problem.seed, len(self.mixtures)])

    @cached_property
    def tried(self) -> np.ndarray:
        """Every mixture that was proposed, (n, K), each once."""
        return np.unique(self.read_shares(list(self.mixtures)), axis=0)

    @cached_property
    def unused(self) -> np.ndarray | None:
        """The offered mixtures, (m, K), that were not proposed yet; ``None`` where any mixture can be had."""
        if not self.problem.offered:
            return None
        used = set(self.mixtures.values())
        unused = [mixture for mixture in self.problem.offered if mixture not in used]
        return np.array(unused).reshape(len(unused), len(self.problem.tasks))

    @property
    def is_exhausted(self) -> bool:
        """Whether every mixture that can be had was proposed."""
        return self.unused is not None and not len(self.unused)

    def read_shares(self, numbers: Sequence[int]) -> np.ndarray:
        """The shares of some mixtures, (n, K), columns in the problem's order."""
        return np.array([self.mixtures[number] for number in numbers]).reshape(len(numbers), len(self.problem.tasks))

    def learn(self) -> Process | None:
        """The process fitted to all that ended; ``None`` before two scores differ."""
        ended = sorted(self.scores)
        known = [score for score in self.scores.values() if score is not None]
        if are_alike(np.array(known)):
            return None
        scores = [self.scores[number] for number in ended]
        values = bound_below(np.array([min(known) if score is None else score for score in scores]))
        return _fit_cached_process(self.read_shares(ended).tobytes(), values.tobytes(), self.hints)


class MixtureSearch(ABC):
    """The shares of the tasks, learned from whole trainings; a subclass proposes."""

    def wants(self) -> Wants:
        """Its answers and the needs of its runs."""
        return Wants(frozenset({"primary", "scored"}), "weights")

    def start(self, problem: Problem) -> MixtureState:
        """No mixture yet. Raises ``ValueError`` without a primary or something else that is scored."""
        if problem.scored is None:
            problem.require_primary()
        return MixtureState(problem)

    @abstractmethod
    def propose(self, state: MixtureState, evidence: Evidence) -> Proposal | Wait | Done:
        """The next mixture; any number may be under way."""

    def proposed(self, state: MixtureState, number: int, proposal: Proposal) -> MixtureState:
        """One more mixture is under way, with the shares that are actually trained."""
        shares = tuple(float(proposal.shares.get(name, 0.0)) for name in state.problem.names)
        return replace(state, mixtures={**state.mixtures, number: shares})

    def told(self, state: MixtureState, number: int, outcome: Outcome) -> MixtureState:
        """One more score or failure."""
        return replace(state, scores={**state.scores, number: outcome.score})

    def select(self, state: MixtureState, evidence: Evidence) -> Selection:
        """The tried mixture with the best posterior mean, the earliest on ties; before any score, all tasks alike."""
        if not state.good:
            return Selection("mixture", state.problem.names, belief={"why": "no mixture gave a score: equal shares"})
        process = state.learn() if len(state.good) > 2 else None
        shares = state.read_shares(state.good)
        values = np.array([state.scores[number] for number in state.good], dtype=float)
        means = values if process is None else process(shares)
        best = shares[int(np.argmax(np.round(means, 9)))]
        belief: dict[str, JSON] = {}
        if process is not None:
            best, why = self.choose_answer(state, process, best)
            belief = {**({"why": why} if why else {}), **self.describe_belief(state, process, best)}
        weights = name_shares(state.problem, best.tolist())
        return Selection("mixture", tuple(weights), weights, belief=belief)

    def choose_answer(self, state: MixtureState, process: Process, best: np.ndarray) -> tuple[np.ndarray, str | None]:
        """The mixture to answer with where ``best``, (K,), has the best posterior mean, and why if it is another."""
        return best, None

    def beliefs(self, belief: Mapping[str, JSON]) -> Iterator[Belief]:
        """What is expected of the answer, how surely it beats the usual mixtures, and what one more run may gain."""
        yield from read_why(belief)
        if leaders := belief.get("leaders"):
            yield Expectation(leaders[0]["mean"], leaders[0]["seen"])
            for usual, probability in belief["better_than"].items():
                yield Remark(f"better than {usual} with probability {probability:.2f}")
            if "gain" in belief:
                yield Remark(f"one more run is expected to gain {belief['gain']:.2g}")
            for source, worth in belief.get("hints", {}).items():
                yield Remark(
                    f"{source}: one standard deviation there is worth {worth['mean']:+.2g} ± {worth['deviation']:.2g}"
                )
            yield Leaders(tuple(Leader(**leader) for leader in leaders))

    def predict(self, state: MixtureState, evidence: Evidence, asked: Sequence[Proposal]) -> list[Mapping[str, float]]:
        """The posterior mean at each mixture; empty before there are three scores, not all alike."""
        won, process = state.problem.primary or state.problem.scored, state.learn()
        if won is None or process is None or not asked or len(state.good) < 3:
            return [{} for _ in asked]
        rows = [[each.shares.get(name, 0.0) for name in state.problem.names] for each in asked]
        return [{won: mean} for mean in process(np.array(rows)).tolist()]

    def fewest(self, problem: Problem) -> int:
        """1: a single mixture with a score."""
        return 1

    def describe_belief(self, state: MixtureState, process: Process, best: np.ndarray) -> dict[str, JSON]:
        """For people: the leaders, the answer first, and how surely it beats the usual mixtures."""
        problem = state.problem
        mixtures = list(dict.fromkeys(state.mixtures[number] for number in state.good))
        means, deviations = estimate_means(process, np.array(mixtures))
        order = sorted(range(len(mixtures)), key=lambda at: (mixtures[at] != tuple(best), -means[at]))
        leaders = []
        for at in order[:_SHOWN]:
            scores = [state.scores[number] for number in state.good if state.mixtures[number] == mixtures[at]]
            weights = name_shares(problem, mixtures[at])
            seen = {"seen": float(np.mean([score for score in scores if score is not None])), "runs": len(scores)}
            leaders.append({"weights": weights, "mean": float(means[at]), "deviation": float(deviations[at]), **seen})
        better = {what: estimate_superiority(process, best, usual) for what, usual in name_usual(problem).items()}
        known = {what: probability for what, probability in better.items() if probability is not None}
        belief = {"leaders": leaders, "better_than": known, "noise": process.noise_deviation}
        return {**belief, "hints": weigh_hints(process, state.hints)} if state.hints else belief


@lru_cache(maxsize=8)
def _fit_cached_process(shares: bytes, scores: bytes, hints: tuple[Hint, ...]) -> Process:
    """``fit_process``, which depends on nothing else, cached between ``propose`` and ``select``."""
    values = np.frombuffer(scores)
    assumed = replace(FOR_SEARCH, kernels=(*FOR_SEARCH.kernels, *map(build_hint_kernel, hints)))
    return fit_process(np.frombuffer(shares).reshape(len(values), -1), values, assumed)


def find_best_mixture(
    state: MixtureState,
    process: Process,
    value: Callable[[np.ndarray], np.ndarray],
    candidates: Candidates,
    rng: np.random.Generator,
) -> tuple[np.ndarray, float]:
    """The mixture, (K,), that can be had and is of the largest ``value``, (m, K) -> (m,), and that value."""
    offered = state.unused
    if offered is not None:
        values = value(offered)
        return offered[int(np.argmax(values))], float(values.max())
    tried = state.tried
    leaders = tried[np.argsort(-process(tried), kind="stable")[:REFINED]]
    return candidates.find_best(value, tried, leaders, rng)


def build_proposal(
    problem: Problem, shares: np.ndarray, rng: np.random.Generator, stage: str, notes: Mapping[str, JSON] | None = None
) -> Proposal:
    """The proposal to train tasks by ``shares``, (K,), in the problem's order; tasks without any are left out."""
    weights = name_shares(problem, shares.tolist())
    return Proposal(tuple(weights), weights, seed=int(rng.integers(2**31)), notes=notes or {}, stage=stage)


def name_shares(problem: Problem, shares: Sequence[float]) -> dict[str, float]:
    """Shares in the problem's order by name, without those of nothing."""
    return {name: share for name, share in zip(problem.names, shares, strict=True) if share > 0}
