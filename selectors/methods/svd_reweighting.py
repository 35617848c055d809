"""SVD reweighting: factors for the losses of tasks that label the same inputs, from linear algebra alone.

A task whose labels agree with the directions that the tasks share weighs more; one whose labels point elsewhere, or
are noise, weighs less. With X the inputs as the encoder gives them, θ_i = Xᵀy_i and U_r the first r left singular
vectors of [θ_1 … θ_k], the weight of column i is α_i = ‖θ_iᵀ U_r‖.

Source: S. Wu, H. R. Zhang, C. Ré, *Understanding and Improving Information Transfer in Multi-Task Learning*, ICLR 2020,
https://arxiv.org/abs/2005.00944, the SVD-based task reweighting scheme.

Where we differ. The paper's task has one column of labels; the weight of a task with several (classes, or the labels of
a multi-label task) is the root mean square over them, which is ours. The paper's text does not say what r should be; by
default it is half the rank of [θ_1 … θ_k], because at the full rank nothing is projected and α_i is just ‖θ_i‖. Factors
are scaled to 1 on average, so that the learning rate keeps its meaning. All tasks are trained equally often. A task
that could not be measured counts like the mean of the others.

It costs a pass over the training rows per task; nothing is trained to find the weights. The tasks must have the same
training inputs in the same order: the paper has no answer for others, and neither have we. Do not use it where label
columns differ in scale for no good reason, since α grows with the scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
from pydantic import Field

from auxtune.selectors.beliefs import Belief, Ranking
from auxtune.selectors.kit.measured_runs import FromSingleRuns, SingleRuns, plan_single_runs
from auxtune.selectors.kit.options import options
from auxtune.selectors.kit.similarity import compute_svd_weights
from auxtune.selectors.protocol import JSON, Done, Evidence, Measure, Problem, Proposal, Selection, Wants


@options
class SVDReweighting(FromSingleRuns):
    """Factors of the losses of tasks with the same inputs, from the directions that their labels share."""

    version: ClassVar[int] = 1
    paper: ClassVar[str | None] = "Wu, Zhang, Ré: Information Transfer (2020), https://arxiv.org/abs/2005.00944"
    needs: ClassVar[str] = "tasks that label the same rows"
    costs: ClassVar[str] = "a pass over each task's rows, nothing is trained"
    avoid: ClassVar[str] = "labels are on scales that do not compare"

    r: int | None = Field(
        default=None, ge=1, description="directions that count as shared; null: half the rank of all label columns"
    )

    def wants(self) -> Wants:
        """Its answers and the needs of its runs."""
        return Wants(frozenset({"primary"}), "weights", frozenset({"measure", "loss_weights"}))

    def start(self, problem: Problem) -> SingleRuns:
        """Nothing measured yet. Raises ``ValueError`` without a primary, and for tasks with different inputs."""
        primary = problem.require_primary()
        inputs = {task.name: task.inputs for task in problem.tasks}
        others = [task for task, digest in inputs.items() if digest != inputs[primary]]
        if others:
            raise ValueError(
                "the weights are defined for tasks that label the same training rows in the same order, and those of "
                f"{', '.join(others)} are not {primary}'s; label one file in several columns, without `rows`, or "
                "choose another selector (gp_mixing also answers with weights)"
            )
        return plan_single_runs(problem)

    def propose(self, state: SingleRuns, evidence: Evidence) -> Proposal | Done:
        """The moments of the next task's labels; any number of them may be measured at once."""
        return state.propose_next((Measure("label_moments"),), trains=False) or Done()

    def select(self, state: SingleRuns, evidence: Evidence) -> Selection:
        """All tasks, each loss with its factor, given as shares that sum to 1; equal ones before any measurement."""
        tasks = state.problem.names
        keys = {task: key for task in tasks if (key := state.find_key(task, "label_moments")) is not None}
        alpha = self._weigh_tasks({task: evidence[key]["moments"] for task, key in keys.items()})
        mean = float(np.mean(list(alpha.values()))) if alpha else 0.0
        weights = {task: alpha.get(task, mean) for task in tasks} if mean > 0 else dict.fromkeys(tasks, 1.0)
        total = sum(weights.values())
        return Selection(
            "mixture",
            tasks,
            {task: weight / total for task, weight in weights.items()},
            weighting="loss",
            belief={"alpha": alpha, "not_measured": [task for task in tasks if task not in alpha]},
        )

    def beliefs(self, belief: Mapping[str, JSON]) -> Iterator[Belief]:
        """The weight of each task's labels."""
        if alpha := belief["alpha"]:
            yield Ranking("alpha", "weight α of the task's labels", "weight of the labels", alpha)

    def fewest(self, problem: Problem) -> int:
        """A measurement of each task."""
        return len(problem.names)

    def _weigh_tasks(self, moments: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Each task's α from its ``moments`` θ (width, label columns)."""
        if not moments:
            return {}
        columns = np.hstack(list(moments.values()))  # (width, all label columns)
        rank = self.r or max(1, int(np.linalg.matrix_rank(columns)) // 2)
        ends = np.cumsum([each.shape[1] for each in moments.values()])[:-1]
        apart = np.split(compute_svd_weights(columns, rank), ends)
        return {task: float(np.sqrt(np.mean(own**2))) for task, own in zip(moments, apart, strict=True)}
