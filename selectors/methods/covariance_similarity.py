"""Covariance similarity: the auxiliaries whose inputs, as the encoder sees them, have a covariance like the primary's.

Chooses a subset. It trains nothing together: one run of each task alone, all at the same time, and linear algebra.

Source: S. Wu, H. R. Zhang, C. Ré, *Understanding and Improving Information Transfer in Multi-Task Learning*, ICLR 2020,
https://arxiv.org/abs/2005.00944. The paper proposes the score and shows that it rises with alignment; it does not say
how to choose by it.

Where we differ. Keeping the best few is ours. ``score: normalised`` is ours: the paper's score rewards embeddings that
vary in few directions, whichever these are, and gives a task with itself less than 1. ``centred`` is ours: the paper's
second moments include the mean, which in pretrained encoders can exceed all variation. With ``trained: false`` nothing
is trained at all: the encoder is measured as it came.

It costs a short run of each task alone, which serves other methods too. Labels enter only through training, so do not
use it where tasks share their texts and differ in their labels: the scores of such tasks differ by noise. An auxiliary
may be kept although none is of use; confirm shows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from auxtune.selectors.beliefs import Belief, Ranking
from auxtune.selectors.kit.grouping import keep_at_least, rank_tasks, take_best
from auxtune.selectors.kit.measured_runs import FromSingleRuns, SingleRuns, plan_single_runs
from auxtune.selectors.kit.options import options
from auxtune.selectors.kit.similarity import compute_cosine, compute_similarity, read_recorded, subtract_mean
from auxtune.selectors.protocol import JSON, Done, Evidence, Measure, Problem, Proposal, Selection, Wants


@options
class CovarianceSimilarity(FromSingleRuns):
    """The auxiliaries whose embeddings have a covariance most like the primary's."""

    version: ClassVar[int] = 1
    paper: ClassVar[str | None] = "Wu, Zhang, Ré: Information Transfer (2020), https://arxiv.org/abs/2005.00944"
    needs: ClassVar[str] = "nothing"
    costs: ClassVar[str] = "a run per task, or a pass over its probe rows with `trained: false`"
    avoid: ClassVar[str] = "tasks share their texts and differ in their labels"

    at: Literal["embeddings", "representation"] = Field(
        default="embeddings",
        description="measured where: each token's embedding, or the vector that stands for a whole row",
    )
    trained: bool = Field(
        default=True, description="measured after each task was trained alone; false: of the encoder as it came"
    )
    score: Literal["paper", "normalised"] = Field(
        default="paper", description="the paper's score, or the cosine of both covariances"
    )
    centred: bool = Field(default=False, description="about the mean, not about zero")
    keep: int | None = Field(default=2, ge=1, description="the most auxiliaries to keep; null: no such limit")
    threshold: float | None = Field(default=None, ge=0, le=1, description="the least score kept; null: no such limit")

    def wants(self) -> Wants:
        """Its answers and the needs of its runs."""
        return Wants(frozenset({"primary"}), "subset", frozenset({"measure"}))

    def start(self, problem: Problem) -> SingleRuns:
        """Nothing measured yet. Raises ``ValueError`` without a primary."""
        problem.require_primary()
        return plan_single_runs(problem)

    def propose(self, state: SingleRuns, evidence: Evidence) -> Proposal | Done:
        """The next task alone, the primary first; any number of them may run at once."""
        return state.propose_next((Measure("covariance", {"at": self.at}),), self.trained) or Done()

    def select(self, state: SingleRuns, evidence: Evidence) -> Selection:
        """The primary with the best auxiliaries measured so far; alone while it is not measured itself."""
        scores = self._score_auxiliaries(state, evidence)
        best = take_best(scores, len(scores) if self.keep is None else self.keep)
        able = scores if self.threshold is None else keep_at_least(scores, self.threshold)
        chosen = {state.problem.require_primary(), *(task for task in best if task in able)}
        tasks = tuple(task for task in state.problem.names if task in chosen)
        return Selection("mixture", tasks, belief={"similarity": {task: scores[task] for task in rank_tasks(scores)}})

    def beliefs(self, belief: Mapping[str, JSON]) -> Iterator[Belief]:
        """How alike each task's covariance is to the primary's."""
        if similarity := belief["similarity"]:
            meaning = "similarity to the primary's covariance, in [0, 1]"
            yield Ranking("similarity", meaning, "alike by covariance", similarity)

    def fewest(self, problem: Problem) -> int:
        """A run of each task, or none where there is nothing to choose from."""
        return len(problem.names) if problem.auxiliaries else 0

    def _score_auxiliaries(self, state: SingleRuns, evidence: Evidence) -> dict[str, float]:
        """Each measured auxiliary's likeness to the primary."""
        problem = state.problem
        keys = {task: key for (task, _), key in state.list_keys("covariance").items()}
        if problem.require_primary() not in keys:
            return {}
        primary = evidence[keys[problem.require_primary()]]
        return {task: self._score(primary, evidence[keys[task]], task) for task in problem.auxiliaries if task in keys}

    def _score(self, primary: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray], task: str) -> float:
        before = read_recorded(primary, "covariance" if self.score == "paper" else "covariance_normalised", task)
        if before is not None:
            return before
        compare = compute_similarity if self.score == "paper" else compute_cosine
        return compare(self._read_covariance(primary), self._read_covariance(other))

    def _read_covariance(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        return subtract_mean(arrays["covariance"], arrays["mean"]) if self.centred else arrays["covariance"]
