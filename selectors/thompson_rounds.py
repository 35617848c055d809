"""Thompson sampling in the paper's form: the bandit steers the rounds of a few long runs, side by side.

One form of ``thompson.py``, which says where it comes from. A run trains all tasks, a few steps of one at a time;
``beta_bandit.py`` picks the task of each round inside the worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from auxtune.selectors.beta_bandit import BanditState, BetaBandit
from auxtune.selectors.protocol import Done, Inner, Outcome, Problem, Proposal
from auxtune.selectors.rounds import fold_rounds


@dataclass(frozen=True)
class RoundsState:
    """Runs asked for, runs under way, and the bandits of those that gave rounds, by proposal."""

    problem: Problem
    made: int = 0
    pending: frozenset[int] = frozenset()
    bandits: Mapping[int, BanditState] = field(default_factory=dict)


@dataclass(frozen=True)
class Rounds:
    """``seeds`` runs of ``rounds`` rounds of ``round_steps`` steps."""

    rounds: int
    round_steps: int
    seeds: int
    gamma: float

    def start(self, problem: Problem) -> RoundsState:
        """No run yet."""
        return RoundsState(problem)

    def propose(self, state: RoundsState) -> Proposal | Done:
        """One run of all tasks per seed, all at once."""
        if state.made == self.seeds:
            return Done()
        rng = np.random.default_rng([state.problem.seed, state.made])
        seed, inner_seed = rng.integers(2**31, size=2).tolist()
        inner = Inner("beta_bandit", asdict(self._bandit), inner_seed, self.rounds, self.round_steps)
        return Proposal(state.problem.names, seed=seed, inner=inner)

    def proposed(self, state: RoundsState, number: int, proposal: Proposal) -> RoundsState:
        """One run more is under way."""
        return replace(state, made=state.made + 1, pending=state.pending | {number})

    def told(self, state: RoundsState, number: int, outcome: Outcome) -> RoundsState:
        """The run's rounds, folded to its posterior. Raises ``ValueError`` for a score without rounds."""
        state = replace(state, pending=state.pending - {number})
        if not outcome.ok:
            return state
        if not outcome.rounds:
            raise ValueError(f"thompson must be told the rounds of run {number}, got a score alone")
        bandit: BanditState = fold_rounds(self._bandit, state.problem, outcome.rounds)
        return replace(state, bandits={**state.bandits, number: bandit})

    def posteriors(self, state: RoundsState) -> list[BanditState]:
        """What each run that gave rounds came to believe."""
        return [state.bandits[number] for number in sorted(state.bandits)]

    def holds(self, state: RoundsState) -> frozenset[int]:
        """Nothing: no run starts from another."""
        return frozenset()

    @property
    def _bandit(self) -> BetaBandit:
        return BetaBandit(gamma=self.gamma)
