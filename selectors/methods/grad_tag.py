"""Which tasks share a model, from one joint run and what training on hundreds of subsets is estimated to come to.

Source: D. Li, A. Sharma, H. R. Zhang, "Scalable Multitask Learning Using Gradient-based Estimation of Task Affinity",
KDD 2024, https://arxiv.org/abs/2409.06091. All tasks are trained together once. At the end the gradients of outputs are
measured row by row and projected to a few hundred numbers. For each of many random subsets of tasks a logistic
regression in these numbers stands for its training (``linearised.py``), its loss on held-out rows for the score. The
mean over the subsets that hold a pair is the pair's affinity (``affinity.py``), and the tasks of a cluster share
a model.

What is known how: the estimate and its defaults from the paper's text and notes on it; released code for text differs
from the text (labels are signs drawn at random there) and is not followed.

Where we differ. Clusters are spectral (``grouping.py``) where the paper rounds a semidefinite programme; it is given
their number, here it is the one up to the study's ``models`` for which the very groups, fitted like any subset, come
out best. With a primary no groups are made: the sources are ranked by the primary's row of affinities, and the losses
of the primary alone, with the first, with the first two, to all of them, are estimated. Taken are the most of which it
is not sure, with 95 %, that they leave it more than the least of these, by the difference over its held-out rows: what
cannot be told from the best is no reason to leave a task out.
``finaliser: cover`` lets groups overlap, as ``tag`` does. Losses count, not accuracies, which move in steps of a row.
Only the shared encoder is linearised. How rows, projection and penalty differ is said in the probe and in the modules
above.

Skill. All of it is repeated on one half of the rows and on the other. If what sources do for their recipients does not
agree between the halves (Spearman's correlation of the tables, each row less its mean, with a one-sided 95 % bound
above 0), the differences may be noise, ``belief`` says so, and all tasks share one model. The bound is Fisher's, of as
many numbers as the drawn subsets make independent (``subset_affinity.independent``): to 8 tasks, where every subset of
three is drawn, the n (n - 2) that are free, so that five tasks need a correlation of 0.43; 174 of the 360 of 20 tasks
in 200 subsets. More ``rows`` make agreement likelier, and so does less ``regularisation`` than would fit best: at θ*
there is little left to learn, and under a strong one all subsets come to the same; with many tasks so do more
``subsets``. Held-out subsets would not show that: with few tasks the table needs every subset of a size, and what
chance put into the rows is in all of them.

Costs one joint run and a backward pass for each of ``2 rows`` rows of each task, however many groups are asked about;
then about twice ``subsets`` fits, some ten seconds for 12 tasks on one core. A new candidate costs a new run. Two tasks
are not compared. Do not use it where training moves the encoder far, as from scratch or at high learning rates: what is
estimated is a small step on from weights that all tasks shaped already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from scipy.stats import norm, spearmanr

from auxtune.selectors.beliefs import Belief, PredictionQuality, read_onto_primary, read_pairs, read_why
from auxtune.selectors.kit.affinity import (
    SURE,
    Affinity,
    average_gains,
    correlation_bound,
    draw_subsets,
    independent,
    make_affinity,
    preferences,
)
from auxtune.selectors.kit.cover import LARGEST, clustered, cover
from auxtune.selectors.kit.grouping import (
    MODELS,
    MODELS_UNREAD,
    Grouping,
    alone_or_together,
    answer,
    answer_for_primary,
    assign_to_best,
    group_all,
    row_of,
    spectral,
)
from auxtune.selectors.kit.linearised import Linearised, linearised
from auxtune.selectors.kit.measured_runs import FromJointRun, JointRun
from auxtune.selectors.kit.options import options
from auxtune.selectors.protocol import JSON, Evidence, Measure, Problem, Proposal, Selection, Wants

PROBE = "output_gradients"
_MEASURED = "share of the recipient's mean estimated loss that it is spared in subsets with the source; itself: alone"


@options
class GradTag(FromJointRun):
    """The groups of tasks that are estimated to help each other most, from one joint run's gradients."""

    version: ClassVar[int] = 1
    paper: ClassVar[str | None] = "Li, Sharma, Zhang: Grad-TAG (2024), https://arxiv.org/abs/2409.06091"
    needs: ClassVar[str] = "three tasks; a gradient per row in memory"
    costs: ClassVar[str] = "1 run, and a backward pass for each of 2 `rows` rows of each task"
    avoid: ClassVar[str] = "training moves the encoder far, as from scratch: it is linearised"
    unread: ClassVar[Mapping[str, str]] = {"models": MODELS_UNREAD}

    models: int | None = Field(default=None, ge=1, description=f"not read: {MODELS_UNREAD}")
    rows: int = Field(default=512, ge=2, description="rows of each task to fit on, and as many to judge by")
    projection: int = Field(default=200, ge=1, description="numbers that a gradient is projected to")
    subsets: int = Field(default=200, ge=1, description="random subsets of tasks to estimate")
    size: int | None = Field(default=None, ge=2, description="tasks in a subset; null: a quarter of the tasks, but 3")
    regularisation: float = Field(
        default=0.001, gt=0, description="of the fits, in units of the gradients' mean square"
    )
    finaliser: Literal["clusters", "cover"] = Field(
        default="clusters", description="of groups: disjoint, or they may overlap"
    )

    def wants(self) -> Wants:
        """What it can answer and what its runs need."""
        return Wants(frozenset({"primary", "groups"}), "groups", frozenset({"measure"}))

    @property
    def measure(self) -> Measure:
        """The gradients of outputs row by row, projected."""
        return Measure(PROBE, {"rows": self.rows, "size": self.projection})

    def select(self, state: JointRun, evidence: Evidence) -> Selection:
        """The best groups, or the primary with what helps it; all tasks together where nothing sure is known.

        Before anything is known the primary alone, without one all tasks in one.
        """
        problem, model = state.problem, self._model(state, evidence)
        if model is None:
            return answer(problem, alone_or_together(problem), {"affinity": None})
        if len(problem.names) < 3:
            return answer(problem, group_all(problem), {"affinity": None, "skill": None})
        masks = self._subsets(problem)
        losses = _losses(model, masks)
        affinity = _affinity(model, masks, losses, problem)
        skill = skill_of(model, masks)
        belief = {"affinity": affinity.as_json(), "skill": skill, "subsets": len(masks)}
        if skill["lower"] is None or skill["lower"] <= 0:
            why = f"the halves of the rows do not agree: {'one model' if problem.primary is None else 'all tasks'}"
            return answer(problem, group_all(problem), {**belief, "why": why})
        if problem.primary is not None:
            return _for_primary(problem, problem.primary, model, affinity, belief)
        means = losses.mean(axis=0, where=masks)
        estimates = [(_estimate(model, grouping, means), grouping) for grouping in self._groupings(affinity, problem)]
        estimate, grouping = max(estimates, key=lambda each: each[0])  # of equals the one of fewer clusters
        return answer(problem, grouping, {**belief, "estimate": estimate, "score": grouping.score})

    def beliefs(self, belief: Mapping[str, JSON]) -> Iterator[Belief]:
        """The affinities, the primary's row of them, and how far the halves of the rows agree."""
        yield from read_why(belief)
        yield from read_onto_primary(belief)
        if skill := belief.get("skill"):
            yield PredictionQuality({measure: value for measure, value in skill.items() if value is not None})
        yield from read_pairs("affinity", belief["affinity"])

    def predict(self, state: JointRun, evidence: Evidence, asked: Sequence[Proposal]) -> list[Mapping[str, float]]:
        """Minus the estimated loss of each task that counts; nothing before the joint run, and of other runs."""
        model = self._model(state, evidence)
        return [{} if model is None else _predicted(model, proposal, state.problem) for proposal in asked]

    def _model(self, state: JointRun, evidence: Evidence) -> Linearised | None:
        return None if state.key is None else linearised(evidence[state.key], self.regularisation)

    def _subsets(self, problem: Problem) -> np.ndarray:
        """(subsets, tasks) bool, the same whenever asked."""
        tasks = len(problem.names)
        size = max(3, tasks // 4) if self.size is None else self.size
        # Of three tasks the pairs: there is one subset of all of them only, which compares nothing.
        return draw_subsets(tasks, min(size, tasks - 1), self.subsets, np.random.default_rng([problem.seed, 1]))

    def _groupings(self, affinity: Affinity, problem: Problem) -> list[Grouping]:
        """Those to choose from, each of at most as many groups as may be served."""
        models = problem.models or self.models or MODELS
        if self.finaliser == "cover":
            return [(cover if len(affinity.tasks) <= LARGEST else clustered)(affinity, models)]
        counts = range(1, min(models, len(affinity.tasks)) + 1)
        return [_disjoint(affinity, spectral(affinity, count)) for count in counts]


def _losses(model: Linearised, masks: np.ndarray) -> np.ndarray:
    """Every task's estimated loss after training on each subset, (subsets, tasks)."""
    return np.array(
        [model.losses({task: 1.0 for task, held in zip(model.tasks, mask, strict=True) if held}) for mask in masks]
    )


def _affinity(model: Linearised, masks: np.ndarray, losses: np.ndarray, problem: Problem) -> Affinity:
    """Gains beside each other; on the diagonal what a task trained alone gains over its mean."""
    values = average_gains(masks, losses)
    alone = np.diag(_losses(model, np.eye(len(model.tasks), dtype=bool)))
    np.fill_diagonal(values, _gains(alone, losses.mean(axis=0, where=masks)))
    details = {"subsets": len(masks), "size": int(masks[0].sum())}
    return make_affinity(model.tasks, values, "grad_tag", _MEASURED, problem.measure_seed, details).among(problem.names)


def _gains(losses: np.ndarray, means: np.ndarray) -> np.ndarray:
    """The share of a mean loss that is spared; 0 where there is none to spare."""
    spared: np.ndarray = np.where(means > 0, 1 - losses / np.where(means > 0, means, 1.0), 0.0)
    return spared


def skill_of(model: Linearised, masks: np.ndarray) -> dict[str, JSON]:
    """How well the tables of the two halves of the rows agree; ``None`` where that cannot be said."""
    one, other = (preferences(average_gains(masks, _losses(half, masks))) for half in model.halves())
    unknown = {"spearman": None, "lower": None}
    if not np.isfinite([one, other]).all() or np.ptp(one) == 0 or np.ptp(other) == 0:
        return unknown
    found = float(spearmanr(one, other).statistic)
    return {"spearman": found, "lower": correlation_bound(found, independent(masks))}


def _for_primary(
    problem: Problem, primary: str, model: Linearised, affinity: Affinity, belief: Mapping[str, JSON]
) -> Selection:
    """The primary with the most of its best sources that do not measurably raise its estimated loss."""
    row = row_of(affinity, primary)
    order = list(row)
    losses = np.array(
        [model.row_losses(dict.fromkeys((primary, *order[:kept]), 1.0), primary) for kept in range(len(order) + 1)]
    )  # (prefixes, rows)
    means = losses.mean(axis=1)
    above = losses - losses[means.argmin()]
    able = above.mean(axis=1) <= norm.ppf(SURE) * above.std(axis=1) / np.sqrt(losses.shape[1])
    kept = int(np.flatnonzero(able).max())
    told = {**belief, "estimates": [{"with": number, "loss": loss} for number, loss in enumerate(means.tolist())]}
    if kept == 0:
        told["why"] = f"every task is estimated to harm {primary}: the primary alone"
    return answer_for_primary(problem, order[:kept], row, told)


def _disjoint(affinity: Affinity, clusters: Sequence[Sequence[str]]) -> Grouping:
    places = [tuple(affinity.tasks.index(task) for task in cluster) for cluster in clusters]
    return assign_to_best(affinity, places, proven=False)


def _estimate(model: Linearised, grouping: Grouping, means: np.ndarray) -> float:
    """The mean over the tasks of what each is estimated to gain, over its mean, in the group that serves it."""
    gains = np.zeros(len(model.tasks))
    for group in grouping.groups:
        served = [model.tasks.index(task) for task in group.serves]
        gains[served] = _gains(model.losses(dict.fromkeys(group.tasks, 1.0)), means)[served]
    return float(gains.mean())


def _predicted(model: Linearised, proposal: Proposal, problem: Problem) -> dict[str, float]:
    usual = proposal.trains and proposal.shuffled is None and not proposal.rows and problem.scored is None
    if not usual or not set(proposal.tasks) <= set(model.tasks):
        return {}
    losses = model.losses(proposal.weights or dict.fromkeys(proposal.tasks, 1.0))
    counted = proposal.tasks if problem.primary is None else (problem.primary,)
    return {task: -float(losses[model.tasks.index(task)]) for task in counted}
