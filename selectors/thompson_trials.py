"""Thompson sampling with a trial for each pull, so that pulls run at the same time on different machines.

One form of ``thompson.py``, ours: the paper's bandit is one sequential run. A pull trains the primary and one arm for
some steps, on from the weights of the *incumbent*, and is rewarded if its score is not below the incumbent's at the
time of its proposal. A pull that returns becomes the incumbent, better or worse (the training goes on, as it does in
one run), unless it started from an older one than the present: then another pull was faster, and only its reward
counts. With one slot this is the paper's bandit, but for rounds that also train the primary and are scored on the
validation split.

A failed pull is a pull without reward. While there is no incumbent, the primary is trained alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from auxtune.selectors.beta_bandit import BanditState, BetaBandit, drawn_arm
from auxtune.selectors.protocol import Done, Leg, Outcome, Problem, Proposal, Wait


@dataclass(frozen=True)
class Pull:
    """An arm under way, and the incumbent that it started from; ``None`` for the first."""

    arm: str
    start: int | None


@dataclass(frozen=True)
class TrialsState:
    """The posterior, the pulls under way, and the present incumbent; ``scores`` are of those that pulls refer to."""

    bandit: BanditState
    made: int = 0
    pending: Mapping[int, Pull] = field(default_factory=dict)
    incumbent: int | None = None
    scores: Mapping[int, float] = field(default_factory=dict)

    @property
    def problem(self) -> Problem:
        """The question."""
        return self.bandit.problem


@dataclass(frozen=True)
class Trials:
    """``rounds`` pulls of ``round_steps`` steps."""

    rounds: int
    round_steps: int
    gamma: float

    def start(self, problem: Problem) -> TrialsState:
        """Every arm at the prior, no incumbent."""
        return TrialsState(self._learner.start(problem))

    def propose(self, state: TrialsState) -> Proposal | Wait | Done:
        """The primary alone first; then any number of pulls at once, each from the present incumbent."""
        problem = state.problem
        if state.made == self.rounds:
            return Done()
        if state.incumbent is None and state.pending:
            return Wait()
        rng = np.random.default_rng([problem.seed, state.made])
        seed = int(rng.integers(2**31))
        arm = problem.require_primary()
        if state.incumbent is not None:
            arm = problem.names[drawn_arm(rng, state.bandit.alpha, state.bandit.beta)]
        tasks = tuple(name for name in problem.names if name in (arm, problem.primary))
        # In equal shares, whatever the study's rule: an arm that was hardly trained would earn the primary's rewards.
        weights = dict.fromkeys(tasks, 1 / len(tasks))
        leg = Leg(self.round_steps, state.incumbent)
        return Proposal(tasks, weights, seed=seed, leg=leg, notes={"arm": arm})

    def proposed(self, state: TrialsState, number: int, proposal: Proposal) -> TrialsState:
        """One pull more is under way."""
        if proposal.leg is None:
            raise ValueError(f"pull {number} must be a leg, got {proposal}")
        pull = Pull(proposal.notes["arm"], proposal.leg.start)
        return replace(state, made=state.made + 1, pending={**state.pending, number: pull})

    def told(self, state: TrialsState, number: int, outcome: Outcome) -> TrialsState:
        """The reward is learned; the pull becomes the incumbent unless it started from a former one."""
        pull = state.pending[number]
        pending = {other: held for other, held in state.pending.items() if other != number}
        state = replace(state, pending=pending)
        if pull.start is not None:
            reward = outcome.score is not None and outcome.score >= state.scores[pull.start]
            state = replace(state, bandit=self._learner.learn(state.bandit, pull.arm, reward))
        if outcome.score is not None and pull.start == state.incumbent:
            state = replace(state, incumbent=number, scores={**state.scores, number: outcome.score})
        held = self.holds(state)
        return replace(state, scores={other: score for other, score in state.scores.items() if other in held})

    def posteriors(self, state: TrialsState) -> list[BanditState]:
        """The one belief, once a pull was rewarded or not."""
        return [state.bandit] if any((*state.bandit.won, *state.bandit.lost)) else []

    def holds(self, state: TrialsState) -> frozenset[int]:
        """The incumbent, and those that pulls under way started from."""
        starts = {state.incumbent, *(pull.start for pull in state.pending.values())}
        return frozenset(number for number in starts if number is not None)

    @property
    def _learner(self) -> BetaBandit:
        return BetaBandit(gamma=self.gamma)
