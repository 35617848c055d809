"""Which auxiliary tasks help the primary: AutoSeM's bandit, run inside a few long trainings.

Chooses a subset. Source: stage 1 of H. Guo, R. Pasunuru, M. Bansal, "AutoSeM: Automatic Task Selection and Mixing in
Multi-Task Learning", NAACL 2019, https://arxiv.org/abs/1904.04153. One run trains all tasks, a few steps of one task
at a time; ``beta_bandit.py`` picks the task of each round and learns from the primary's score on probe. A task's
utility is the mean of its Beta posterior: the belief that a round of it does not hurt the primary.

What is known how. Verified in the first author's code: the bandit (see there), gamma 0.3. From memory of the paper,
unverified: keep the two best auxiliaries and any further one with a utility above 0.5, about 200 rounds of about 10
steps, means over two runs.

Where we differ. The primary is an arm but not a candidate: it is dropped before the choice. Several runs with
different seeds go side by side; their posteriors' parameters are averaged, so a run that has pulled a task more often
says more about it. A run that failed is left out; with none left the answer is the primary alone.

One ``propose`` costs nothing, one ``told`` folds the rounds of a run: milliseconds. Do not use it when rounds are so
short that the probe score moves by noise alone, nor to find out how much a task helps: the top two are kept even if
they hurt, and confirm has the last word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean
from typing import ClassVar, Literal

import numpy as np

from auxtune.selectors.beta_bandit import BanditState, BetaBandit
from auxtune.selectors.options import check, option
from auxtune.selectors.protocol import Answer, Done, Evidence, Inner, Outcome, Problem, Proposal, Selection, Wait
from auxtune.selectors.rounds import fold_rounds

_ALWAYS_KEPT = 2                                       # the best auxiliaries, whatever their utility
_HELPFUL = 0.5                                         # the utility of a task that helps as often as it hurts


@dataclass(frozen=True)
class ThompsonState:
    """Runs asked for, runs under way, and the bandits of those that gave rounds, by proposal."""

    problem: Problem
    made: int = 0
    pending: frozenset[int] = frozenset()
    bandits: Mapping[int, BanditState] = field(default_factory=dict)


@dataclass(frozen=True)
class Thompson:
    """The two best auxiliaries by a bandit inside a run, and any further one that helps more than it hurts."""

    paper: ClassVar[str | None] = "Guo, Pasunuru, Bansal: AutoSeM, stage 1 (2019), https://arxiv.org/abs/1904.04153"
    answers: ClassVar[Answer] = "subset"
    needs_primary: ClassVar[bool] = True
    groups: ClassVar[bool] = False

    mode: Literal["rounds"] = option("rounds", "the paper's form: the bandit steers rounds in a run")
    rounds: int = option(200, "rounds of one run; the first only sets the reference", least=2)
    round_steps: int = option(10, "optimisation steps of one round", least=1)
    seeds: int = option(2, "runs side by side whose posteriors are averaged", least=1)
    gamma: float = option(0.3, "how far every arm falls back to the prior each round", least=0, most=1)

    def __post_init__(self) -> None:
        check(type(self), vars(self))

    def start(self, problem: Problem) -> ThompsonState:
        """No run yet. Raises ``ValueError`` without a primary."""
        problem.require_primary()
        return ThompsonState(problem)

    def propose(self, state: ThompsonState, evidence: Evidence) -> Proposal | Wait | Done:
        """One run of all tasks per seed, all at once; then wait for them."""
        if state.made == self.seeds:
            return Wait() if state.pending else Done()
        rng = np.random.default_rng([state.problem.seed, state.made])
        seed, inner_seed = rng.integers(2**31, size=2).tolist()
        inner = Inner("beta_bandit", asdict(self._bandit), inner_seed, self.rounds, self.round_steps)
        return Proposal(state.problem.names, seed=seed, inner=inner)

    def proposed(self, state: ThompsonState, number: int, proposal: Proposal) -> ThompsonState:
        """One run more is under way."""
        return replace(state, made=state.made + 1, pending=state.pending | {number})

    def told(self, state: ThompsonState, number: int, outcome: Outcome) -> ThompsonState:
        """The run's rounds, folded to its posterior. Raises ``ValueError`` for a score without rounds."""
        state = replace(state, pending=state.pending - {number})
        if not outcome.ok:
            return state
        if not outcome.rounds:
            raise ValueError(f"thompson must be told the rounds of run {number}, got a score alone")
        bandit: BanditState = fold_rounds(self._bandit, state.problem, outcome.rounds)
        return replace(state, bandits={**state.bandits, number: bandit})

    def select(self, state: ThompsonState, evidence: Evidence) -> Selection:
        """The primary with the chosen auxiliaries; ``belief`` holds utilities, averaged and of each run."""
        primary = state.problem.require_primary()
        runs = [state.bandits[number] for number in sorted(state.bandits)]
        if not runs:
            return Selection("mixture", (primary,), belief={"why": "no run gave rounds: the primary alone"})
        utility = _utilities(runs)
        ranked = sorted(state.problem.auxiliaries, key=lambda name: -utility[name])
        chosen = {*ranked[:_ALWAYS_KEPT], *(name for name in ranked if utility[name] > _HELPFUL), primary}
        return Selection(
            "mixture",
            tuple(name for name in state.problem.names if name in chosen),
            belief={"utility": utility, "runs": [_utilities([run]) for run in runs]},
        )

    def fewest(self, problem: Problem) -> int:
        """1: one run that gave rounds."""
        return 1

    @property
    def _bandit(self) -> BetaBandit:
        return BetaBandit(gamma=self.gamma)


def _utilities(runs: list[BanditState]) -> dict[str, float]:
    """The posterior mean of each task, its alpha and beta averaged over ``runs``."""
    alpha = [fmean(values) for values in zip(*(run.alpha for run in runs), strict=True)]
    beta = [fmean(values) for values in zip(*(run.beta for run in runs), strict=True)]
    names = runs[0].problem.names
    return {name: a / (a + b) for name, a, b in zip(names, alpha, beta, strict=True)}
