"""Which auxiliary tasks help the primary: AutoSeM's bandit.

Chooses a subset. Source: stage 1 of H. Guo, R. Pasunuru, M. Bansal, "AutoSeM: Automatic Task Selection and Mixing in
Multi-Task Learning", NAACL 2019, https://arxiv.org/abs/1904.04153. A pull trains one task for a few steps and is
rewarded if the primary's score did not fall. There are two forms:

- ``mode: rounds`` (``Rounds``), the paper's form: the bandit steers a few long runs, side by side. A run trains all
  tasks, a few steps of one at a time; ``beta_bandit.py`` picks the task of each round inside the worker.
- ``mode: trials`` (``Trials``), ours: a trial for each pull, so that pulls run at the same time on different machines.
  A pull trains the primary and one task for some steps, starting from the weights of the *incumbent*, and is rewarded
  if its score is not below the incumbent's at the time of its proposal. A pull that returns becomes the incumbent,
  better or worse (the training continues, as it does in one run), unless a faster pull has replaced the incumbent that
  it started from; then only its reward counts. With one slot this is the paper's bandit, except that rounds also train
  the primary and are scored on the validation split. A failed pull is a pull without reward. While there is no
  incumbent, the primary is trained alone.

Provenance. Verified in the first author's code: the bandit (``beta_bandit.py``), gamma 0.3; that code does not
choose, it leaves utilities to the reader. From memory of the paper, unverified: keep the two best auxiliaries and any
further one with a utility above 0.5, a utility being the mean of the last posterior; about 200 rounds of about 10
steps, means over two runs. ``released: true`` chooses in this way, with the posteriors' parameters averaged over runs.

Where we differ. The choice uses all measured rewards (``beta_bandit.py``): a task's utility is the rate at which its
rounds were rewarded, over the whole of all runs, forgetting nothing. Forgetting serves to choose the next round, since
a task that helps early need not help late; but with gamma 0.3 the last posterior is hardly more than the last reward of
each task. The two best by utility are kept, as in the paper. A further one is kept if the probability that its rounds
do better than those of all other tasks together is at least 1 - 1/K, of K auxiliaries: if all were alike, about one
would get that far by chance, and two are kept anyway. The primary is pulled but is no candidate: it is dropped before
the choice. Several runs with different seeds go side by side. A failed run is left out; with none left the answer is
the primary alone.

One ``propose`` costs nothing, one ``told`` folds the rounds of a run: milliseconds. Do not use it when rounds are so
short that the score moves by noise alone, nor to find out how much a task helps: the top two are kept even if they
hurt, and confirm has the last word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from auxtune.selectors.beliefs import Belief, CountedRewards, Utilities, read_why
from auxtune.selectors.extensions import Lesson
from auxtune.selectors.kit.options import options
from auxtune.selectors.kit.rounds import fold_rounds
from auxtune.selectors.methods.beta_bandit import BanditState, BetaBandit, add_rates, draw_task, learn_from
from auxtune.selectors.protocol import (
    JSON,
    Continuation,
    Done,
    Evidence,
    Inner,
    Inside,
    Outcome,
    Problem,
    Proposal,
    Selection,
    Wait,
    Wants,
)


@dataclass(frozen=True)
class RoundsState:
    """The number of runs proposed, those under way, and by proposal the bandit of each run with rounds."""

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
        """One more run is under way."""
        return replace(state, made=state.made + 1, pending=state.pending | {number})

    def told(self, state: RoundsState, number: int, outcome: Outcome) -> RoundsState:
        """The run's rounds are folded to its posterior. Raises ``ValueError`` for a score without rounds."""
        state = replace(state, pending=state.pending - {number})
        if not outcome.ok:
            return state
        if not outcome.rounds:
            raise ValueError(f"thompson must be told the rounds of run {number}, got a score alone")
        bandit: BanditState = fold_rounds(self._bandit, state.problem, outcome.rounds)
        return replace(state, bandits={**state.bandits, number: bandit})

    def list_posteriors(self, state: RoundsState) -> list[BanditState]:
        """The final bandit of each run with rounds."""
        return [state.bandits[number] for number in sorted(state.bandits)]

    def checkpoints_in_use(self, state: RoundsState) -> frozenset[int]:
        """None: no run starts from another."""
        return frozenset()

    @property
    def _bandit(self) -> BetaBandit:
        return BetaBandit(gamma=self.gamma)


@dataclass(frozen=True)
class Pull:
    """A task under way, and the incumbent from which it started; ``None`` for the first."""

    task: str
    start: int | None


@dataclass(frozen=True)
class TrialsState:
    """The posterior, the pulls under way, and the incumbent; ``scores`` are those that pulls may refer to."""

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
        """Every task at the prior, without an incumbent."""
        return TrialsState(self._learner.start(problem))

    def propose(self, state: TrialsState) -> Proposal | Wait | Done:
        """The primary alone first; then any number of pulls at once, each from the current incumbent."""
        problem = state.problem
        if state.made == self.rounds:
            return Done()
        if state.incumbent is None and state.pending:
            return Wait()
        rng = np.random.default_rng([problem.seed, state.made])
        seed = int(rng.integers(2**31))
        task = problem.require_primary()
        if state.incumbent is not None:
            task = problem.names[draw_task(rng, state.bandit.alpha, state.bandit.beta)]
        tasks = tuple(name for name in problem.names if name in (task, problem.primary))
        # Equal shares, whatever the study's rule: a task that is hardly trained would earn the primary's rewards.
        weights = dict.fromkeys(tasks, 1 / len(tasks))
        continuation = Continuation(self.round_steps, state.incumbent)
        return Proposal(tasks, weights, seed=seed, continuation=continuation, notes={"task": task})

    def proposed(self, state: TrialsState, number: int, proposal: Proposal) -> TrialsState:
        """One more pull is under way."""
        if proposal.continuation is None:
            raise ValueError(f"pull {number} must be a continuation, got {proposal}")
        pull = Pull(proposal.notes["task"], proposal.continuation.start)
        return replace(state, made=state.made + 1, pending={**state.pending, number: pull})

    def told(self, state: TrialsState, number: int, outcome: Outcome) -> TrialsState:
        """The reward is learned; the pull becomes the incumbent unless it started from an earlier one."""
        pull = state.pending[number]
        pending = {other: held for other, held in state.pending.items() if other != number}
        state = replace(state, pending=pending)
        if pull.start is not None:
            reward = outcome.score is not None and outcome.score >= state.scores[pull.start]
            state = replace(state, bandit=self._learner.learn(state.bandit, pull.task, reward))
        if outcome.score is not None and pull.start == state.incumbent:
            state = replace(state, incumbent=number, scores={**state.scores, number: outcome.score})
        held = self.checkpoints_in_use(state)
        return replace(state, scores={other: score for other, score in state.scores.items() if other in held})

    def list_posteriors(self, state: TrialsState) -> list[BanditState]:
        """The only bandit, once a pull was rewarded or not."""
        return [state.bandit] if any((*state.bandit.won, *state.bandit.lost)) else []

    def checkpoints_in_use(self, state: TrialsState) -> frozenset[int]:
        """The incumbent, and the proposals from which pulls under way started."""
        starts = {state.incumbent, *(pull.start for pull in state.pending.values())}
        return frozenset(number for number in starts if number is not None)

    @property
    def _learner(self) -> BetaBandit:
        return BetaBandit(gamma=self.gamma)


_ALWAYS_KEPT = 2  # the best auxiliaries, whatever their utility
_HELPFUL = 0.5  # with ``released``: the utility of a task that helps as often as not
_LAST_POSTERIOR, _ALL_REWARDS = 1, 2  # the readings of an answer, oldest first


@options
class Thompson:
    """The two best auxiliaries by a bandit's rewards, and any further one that surely does better than the others."""

    version: ClassVar[int] = 1
    paper: ClassVar[str | None] = "Guo, Pasunuru, Bansal: AutoSeM, stage 1 (2019), https://arxiv.org/abs/1904.04153"
    needs: ClassVar[str] = "a primary that learns within a few hundred steps"
    costs: ClassVar[str] = "`seeds` long runs, or `rounds` short ones"
    avoid: ClassVar[str] = "a round is so short that the score moves by noise alone"

    mode: Literal["rounds", "trials"] = Field(
        default="rounds", description="the bandit steers rounds in a run, or each pull is a trial"
    )
    rounds: int = Field(
        default=200, ge=2, description="pulls, of one run or of the study; the first only sets the reference"
    )
    round_steps: int | None = Field(
        default=None, ge=1, description="optimisation steps of one pull; null: 10, as a trial 100"
    )
    seeds: int = Field(
        default=2, ge=1, description="runs side by side whose rewards are added up; not for `mode: trials`"
    )
    gamma: float = Field(default=0.3, ge=0, le=1, description="how far every task falls back to the prior each pull")
    released: bool = Field(
        default=False, description="choose by utilities of the last posterior above 0.5, as we remember the paper"
    )

    def wants(self) -> Wants:
        """Its answers and the needs of its runs."""
        inside: Inside = "steer" if self.mode == "rounds" else "continue"
        return Wants(frozenset({"primary"}), "subset", frozenset({inside}))

    def start(self, problem: Problem) -> Any:
        """No pull yet. Raises ``ValueError`` without a primary."""
        problem.require_primary()
        return self._form.start(problem)

    def propose(self, state: Any, evidence: Evidence) -> Proposal | Wait | Done:
        """The next run or pull."""
        return self._form.propose(state)

    def proposed(self, state: Any, number: int, proposal: Proposal) -> Any:
        """One more run or pull is under way."""
        return self._form.proposed(state, number, proposal)

    def told(self, state: Any, number: int, outcome: Outcome) -> Any:
        """One more run or pull is over."""
        return self._form.told(state, number, outcome)

    def select(self, state: Any, evidence: Evidence) -> Selection:
        """The primary with the chosen auxiliaries; ``belief`` holds utilities, of all runs and of each."""
        problem: Problem = state.problem
        primary = problem.require_primary()
        runs = self._form.list_posteriors(state)
        if not runs:
            return Selection("mixture", (primary,), belief={"why": "no rewards to go by: the primary alone"})
        helpful, belief = _choose_by_last_posterior(runs) if self.released else _choose_by_rewards(runs)
        ranked = sorted(problem.auxiliaries, key=lambda name: -belief["utility"][name])
        chosen = {primary, *ranked[:_ALWAYS_KEPT], *(name for name in ranked if name in helpful)}
        return Selection("mixture", tuple(name for name in problem.names if name in chosen), belief=belief)

    def beliefs(self, belief: Mapping[str, JSON]) -> Iterator[Belief]:
        """Utilities, with how sure they are where all rewards count."""
        yield from read_why(belief)
        if "utility" in belief:
            yield Utilities(belief["utility"], _read_counted(belief))

    def learned(self, before: Any, after: Any) -> Lesson | None:
        """What a pull that is a trial taught; those inside a run are the inner selector's."""
        if not isinstance(before, TrialsState) or not isinstance(after, TrialsState):
            return None
        ended = before.pending.keys() - after.pending.keys()
        return learn_from(before.bandit, after.bandit, before.pending[ended.pop()].task) if ended else None

    def reading(self, state: Any) -> int:
        """2 if all rewards are read, 1 if only the last posterior is, as in the first version of this selector."""
        return _LAST_POSTERIOR if self.released else _ALL_REWARDS

    def fewest(self, problem: Problem) -> int:
        """1 run with rounds, or 2 pulls: the reference, and one that is compared with it."""
        return 1 if self.mode == "rounds" else 2

    def checkpoints_in_use(self, state: Any) -> frozenset[int]:
        """The proposals from which a pull may still start."""
        return self._form.checkpoints_in_use(state)

    @property
    def _form(self) -> Rounds | Trials:
        if self.mode == "trials":
            return Trials(self.rounds, self.round_steps or 100, self.gamma)
        return Rounds(self.rounds, self.round_steps or 10, self.seeds, self.gamma)


def _choose_by_rewards(runs: Sequence[BanditState]) -> tuple[set[str], dict[str, JSON]]:
    """The tasks whose rounds surely did better than the others', and the belief about each task."""
    rates = add_rates([run.rates for run in runs])
    better, level = rates.better, 1 - 1 / max(1, len(runs[0].problem.auxiliaries))
    belief = {
        "utility": rates.utility,
        "interval": {task: list(ends) for task, ends in rates.interval.items()},
        "better": better,
        "level": level,
        "rounds": rates.rounds,
        "overall": rates.overall,
        "runs": [run.rates.utility for run in runs],
    }
    return {task for task, chance in better.items() if chance >= level}, belief


def _read_counted(belief: Mapping[str, JSON]) -> CountedRewards | None:
    """What ``_choose_by_rewards`` recorded; ``None`` for an answer from the last posterior."""
    if "interval" not in belief:
        return None
    interval = {task: (low, high) for task, (low, high) in belief["interval"].items()}
    return CountedRewards(interval, belief["better"], belief["rounds"], belief["overall"], belief["level"])


def _choose_by_last_posterior(runs: Sequence[BanditState]) -> tuple[set[str], dict[str, JSON]]:
    """The tasks with a utility above 0.5, each the mean of a posterior whose alpha and beta are means over ``runs``."""
    alpha = [fmean(values) for values in zip(*(run.alpha for run in runs), strict=True)]
    beta = [fmean(values) for values in zip(*(run.beta for run in runs), strict=True)]
    utility = {name: a / (a + b) for name, a, b in zip(runs[0].problem.names, alpha, beta, strict=True)}
    helpful = {name for name, value in utility.items() if value > _HELPFUL}
    return helpful, {"utility": utility, "runs": [run.means for run in runs]}
