"""Which tasks may share a model: those whose own models represent texts alike and whose gradients do not conflict.

Chooses groups, or with a primary the tasks that may share with it. The idea is that of A. Sehanobish et al.,
"Explaining the Effectiveness of Multi-Task Learning for Efficient Knowledge Extraction from Spine MRI Reports", NAACL
2022 industry track, https://arxiv.org/abs/2205.02979: one model can stand for task-specific ones that have similar
representations in all hidden layers and gradients in the same direction. The rule is ours: only that claim of the paper
is known here, not its indices, thresholds or decision, if it has any.

The rule. Each task is trained alone. All these models read the same texts, and each task's gradients are taken at one
common point, in several batches.

    S_rep(i, j)    the least over layers of the linear CKA of i's and j's hidden states (``layers: mean``: the mean)
    S_grad(i, j)   the mean over batches of the cosine of i's and j's gradients
    i and j agree  if S_rep >= ``representation`` and S_grad >= ``gradient``

Groups are the clusters of complete linkage on the smaller of the two margins over the thresholds, so that every pair
in a group agrees. If there are more groups than models may be served, the nearest are joined although they do not
agree, and ``belief`` says so. With a primary no group is made: every task that agrees with it may share its model,
whether or not these agree with each other (``grouping.py``). A task whose run failed agrees with no other; neither do
tasks measured on too few texts, nor two tasks measured on different ones.

It costs a run for each task, all side by side, which other methods that measure single-task runs share; a new candidate
costs one. The comparison costs pairs × layers × texts × width²: seconds. Do not use it to rank helpers of a primary: it
says which tasks are alike, and tasks alike need not help. Models that start from one encoder stay alike in the lower
layers whatever they learn, so thresholds mean little across encoders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal, TypeAlias

import numpy as np
from pydantic import Field

from auxtune.selectors.beliefs import Belief, Caution, read_onto_primary, read_pairs, read_why
from auxtune.selectors.kit.affinity import Affinity, build_affinity
from auxtune.selectors.kit.grouping import (
    Group,
    Grouping,
    build_selection,
    cluster_by_linkage,
    group_without_evidence,
    rank_sources,
    select_for_primary,
)
from auxtune.selectors.kit.measured_runs import FromSingleRuns, SingleRuns, plan_single_runs
from auxtune.selectors.kit.options import options
from auxtune.selectors.kit.similarity import (
    compute_gradient_cosines,
    compute_layer_cka,
    compute_magnitude_similarities,
    read_recorded_table,
)
from auxtune.selectors.protocol import JSON, Done, Evidence, Measure, Problem, Proposal, Selection, Wants

_MEASURED = {
    "representation": "least linear CKA of hidden states over the layers",
    "representation_mean": "mean linear CKA of hidden states over the layers",
    "gradient": "mean cosine of gradients at a common point",
    "conflict": "share of the blocks of parameters in which the mean cosine is below 0",
    "magnitude": "mean magnitude similarity of the same gradients",
    "margin": "the smaller of what similarity and cosine have above their thresholds",
}
_DECIDING = ("representation", "gradient", "margin")  # the others are only reported
_Comparable: TypeAlias = tuple[tuple[np.ndarray, ...], list[Mapping[str, np.ndarray]]]
_APART = -4.0  # below every margin of numbers in [-1, 1] over thresholds there


@options
class RepresentationGradient(FromSingleRuns):
    """The tasks that represent texts alike and whose gradients do not conflict."""

    version: ClassVar[int] = 1
    paper: ClassVar[str | None] = "idea of Sehanobish et al. (2022), the rule is ours: https://arxiv.org/abs/2205.02979"
    needs: ClassVar[str] = "200 texts on the probe splits"
    costs: ClassVar[str] = "a run per task"
    avoid: ClassVar[str] = "the question is who helps whom: it says who is alike"

    representation: float = Field(default=0.5, ge=-1, le=1, description="the least similarity of representations")
    gradient: float = Field(default=0.0, ge=-1, le=1, description="the least mean cosine of gradients")
    layers: Literal["min", "mean"] = Field(
        default="min", description="the similarity of representations: the worst layer's or the mean"
    )
    unbiased: bool = Field(default=True, description="the index of representations without its bias over few texts")
    batches: int = Field(default=8, ge=1, description="batches in which each task's gradients are taken")

    def wants(self) -> Wants:
        """Its answers and the needs of its runs."""
        return Wants(frozenset({"primary", "groups"}), "groups", frozenset({"measure"}))

    def start(self, problem: Problem) -> SingleRuns:
        """Nothing proposed yet."""
        return plan_single_runs(problem)

    def propose(self, state: SingleRuns, evidence: Evidence) -> Proposal | Done:
        """Each task alone, the primary first; nothing for a single task."""
        if len(state.wanted) == 1:
            return Done()
        return state.propose_next((Measure("hidden_states"), Measure("gradients", {"batches": self.batches}))) or Done()

    def select(self, state: SingleRuns, evidence: Evidence) -> Selection:
        """Groups in which every pair agrees, or the primary and the tasks that agree with it.

        Before two runs are over the primary alone, or all tasks in one model.
        """
        problem = state.problem
        tables = self._build_tables(state, evidence)
        belief = {name: table.as_json() for name, table in tables.items()}
        if problem.primary is not None:
            return _select_agreeing(problem, problem.primary, tables["margin"], belief)
        between = tables["margin"].values[~np.eye(len(problem.names), dtype=bool)]
        if np.isnan(between).all():
            return build_selection(
                problem, group_without_evidence(problem), {**belief, "joined_against_the_rule": False}
            )
        margin = build_affinity(problem.names, np.nan_to_num(tables["margin"].values, nan=_APART), "", "")
        clusters = cluster_by_linkage(margin, 0.0, problem.models)
        joined = problem.models is not None and len(cluster_by_linkage(margin, 0.0)) > problem.models
        groups = Grouping(tuple(Group(tasks, tasks) for tasks in clusters), score=None, proven=False)
        return build_selection(problem, groups, {**belief, "joined_against_the_rule": joined})

    def beliefs(self, belief: Mapping[str, JSON]) -> Iterator[Belief]:
        """What each task does for the primary, and the tables that decide."""
        yield from read_why(belief)
        yield from read_onto_primary(belief)
        for name in _DECIDING:
            yield from read_pairs(name, belief[name])
        if belief.get("joined_against_the_rule"):
            yield Caution(
                "More groups agree than models may be served: the nearest were joined although they do not agree."
            )

    def fewest(self, problem: Problem) -> int:
        """A run of each task; 0 for a single task."""
        return len(problem.names) if len(problem.names) > 1 else 0

    def _build_tables(self, state: SingleRuns, evidence: Evidence) -> dict[str, Affinity]:
        """Every table of ``_MEASURED``; ``nan`` where a number is unknown."""
        names = state.problem.names
        values = {name: np.full((len(names),) * 2, np.nan) for name in _MEASURED}
        for name, probe in (("representation", "hidden_states"), ("gradient", "gradients")):
            runs = {task: evidence[key] for task in names if (key := state.find_key(task, probe))}
            values[name] = read_recorded_table(names, runs, name)
        for places, arrays in _collect_comparable(state, evidence, "hidden_states", "texts"):
            layers = compute_layer_cka([run["hidden"] for run in arrays], unbiased=self.unbiased)
            # A layer that is the same for all texts, such as the embedding of the first token, says nothing.
            informative = np.empty(0) if layers is None else layers[~np.isnan(layers).all(axis=(1, 2))]
            if len(informative):
                values["representation"][places] = informative.min(axis=0)
                values["representation_mean"][places] = informative.mean(axis=0)
        for places, arrays in _collect_comparable(state, evidence, "gradients", "point"):
            over_all, by_block = compute_gradient_cosines([run["projections"] for run in arrays])
            values["gradient"][places] = over_all.mean(axis=0)
            values["conflict"][places] = (by_block.mean(axis=0) < 0).mean(axis=0)
            values["magnitude"][places] = compute_magnitude_similarities([run["norms"] for run in arrays]).mean(axis=0)
        alike = values["representation" if self.layers == "min" else "representation_mean"] - self.representation
        values["margin"] = np.minimum(alike, values["gradient"] - self.gradient)
        return {
            name: build_affinity(names, values[name], "representation_gradient", measured, state.problem.measure_seed)
            for name, measured in _MEASURED.items()
        }


def _select_agreeing(problem: Problem, primary: str, margin: Affinity, belief: Mapping[str, JSON]) -> Selection:
    """The primary and every task that reaches both thresholds with it."""
    row = rank_sources(margin, primary)
    kept = [task for task, above in row.items() if above >= 0]
    if kept:
        return select_for_primary(problem, kept, row, belief)
    nearest = f", the nearest is {next(iter(row))}, by {-next(iter(row.values())):.2f}" if row else ""
    why = f"no task reaches both thresholds with {primary}{nearest}" if row else f"nothing compares with {primary}"
    return select_for_primary(problem, (), row, {**belief, "why": f"{why}: the primary alone"})


def _collect_comparable(state: SingleRuns, evidence: Evidence, probe: str, common: str) -> Iterator[_Comparable]:
    """Sets of comparable runs with arrays of ``probe``: the positions of their pairs and the arrays.

    Runs are comparable if their array ``common`` (the texts, or the point of the gradients) is the same.
    """
    keys = {place: key for place, task in enumerate(state.problem.names) if (key := state.find_key(task, probe))}
    by_common: dict[str, list[int]] = {}
    for place, key in keys.items():
        if common not in evidence[key]:  # recorded pairs, not the arrays of a run
            continue
        by_common.setdefault(str(evidence[key][common]), []).append(place)
    for places in by_common.values():
        yield np.ix_(places, places), [evidence[keys[place]] for place in places]
