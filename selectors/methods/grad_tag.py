"""Which tasks share a model, from one joint run and estimates of training on hundreds of subsets.

Source: D. Li, A. Sharma, H. R. Zhang, "Scalable Multitask Learning Using Gradient-based Estimation of Task Affinity",
KDD 2024, https://arxiv.org/abs/2409.06091. All tasks are trained together once. At the end the gradients of outputs are
measured row by row and projected to a few hundred numbers. For each of many random subsets of tasks a logistic
regression in these numbers stands for its training (``linearised.py``), and the loss on held-out rows for the score.
The mean over the subsets that hold a pair is the pair's affinity (``affinity.py``), and the tasks of a cluster share a
model.

What is known how: the estimate and its defaults come from the paper's text and notes on it; released code for text
differs from the paper (it draws labels as random signs) and is not followed.

Where we differ. Clusters are spectral (``grouping.py``) where the paper rounds a semidefinite programme. The paper is
given their number; here it is the number, up to the study's ``models``, whose groups, fitted like any subset, come out
best. With a primary no groups are made. The sources are ranked by the primary's row of affinities, and the losses of
the primary alone, with the first source, with the first two, and so on, are estimated. The answer is the longest of
these prefixes that is not, with 95 % confidence over the primary's held-out rows, worse than the best one: a
difference that cannot be told from zero is no reason to leave a task out. ``finaliser: cover`` lets groups overlap, as
in ``tag``. Losses count, not accuracies, which move in steps of a row. Only the shared encoder is linearised. How rows,
projection and penalty differ is described in the probe and in the modules above.

Skill. Everything is repeated on each half of the rows. If the effects of sources on their recipients do not agree
between the halves (Spearman's correlation of the tables, each row less its mean, with a one-sided 95 % bound above 0),
the differences may be noise; ``belief`` says so, and all tasks share one model. The bound is Fisher's, for as many
numbers as the drawn subsets make independent (``affinity.count_independent``). Up to 8 tasks, where every subset of
three is drawn, these are the n (n - 2) free ones, so that five tasks need a correlation of 0.43; for 20 tasks in 200
subsets they are 174 of 360. More ``rows`` make agreement likelier, and so does less ``regularisation`` than would fit
best: at θ* there is little left to learn, and with a strong penalty all subsets come out alike. With many tasks more
``subsets`` help too. Held-out subsets would not show skill: with few tasks the table needs every subset of a size, and
all of them contain the same chance of the rows.

It costs one joint run and a backward pass for each of ``2 rows`` rows of each task, however many groups are compared;
then about twice ``subsets`` fits, some ten seconds for 12 tasks on one core. A new candidate costs a new run. Two tasks
are not compared. Do not use it where training moves the encoder far, as from scratch or at high learning rates: the
estimate is of a small step from weights that all tasks have already shaped.
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
    bound_correlation,
    build_affinity,
    compute_preferences,
    count_independent,
    draw_subsets,
    estimate_gains,
)
from auxtune.selectors.kit.cover import LARGEST, cover, cover_by_clusters
from auxtune.selectors.kit.grouping import (
    MODELS,
    MODELS_UNREAD,
    Grouping,
    assign_to_best,
    build_selection,
    cluster_spectrally,
    group_all,
    group_without_evidence,
    rank_sources,
    select_for_primary,
)
from auxtune.selectors.kit.linearised import Linearised, build_linearised
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
        """Its answers and the needs of its runs."""
        return Wants(frozenset({"primary", "groups"}), "groups", frozenset({"measure"}))

    @property
    def measure(self) -> Measure:
        """The gradients of outputs row by row, projected."""
        return Measure(PROBE, {"rows": self.rows, "size": self.projection})

    def select(self, state: JointRun, evidence: Evidence) -> Selection:
        """The best groups, or the primary with its helpers; all tasks together if the table shows no skill.

        Before there is evidence the primary alone, or without one all tasks in one model.
        """
        problem, model = state.problem, self._build_model(state, evidence)
        if model is None:
            return build_selection(problem, group_without_evidence(problem), {"affinity": None})
        if len(problem.names) < 3:
            return build_selection(problem, group_all(problem), {"affinity": None, "skill": None})
        masks = self._draw_subsets(problem)
        losses = _estimate_losses(model, masks)
        affinity = _build_affinity(model, masks, losses, problem)
        skill = measure_skill(model, masks)
        belief = {"affinity": affinity.as_json(), "skill": skill, "subsets": len(masks)}
        if skill["lower"] is None or skill["lower"] <= 0:
            why = f"the halves of the rows do not agree: {'one model' if problem.primary is None else 'all tasks'}"
            return build_selection(problem, group_all(problem), {**belief, "why": why})
        if problem.primary is not None:
            return _select_prefix(problem, problem.primary, model, affinity, belief)
        means = losses.mean(axis=0, where=masks)
        estimates = [
            (_estimate_gain(model, grouping, means), grouping) for grouping in self._list_groupings(affinity, problem)
        ]
        estimate, grouping = max(estimates, key=lambda each: each[0])  # on ties the one with fewer clusters
        return build_selection(problem, grouping, {**belief, "estimate": estimate, "score": grouping.score})

    def beliefs(self, belief: Mapping[str, JSON]) -> Iterator[Belief]:
        """The affinities, the primary's row of them, and how far the halves of the rows agree."""
        yield from read_why(belief)
        yield from read_onto_primary(belief)
        if skill := belief.get("skill"):
            yield PredictionQuality({measure: value for measure, value in skill.items() if value is not None})
        yield from read_pairs("affinity", belief["affinity"])

    def predict(self, state: JointRun, evidence: Evidence, asked: Sequence[Proposal]) -> list[Mapping[str, float]]:
        """Minus the estimated loss of each task that counts; empty before the joint run and for unusual trainings."""
        model = self._build_model(state, evidence)
        return [{} if model is None else _predict_losses(model, proposal, state.problem) for proposal in asked]

    def _build_model(self, state: JointRun, evidence: Evidence) -> Linearised | None:
        return None if state.key is None else build_linearised(evidence[state.key], self.regularisation)

    def _draw_subsets(self, problem: Problem) -> np.ndarray:
        """The masks of the subsets, (subsets, tasks) bool, the same at every call."""
        tasks = len(problem.names)
        size = max(3, tasks // 4) if self.size is None else self.size
        # Of three tasks, pairs: the only subset of three holds all of them and compares nothing.
        return draw_subsets(tasks, min(size, tasks - 1), self.subsets, np.random.default_rng([problem.seed, 1]))

    def _list_groupings(self, affinity: Affinity, problem: Problem) -> list[Grouping]:
        """The groupings to choose from, each of at most as many groups as may be served."""
        models = problem.models or self.models or MODELS
        if self.finaliser == "cover":
            return [(cover if len(affinity.tasks) <= LARGEST else cover_by_clusters)(affinity, models)]
        counts = range(1, min(models, len(affinity.tasks)) + 1)
        return [_group_disjointly(affinity, cluster_spectrally(affinity, count)) for count in counts]


def _estimate_losses(model: Linearised, masks: np.ndarray) -> np.ndarray:
    """Every task's estimated loss after training on each subset, (subsets, tasks)."""
    return np.array(
        [
            model.estimate_losses({task: 1.0 for task, held in zip(model.tasks, mask, strict=True) if held})
            for mask in masks
        ]
    )


def _build_affinity(model: Linearised, masks: np.ndarray, losses: np.ndarray, problem: Problem) -> Affinity:
    """The gains of every pair; on the diagonal the gain of a task trained alone over its mean loss."""
    values = estimate_gains(masks, losses)
    alone = np.diag(_estimate_losses(model, np.eye(len(model.tasks), dtype=bool)))
    np.fill_diagonal(values, _compute_gains(alone, losses.mean(axis=0, where=masks)))
    details = {"subsets": len(masks), "size": int(masks[0].sum())}
    return build_affinity(model.tasks, values, "grad_tag", _MEASURED, problem.measure_seed, details).restrict_to(
        problem.names
    )


def _compute_gains(losses: np.ndarray, means: np.ndarray) -> np.ndarray:
    """The share of the mean loss that is saved; 0 if the mean is 0."""
    spared: np.ndarray = np.where(means > 0, 1 - losses / np.where(means > 0, means, 1.0), 0.0)
    return spared


def measure_skill(model: Linearised, masks: np.ndarray) -> dict[str, JSON]:
    """How well the tables of the two halves of the rows agree; ``None`` if that cannot be computed."""
    one, other = (
        compute_preferences(estimate_gains(masks, _estimate_losses(half, masks))) for half in model.split_halves()
    )
    unknown = {"spearman": None, "lower": None}
    if not np.isfinite([one, other]).all() or np.ptp(one) == 0 or np.ptp(other) == 0:
        return unknown
    found = float(spearmanr(one, other).statistic)
    return {"spearman": found, "lower": bound_correlation(found, count_independent(masks))}


def _select_prefix(
    problem: Problem, primary: str, model: Linearised, affinity: Affinity, belief: Mapping[str, JSON]
) -> Selection:
    """The primary with the longest prefix of its best sources that is not measurably worse than the best prefix."""
    row = rank_sources(affinity, primary)
    order = list(row)
    losses = np.array(
        [
            model.estimate_row_losses(dict.fromkeys((primary, *order[:kept]), 1.0), primary)
            for kept in range(len(order) + 1)
        ]
    )  # (prefixes, rows)
    means = losses.mean(axis=1)
    # The test is paired, row by row: rows differ far more from each other than prefixes do on one row.
    above = losses - losses[means.argmin()]
    able = above.mean(axis=1) <= norm.ppf(SURE) * above.std(axis=1) / np.sqrt(losses.shape[1])
    kept = int(np.flatnonzero(able).max())
    told = {**belief, "estimates": [{"with": number, "loss": loss} for number, loss in enumerate(means.tolist())]}
    if kept == 0:
        told["why"] = f"every task is estimated to harm {primary}: the primary alone"
    return select_for_primary(problem, order[:kept], row, told)


def _group_disjointly(affinity: Affinity, clusters: Sequence[Sequence[str]]) -> Grouping:
    places = [tuple(affinity.tasks.index(task) for task in cluster) for cluster in clusters]
    return assign_to_best(affinity, places, proven=False)


def _estimate_gain(model: Linearised, grouping: Grouping, means: np.ndarray) -> float:
    """The mean over the tasks of the estimated gain of each, over its mean loss, in the group that serves it."""
    gains = np.zeros(len(model.tasks))
    for group in grouping.groups:
        served = [model.tasks.index(task) for task in group.serves]
        gains[served] = _compute_gains(model.estimate_losses(dict.fromkeys(group.tasks, 1.0)), means)[served]
    return float(gains.mean())


def _predict_losses(model: Linearised, proposal: Proposal, problem: Problem) -> dict[str, float]:
    usual = proposal.trains and proposal.shuffled is None and not proposal.rows and problem.scored is None
    if not usual or not set(proposal.tasks) <= set(model.tasks):
        return {}
    losses = model.estimate_losses(proposal.weights or dict.fromkeys(proposal.tasks, 1.0))
    counted = proposal.tasks if problem.primary is None else (problem.primary,)
    return {task: -float(losses[model.tasks.index(task)]) for task in counted}
