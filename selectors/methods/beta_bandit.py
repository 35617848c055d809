"""Which task to train next inside one run: a Beta bandit that forgets, with Thompson sampling.

Source: stage 1 of AutoSeM. H. Guo, R. Pasunuru, M. Bansal, "AutoSeM: Automatic Task Selection and Mixing in
Multi-Task Learning", NAACL 2019, https://arxiv.org/abs/1904.04153; update, reward and choice as in the first author's
code. It is the inner selector of ``thompson.py``, never a study's own selector.

    k        any task of the run, the primary among them
    M_b      the primary's metric on probe after round b
    r_b      reward, 1 if M_b >= M_(b-1) and else 0: against the round just before, whichever task that was
    a_k, b_k the task's Beta posterior, at first the prior, a_0 = b_0 = 1
    gamma    how far every task falls back to the prior each round:
             a_k <- (1 - gamma) a_k + gamma a_0, likewise b_k; then the pulled task alone: a += r, b += 1 - r

The first pull is the primary; later pulls draw one value from each task's Beta and take the largest, ties at random.

Where we differ: the first round only sets the reference for the second and rewards nothing. (The released code
compares it with 0, which rewards any metric that is not negative.)

**Reward rates** (``RewardRates``) are ours, and plain counting. By the end, a bandit that forgets has forgotten nearly
all of its rewards; the state therefore counts them as well, and ``thompson.py`` reads its answer from these counts.

    w_k, l_k  rounds of task k that were rewarded, and that were not, summed over the runs
    rate      of rewards, a priori uniform: Beta(1 + w_k, 1 + l_k), what the bandit itself would believe with gamma = 0
    utility   its mean, (1 + w_k) / (2 + w_k + l_k), with the 95 % interval between its quantiles
    better    P(rate of k > rate of all other tasks' rounds together), both Beta and independent. By Evan Miller,
              "Formulas for Bayesian A/B Testing" (2015), https://www.evanmiller.org/bayesian-ab-testing.html: for
              X ~ Beta(a, b), Y ~ Beta(c, d) and integer a,
              P(X > Y) = sum_{i=0}^{a-1} B(c + i, b + d) / ((b + i) B(1 + i, b) B(c, d))

The reference is the other tasks' rounds and not 0.5: a score that has levelled off falls about every other time
whatever is trained, ties count as rewards, and a score that still rises rewards everything.

Rounds count as independent, which they are not quite: each is compared with the one before, and runs differ. In twenty
real runs (benchmarks/results/thompson_readouts.json) the variance of a task's rate between runs was 1.2 times what is
assumed here, so an interval is about a tenth too narrow.

One ``propose`` draws one Beta value per task: microseconds. Do not use it where one round's gain drowns in the noise
of the probe split, and mind that gamma bounds what it can come to believe: at 0.3 every mean stays in [0.19, 0.81].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from pydantic import Field
from scipy.special import betaln, logsumexp
from scipy.stats import beta as beta_distribution

from auxtune.selectors.extensions import Lesson
from auxtune.selectors.kit.options import options
from auxtune.selectors.protocol import Evidence, Outcome, Problem, Proposal, Selection, Wait, Wants

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
            task: compute_chance_of_larger(
                (1 + self.won[task], 1 + self.lost[task]),
                (1 + won - self.won[task], 1 + lost - self.lost[task]),
            )
            for task in self.won
        }

    @property
    def rounds(self) -> dict[str, int]:
        """Task -> the number of its rounds, rewarded or not."""
        return {task: self.won[task] + self.lost[task] for task in self.won}

    @property
    def overall(self) -> float | None:
        """The share of all rounds that were rewarded; ``None`` without any."""
        rounds = sum(self.rounds.values())
        return sum(self.won.values()) / rounds if rounds else None


def add_rates(runs: Sequence[RewardRates]) -> RewardRates:
    """The sums over several runs of the same tasks. ``runs`` must not be empty."""
    tasks = runs[0].won
    return RewardRates(
        {task: sum(run.won[task] for run in runs) for task in tasks},
        {task: sum(run.lost[task] for run in runs) for task in tasks},
    )


def compute_chance_of_larger(one: tuple[int, int], other: tuple[int, int]) -> float:
    """P(X > Y) for independent X ~ Beta(*one) and Y ~ Beta(*other) with integer parameters of at least 1; exact."""
    (a, b), (c, d) = one, other
    i = np.arange(a)  # (a,)
    terms = betaln(c + i, b + d) - np.log(b + i) - betaln(1 + i, b) - betaln(c, d)
    return float(min(1.0, np.exp(logsumexp(terms))))


@dataclass(frozen=True)
class BanditState:
    """The posterior after the rounds so far; one value per task, in the problem's order.

    ``won`` and ``lost`` count each task's rewarded and unrewarded rounds, and forget nothing.
    """

    problem: Problem
    alpha: tuple[float, ...]
    beta: tuple[float, ...]
    won: tuple[int, ...]
    lost: tuple[int, ...]
    made: int = 0
    pending: str | None = None  # the task whose round is under way
    last: float | None = None  # score of the previous round

    @property
    def means(self) -> dict[str, float]:
        """Task -> mean of its (forgetting) posterior."""
        return {
            name: alpha / (alpha + beta)
            for name, alpha, beta in zip(self.problem.names, self.alpha, self.beta, strict=True)
        }

    @property
    def rates(self) -> RewardRates:
        """The rewards of all rounds so far."""
        names = self.problem.names
        return RewardRates(dict(zip(names, self.won, strict=True)), dict(zip(names, self.lost, strict=True)))


@options
class BetaBandit:
    """Thompson sampling over the tasks of one run, rewarded when the primary's probe score does not fall."""

    version: ClassVar[int] = 1
    paper: ClassVar[str | None] = "Guo, Pasunuru, Bansal: AutoSeM, stage 1 (2019), https://arxiv.org/abs/1904.04153"

    options_of: ClassVar[str] = "inner"

    gamma: float = Field(default=0.3, ge=0, le=1, description="how far every task falls back to the prior each round")
    prior: float = Field(default=1.0, gt=0, description="both parameters of every task's first Beta")

    def wants(self) -> Wants:
        """Its answers and the needs of its runs."""
        return Wants(frozenset({"primary"}), "ranking")

    def start(self, problem: Problem) -> BanditState:
        """Every task at the prior. Raises ``ValueError`` without a primary."""
        problem.require_primary()
        prior, none = (float(self.prior),) * len(problem.tasks), (0,) * len(problem.tasks)
        return BanditState(problem, alpha=prior, beta=prior, won=none, lost=none)

    def propose(self, state: BanditState, evidence: Evidence) -> Proposal | Wait:
        """The task of the next round; the bandit never ends by itself."""
        if state.pending is not None:
            return Wait()
        if state.made == 0:
            return Proposal((state.problem.require_primary(),))
        rng = np.random.default_rng([state.problem.seed, state.made])
        return Proposal((state.problem.names[draw_task(rng, state.alpha, state.beta)],))

    def proposed(self, state: BanditState, number: int, proposal: Proposal) -> BanditState:
        """The round has begun."""
        (task,) = proposal.tasks
        return replace(state, made=state.made + 1, pending=task)

    def told(self, state: BanditState, number: int, outcome: Outcome) -> BanditState:
        """All tasks forget a little and the pulled one learns. A round without a score changes no belief."""
        if outcome.score is None:
            return replace(state, pending=None)
        if state.last is None:
            return replace(state, pending=None, last=outcome.score)
        state = self.learn(state, str(state.pending), outcome.score >= state.last)
        return replace(state, pending=None, last=outcome.score)

    def select(self, state: BanditState, evidence: Evidence) -> Selection:
        """Every task by posterior mean, the best first."""
        return Selection("ranking", ranking=tuple(sorted(state.means.items(), key=lambda item: -item[1])))

    def learned(self, before: BanditState, after: BanditState) -> Lesson | None:
        """What the round that was pending taught."""
        return None if before.pending is None else learn_from(before, after, before.pending)

    def fewest(self, problem: Problem) -> int:
        """0: the prior is an answer."""
        return 0

    def learn(self, state: BanditState, task: str, rewarded: bool) -> BanditState:
        """The state after a pull of ``task``, ``rewarded`` or not: all tasks forget, and that one learns."""
        place, rewarded = state.problem.names.index(task), bool(rewarded)  # JSON cannot hold NumPy's bool
        return replace(
            state,
            alpha=self._update_parameter(state.alpha, place, float(rewarded)),
            beta=self._update_parameter(state.beta, place, float(not rewarded)),
            won=_increment_at(state.won, place, rewarded),
            lost=_increment_at(state.lost, place, not rewarded),
        )

    def _update_parameter(self, values: tuple[float, ...], place: int, gain: float) -> tuple[float, ...]:
        """One parameter of every task after a pull that gave one of them ``gain``."""
        forgotten = [(1 - self.gamma) * value + self.gamma * self.prior for value in values]
        forgotten[place] += gain
        return tuple(forgotten)


def _increment_at(counts: tuple[int, ...], place: int, happened: bool) -> tuple[int, ...]:
    """``counts`` with one more at ``place``, if it ``happened``."""
    return tuple(count + (happened and other == place) for other, count in enumerate(counts))


def learn_from(before: BanditState, after: BanditState, task: str) -> Lesson:
    """What a pull of ``task`` that ended between two states taught: nothing where no reward was counted."""
    counted = (before.won, before.lost) != (after.won, after.lost)
    return Lesson(task, before.won != after.won if counted else None, after.means, after.rates.utility)


def draw_task(rng: np.random.Generator, alpha: tuple[float, ...], beta: tuple[float, ...]) -> int:
    """The task whose draw from its posterior is the largest, ties at random: Thompson sampling."""
    theta = rng.beta(alpha, beta)  # (tasks,)
    return int(rng.choice(np.flatnonzero(theta == theta.max())))
