"""Which auxiliary tasks help the primary: AutoSeM's bandit.

Chooses a subset. Source: stage 1 of H. Guo, R. Pasunuru, M. Bansal, "AutoSeM: Automatic Task Selection and Mixing in
Multi-Task Learning", NAACL 2019, https://arxiv.org/abs/1904.04153. A pull trains one arm for a few steps and is
rewarded if the primary's score did not fall. ``mode: rounds`` is the paper's form, a bandit inside long runs
(``thompson_rounds.py``); ``mode: trials`` is ours, a trial for each pull (``thompson_trials.py``).

What is known how. Verified in the first author's code: the bandit (``beta_bandit.py``), gamma 0.3; that code reads
nothing out, it leaves utilities to be looked at. From memory of the paper, unverified: keep the two best auxiliaries
and any further one with a utility above 0.5, a utility being the mean of the last posterior; about 200 rounds of about
10 steps, means over two runs. ``released: true`` reads the answer out like that, the posteriors' parameters averaged
over runs.

Where we differ. What is read out is what was measured (``reward_rates.py``): a task's utility is the rate at which its
rounds were rewarded, over the whole of all runs, forgetting nothing. Forgetting is for choosing the next round, since
what helps early need not help late; but with gamma 0.3 the last posterior is hardly more than the last reward of each
arm. The two best by utility are kept, as in the paper, and a further one where the probability that its rounds do
better than those of all other tasks together is at least 1 - 1/K, of K auxiliaries: were all alike, about one of them
would come so far by chance, and two are kept anyway. The primary is an arm but not a candidate: it is dropped before
the choice. Several runs with different seeds go side by side. A run that failed is left out; with none left the answer
is the primary alone.

One ``propose`` costs nothing, one ``told`` folds the rounds of a run: milliseconds. Do not use it when rounds are so
short that the score moves by noise alone, nor to find out how much a task helps: the top two are kept even if they
hurt, and confirm has the last word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, ClassVar, Literal

from auxtune.selectors.beta_bandit import BanditState
from auxtune.selectors.options import check, option
from auxtune.selectors.protocol import JSON, Answer, Done, Evidence, Outcome, Problem, Proposal, Selection, Wait
from auxtune.selectors.reward_rates import add_rates
from auxtune.selectors.thompson_rounds import Rounds
from auxtune.selectors.thompson_trials import Trials

_ALWAYS_KEPT = 2  # the best auxiliaries, whatever their utility
_HELPFUL = 0.5  # ``released``: the utility of a task that helps as often as not
_LAST_POSTERIOR, _ALL_REWARDS = 1, 2  # the ways of reading, in the order in which they came


@dataclass(frozen=True)
class Thompson:
    """The two best auxiliaries by a bandit's rewards, and any further one that surely does better than the others."""

    paper: ClassVar[str | None] = "Guo, Pasunuru, Bansal: AutoSeM, stage 1 (2019), https://arxiv.org/abs/1904.04153"
    answers: ClassVar[Answer] = "subset"
    needs_primary: ClassVar[bool] = True
    groups: ClassVar[bool] = False
    needs: ClassVar[str] = "a primary that learns within a few hundred steps"
    costs: ClassVar[str] = "`seeds` long runs, or `rounds` short ones"
    avoid: ClassVar[str] = "a round is so short that the score moves by noise alone"

    mode: Literal["rounds", "trials"] = option("rounds", "the bandit steers rounds in a run, or each pull is a trial")
    rounds: int = option(200, "pulls, of one run or of the study; the first only sets the reference", least=2)
    round_steps: int | None = option(None, "optimisation steps of one pull; null: 10, as a trial 100", least=1)
    seeds: int = option(2, "runs side by side whose rewards are added up; not for `mode: trials`", least=1)
    gamma: float = option(0.3, "how far every arm falls back to the prior each pull", least=0, most=1)
    released: bool = option(False, "choose by utilities of the last posterior above 0.5, as the paper is remembered")

    def __post_init__(self) -> None:
        check(type(self), vars(self))

    def start(self, problem: Problem) -> Any:
        """No pull yet. Raises ``ValueError`` without a primary."""
        problem.require_primary()
        return self._form.start(problem)

    def propose(self, state: Any, evidence: Evidence) -> Proposal | Wait | Done:
        """The next run or pull."""
        return self._form.propose(state)

    def proposed(self, state: Any, number: int, proposal: Proposal) -> Any:
        """One more is under way."""
        return self._form.proposed(state, number, proposal)

    def told(self, state: Any, number: int, outcome: Outcome) -> Any:
        """What is known after a run or pull."""
        return self._form.told(state, number, outcome)

    def select(self, state: Any, evidence: Evidence) -> Selection:
        """The primary with the chosen auxiliaries; ``belief`` holds utilities, of all runs and of each."""
        problem: Problem = state.problem
        primary = problem.require_primary()
        runs = self._form.posteriors(state)
        if not runs:
            return Selection("mixture", (primary,), belief={"why": "nothing was rewarded or not: the primary alone"})
        helpful, belief = _by_last_posterior(runs) if self.released else _by_rewards(runs)
        ranked = sorted(problem.auxiliaries, key=lambda name: -belief["utility"][name])
        chosen = {primary, *ranked[:_ALWAYS_KEPT], *(name for name in ranked if name in helpful)}
        return Selection("mixture", tuple(name for name in problem.names if name in chosen), belief=belief)

    def reading(self, state: Any) -> int:
        """2 where all rewards are read, 1 where the last posterior is: so all answers were read at first."""
        return _LAST_POSTERIOR if self.released else _ALL_REWARDS

    def fewest(self, problem: Problem) -> int:
        """1 run that gave rounds, or 2 pulls: one for the reference, one that is compared with it."""
        return 1 if self.mode == "rounds" else 2

    def holds(self, state: Any) -> frozenset[int]:
        """What a pull may still start from."""
        return self._form.holds(state)

    @property
    def _form(self) -> Rounds | Trials:
        if self.mode == "trials":
            return Trials(self.rounds, self.round_steps or 100, self.gamma)
        return Rounds(self.rounds, self.round_steps or 10, self.seeds, self.gamma)


def _by_rewards(runs: Sequence[BanditState]) -> tuple[set[str], dict[str, JSON]]:
    """The tasks whose rounds surely did better than the others', and what is believed of each."""
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


def _by_last_posterior(runs: Sequence[BanditState]) -> tuple[set[str], dict[str, JSON]]:
    """The tasks with a utility above 0.5, each the mean of a posterior whose alpha and beta are means over ``runs``."""
    alpha = [fmean(values) for values in zip(*(run.alpha for run in runs), strict=True)]
    beta = [fmean(values) for values in zip(*(run.beta for run in runs), strict=True)]
    utility = {name: a / (a + b) for name, a, b in zip(runs[0].problem.names, alpha, beta, strict=True)}
    helpful = {name for name, value in utility.items() if value > _HELPFUL}
    return helpful, {"utility": utility, "runs": [run.means for run in runs]}
