"""Linear surrogate: the worth of each auxiliary, from a line fitted to the scores of random subsets.

Chooses a subset. Source: D. Li, H. L. Nguyen, H. R. Zhang, "Identification of Negative Transfers in Multitask Learning
Using Surrogate Models", TMLR 2023, https://arxiv.org/abs/2303.14582. Random subsets of a fixed size are trained with
the primary, all side by side; the score of a subset is fitted as a constant and a sum over its members
(``membership.py``); tasks whose coefficient reaches a threshold are kept.

Where we differ. The paper fits losses and tunes the threshold on validation; here scores are fitted, higher is better,
and the thresholds are tried: the primary is trained with the best 0, a quarter, a half … of the auxiliaries, always
including none and all, and the best measured one is the answer. No coefficient is trusted unseen: if the fit does not
predict held-out subsets better than chance (``skill.py``), its coefficients are noise, nothing more is trained, and the
answer is all tasks. No subset is drawn twice, and none holds all auxiliaries, for there is only one such subset.
``ridge``, and the average score of the subsets that hold a task, from the same authors' later work, are options.

Power. The test of the fit is strict. With six auxiliaries, it is passed in one of ten studies where the noise of a
score is twice what the subsets differ by, in half of them where it is equal, and nearly always where it is half; with
ten auxiliaries in half, always and always (``benchmarks/selector_power.py``).

It costs a run per subset, six for each auxiliary unless told otherwise, and one per threshold. One ``propose`` takes
tens of microseconds, the one after the last subset some tens of milliseconds. Do not use it with few auxiliaries: with
fewer than five there are too few subsets to show skill, and ``random_subset`` simply tries them all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from auxtune.selectors.beliefs import Belief, Ranking, read_prefixes, read_why
from auxtune.selectors.kit.grouping import rank_tasks
from auxtune.selectors.kit.membership import Fit, fit_memberships, predict_held_out
from auxtune.selectors.kit.options import options
from auxtune.selectors.kit.skill import Skill, measure_rank_skill
from auxtune.selectors.protocol import JSON, Done, Evidence, Outcome, Problem, Proposal, Selection, Wait, Wants

_PER_AUXILIARY = 6


@dataclass(frozen=True)
class SurrogateState:
    """By the proposal's number the tasks trained and the score, ``None`` for a failed trial.

    ``drawn`` holds the random subsets of auxiliaries, ``nested`` how many of the best each later trial keeps.
    """

    problem: Problem
    drawn: frozenset[frozenset[str]] = frozenset()
    trained: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    nested: Mapping[int, int] = field(default_factory=dict)
    scores: Mapping[int, float | None] = field(default_factory=dict)
    order: tuple[str, ...] | None = None  # auxiliaries, the best first, once the nested trials begin

    @property
    def subsets(self) -> dict[int, tuple[str, ...]]:
        """The tasks of the random subsets' trials, by number."""
        return {number: self.trained[number] for number in sorted(self.trained) if number not in self.nested}


@options
class LinearSurrogate:
    """The auxiliaries that raise the score in a linear fit to random subsets, as many as prove best when trained."""

    version: ClassVar[int] = 1
    paper: ClassVar[str | None] = "Li, Nguyen, Zhang: Surrogate Models (2023), https://arxiv.org/abs/2303.14582"
    needs: ClassVar[str] = "6 runs per task, and differences as large as a score's noise (twice that under 10 tasks)"
    costs: ClassVar[str] = "6 runs per auxiliary, all at once, then `verify`"
    avoid: ClassVar[str] = "there are fewer than five auxiliaries"

    size: int = Field(default=3, ge=1, description="auxiliaries in each subset, at most all but one")
    subsets: int | None = Field(
        default=None, ge=1, description="subsets to train; null: 6 per auxiliary, or all there are"
    )
    estimator: Literal["least_squares", "average"] = Field(
        default="least_squares",
        description="a task's worth: its coefficient in a fit of all, or the mean score of its subsets",
    )
    ridge: float = Field(default=1.0, ge=0, description="added to each task's sum of squares; 0: plain least squares")
    verify: int = Field(default=5, ge=2, description="how many numbers of best tasks to try, none and all among them")

    def wants(self) -> Wants:
        """Its answers and the needs of its runs."""
        return Wants(frozenset({"primary"}), "subset")

    def start(self, problem: Problem) -> SurrogateState:
        """Nothing drawn yet. Raises ``ValueError`` without a primary."""
        problem.require_primary()
        return SurrogateState(problem)

    def propose(self, state: SurrogateState, evidence: Evidence) -> Proposal | Wait | Done:
        """Every random subset, any number at once; when all are over and the fit has skill, the best few by prefix."""
        problem = state.problem
        if state.order is None:
            if len(state.drawn) < self._count_subsets(problem):
                return self._draw_subset(state)
            if len(state.scores) < len(state.trained):
                return Wait()
            fit = self._fit(state)
            if fit is None or not self._measure_skill(state).shown:
                return Done()
            order = rank_tasks(_name_coefficients(problem, fit))
        else:
            order = state.order
        sizes = self._list_sizes(problem)
        if len(state.nested) == len(sizes):
            return Done()
        size = sizes[len(state.nested)]
        # One seed for all prefixes, so that they differ only in their tasks.
        notes = {"best": size, "order": list(order)}
        return Proposal(_add_primary(problem, order[:size]), seed=problem.seed, notes=notes, stage="verify")

    def proposed(self, state: SurrogateState, number: int, proposal: Proposal) -> SurrogateState:
        """One more trial is under way; the tasks are those that are actually trained."""
        state = replace(state, trained={**state.trained, number: proposal.tasks})
        if "drawn" in proposal.notes:
            return replace(state, drawn=state.drawn | {frozenset(proposal.notes["drawn"])})
        nested = {**state.nested, number: proposal.notes["best"]}
        return replace(state, nested=nested, order=tuple(proposal.notes["order"]))

    def told(self, state: SurrogateState, number: int, outcome: Outcome) -> SurrogateState:
        """One more trial is over."""
        return replace(state, scores={**state.scores, number: outcome.score})

    def select(self, state: SurrogateState, evidence: Evidence) -> Selection:
        """The best of the nested trials, the smallest on ties; all tasks if the fit shows no skill."""
        problem, fit = state.problem, self._fit(state)
        if fit is None:
            return Selection("mixture", problem.names, belief={"why": "no subset has a score yet: all tasks"})
        worth, skill = _name_coefficients(problem, fit), self._measure_skill(state)
        belief: dict[str, JSON] = {
            "coefficients": {task: worth[task] for task in rank_tasks(worth)},
            "level": fit.level,
            "skill": skill.as_json(),
        }
        if not skill.shown:
            belief["why"] = "held-out subsets are predicted no better than by chance: all tasks"
            return Selection("mixture", problem.names, belief=belief)
        tried = sorted((size, number) for number, size in state.nested.items())
        scores = {number: score for _, number in tried if (score := state.scores.get(number)) is not None}
        belief["nested"] = [{"tasks": list(state.trained[each]), "score": scores[each]} for each in scores]
        if scores:
            return Selection("mixture", state.trained[max(scores, key=lambda each: scores[each])], belief=belief)
        belief["why"] = "no number of tasks was tried yet: those above the average task"
        above = [task for task in worth if worth[task] > 0]
        return Selection("mixture", _add_primary(problem, above), belief=belief)

    def beliefs(self, belief: Mapping[str, JSON]) -> Iterator[Belief]:
        """Each task's worth in the fit, what that is worth in turn, and the numbers of tasks that were tried."""
        yield from read_why(belief)
        if worth := belief.get("coefficients"):
            meaning = "worth in the linear fit, units of the score"
            yield Ranking("coefficients", meaning, "worth in the linear fit", worth)
        if skill := belief.get("skill"):
            yield Skill.from_json(skill)
        yield from read_prefixes("nested", "numbers of tasks", belief.get("nested"))

    def predict(
        self, state: SurrogateState, evidence: Evidence, asked: Sequence[Proposal]
    ) -> list[Mapping[str, float]]:
        """The fit's prediction for each proposal that trains the primary, whether or not the fit has skill."""
        primary, fit = state.problem.require_primary(), self._fit(state)
        if fit is None:
            return [{} for _ in asked]
        scores = fit.predict(_build_memberships(state.problem, [proposal.tasks for proposal in asked])).tolist()
        return [{primary: s} if primary in proposal.tasks else {} for s, proposal in zip(scores, asked, strict=True)]

    def fewest(self, problem: Problem) -> int:
        """A subset for each coefficient and the constant, or all subsets; 0 without an auxiliary."""
        return min(len(problem.auxiliaries) + 1, self._count_subsets(problem))

    def _count_subsets(self, problem: Problem) -> int:
        """The number of random subsets to train."""
        auxiliaries = len(problem.auxiliaries)
        if auxiliaries == 0:
            return 0
        wanted = _PER_AUXILIARY * auxiliaries if self.subsets is None else self.subsets
        return min(wanted, math.comb(auxiliaries, self._limit_size(problem)))

    def _limit_size(self, problem: Problem) -> int:
        return max(1, min(self.size, len(problem.auxiliaries) - 1))

    def _list_sizes(self, problem: Problem) -> list[int]:
        """How many of the best are kept in each nested trial."""
        auxiliaries = len(problem.auxiliaries)
        return sorted({round(auxiliaries * step / (self.verify - 1)) for step in range(self.verify)})

    def _draw_subset(self, state: SurrogateState) -> Proposal:
        """A random subset that was not drawn before."""
        names, size = state.problem.auxiliaries, self._limit_size(state.problem)
        rng = np.random.default_rng([state.problem.seed, len(state.trained)])
        while True:
            places = sorted(rng.choice(len(names), size=size, replace=False).tolist())
            drawn = [names[place] for place in places]
            if frozenset(drawn) not in state.drawn:
                tasks = _add_primary(state.problem, drawn)
                return Proposal(tasks, seed=int(rng.integers(2**31)), notes={"drawn": drawn}, stage="subset")

    def _collect_scores(self, state: SurrogateState) -> tuple[np.ndarray, np.ndarray]:
        """Memberships (trials, auxiliaries) and scores (trials,) of the random subsets that have a score."""
        pairs = [(tasks, state.scores.get(number)) for number, tasks in state.subsets.items()]
        known = [(tasks, score) for tasks, score in pairs if score is not None]
        return _build_memberships(state.problem, [tasks for tasks, _ in known]), np.array([score for _, score in known])

    def _fit(self, state: SurrogateState) -> Fit | None:
        members, scores = self._collect_scores(state)
        return fit_memberships(members, scores, self.estimator, self.ridge) if len(scores) else None

    def _measure_skill(self, state: SurrogateState) -> Skill:
        members, scores = self._collect_scores(state)
        return measure_rank_skill(predict_held_out(members, self.estimator, self.ridge), scores, state.problem.seed)


def _build_memberships(problem: Problem, trained: Sequence[Sequence[str]]) -> np.ndarray:
    """Whether each auxiliary is in each of ``trained``: (trials, auxiliaries) of 0 and 1."""
    rows = [[float(task in tasks) for task in problem.auxiliaries] for tasks in trained]
    return np.array(rows).reshape(len(trained), len(problem.auxiliaries))


def _name_coefficients(problem: Problem, fit: Fit) -> dict[str, float]:
    return dict(zip(problem.auxiliaries, fit.weights.tolist(), strict=True))


def _add_primary(problem: Problem, auxiliaries: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in problem.names if name in auxiliaries or name == problem.primary)
