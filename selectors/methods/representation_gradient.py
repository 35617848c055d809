"""Which tasks may share a model: those whose own models represent texts alike and whose gradients do not conflict.

Chooses groups, or with a primary the tasks that may share with it. The idea is that of A. Sehanobish et al.,
"Explaining the Effectiveness of Multi-Task Learning for Efficient Knowledge Extraction from Spine MRI Reports", NAACL
2022 industry track, https://arxiv.org/abs/2205.02979: one model can stand for task-specific ones where these have
similar representations in all hidden layers and gradients that point the same way. The rule is ours: of the paper only
that claim is known here, not which indices, thresholds or decision it takes, if any.

The rule. Each task is trained alone. All these models read the same texts, and each task's gradients are taken at one
common point, in several batches.

    S_rep(i, j)    the least over layers of the linear CKA of i's and j's hidden states (``layers: mean``: the mean)
    S_grad(i, j)   the mean over batches of the cosine of i's and j's gradients
    i and j agree  where S_rep >= ``representation`` and S_grad >= ``gradient``

Groups are the clusters of complete linkage on the smaller of the two margins over the thresholds, so that every pair
in a group agrees. Where that makes more groups than models may be served, the nearest are joined although they do not
agree, and ``belief`` says so. With a primary no group is made: every task that agrees with it may share its model,
whether these agree with each other or not (``grouping.py``). A task whose run failed agrees with nobody, nor does
any over too few texts, or two over different ones.

A run for each task, all side by side, which other methods that measure single-task runs share; a new candidate costs
one. The comparison costs pairs × layers × texts × width²: seconds. Do not use it to rank helpers of a primary: it says
who is alike, and tasks alike need not help. Models that start from one encoder stay alike in the lower layers whatever
they learn, so that thresholds mean little across encoders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal, TypeAlias

import numpy as np
from pydantic import Field

from auxtune.selectors.beliefs import Belief, Caution, read_onto_primary, read_pairs, read_why
from auxtune.selectors.kit.affinity import Affinity, make_affinity
from auxtune.selectors.kit.grouping import (
    Group,
    Grouping,
    alone_or_together,
    answer,
    answer_for_primary,
    complete_linkage,
    row_of,
)
from auxtune.selectors.kit.measured_runs import FromSingleRuns, SingleRuns, single_runs
from auxtune.selectors.kit.options import options
from auxtune.selectors.kit.similarity import gradient_cosines, layer_cka, magnitude_similarities, read_recorded_table
from auxtune.selectors.protocol import JSON, Done, Evidence, Measure, Problem, Proposal, Selection, Wants

_MEASURED = {
    "representation": "least linear CKA of hidden states over the layers",
    "representation_mean": "mean linear CKA of hidden states over the layers",
    "gradient": "mean cosine of gradients at a common point",
    "conflict": "share of the blocks of parameters in which the mean cosine is below 0",
    "magnitude": "mean magnitude similarity of the same gradients",
    "margin": "the smaller of what similarity and cosine have above their thresholds",
}
_DECIDING = ("representation", "gradient", "margin")  # the others are told, and decide nothing
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
        """What it can answer and what its runs need."""
        return Wants(frozenset({"primary", "groups"}), "groups", frozenset({"measure"}))

    def start(self, problem: Problem) -> SingleRuns:
        """Nothing asked for."""
        return single_runs(problem)

    def propose(self, state: SingleRuns, evidence: Evidence) -> Proposal | Done:
        """Each task alone, the primary first; nothing where there is one task only."""
        if len(state.wanted) == 1:
            return Done()
        return state.next((Measure("hidden_states"), Measure("gradients", {"batches": self.batches}))) or Done()

    def select(self, state: SingleRuns, evidence: Evidence) -> Selection:
        """Groups in which every pair agrees, or the primary and those that agree with it.

        Before any two runs are over the primary alone, or all tasks in one.
        """
        problem = state.problem
        tables = self._tables(state, evidence)
        belief = {name: table.as_json() for name, table in tables.items()}
        if problem.primary is not None:
            return _for_primary(problem, problem.primary, tables["margin"], belief)
        between = tables["margin"].values[~np.eye(len(problem.names), dtype=bool)]
        if np.isnan(between).all():
            return answer(problem, alone_or_together(problem), {**belief, "joined_against_the_rule": False})
        margin = make_affinity(problem.names, np.nan_to_num(tables["margin"].values, nan=_APART), "", "")
        clusters = complete_linkage(margin, 0.0, problem.models)
        joined = problem.models is not None and len(complete_linkage(margin, 0.0)) > problem.models
        groups = Grouping(tuple(Group(tasks, tasks) for tasks in clusters), score=None, proven=False)
        return answer(problem, groups, {**belief, "joined_against_the_rule": joined})

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
        """A run of each task, unless there is one only."""
        return len(problem.names) if len(problem.names) > 1 else 0

    def _tables(self, state: SingleRuns, evidence: Evidence) -> dict[str, Affinity]:
        """Every number about pairs, by ``_MEASURED``; ``nan`` where it is not known."""
        names = state.problem.names
        values = {name: np.full((len(names),) * 2, np.nan) for name in _MEASURED}
        for name, probe in (("representation", "hidden_states"), ("gradient", "gradients")):
            runs = {task: evidence[key] for task in names if (key := state.key(task, probe))}
            values[name] = read_recorded_table(names, runs, name)
        for places, arrays in _comparable(state, evidence, "hidden_states", "texts"):
            layers = layer_cka([run["hidden"] for run in arrays], unbiased=self.unbiased)
            # A layer that is the same for all texts, such as the embedding of a first token, says nothing.
            said = np.empty(0) if layers is None else layers[~np.isnan(layers).all(axis=(1, 2))]
            if len(said):
                values["representation"][places] = said.min(axis=0)
                values["representation_mean"][places] = said.mean(axis=0)
        for places, arrays in _comparable(state, evidence, "gradients", "point"):
            over_all, by_block = gradient_cosines([run["projections"] for run in arrays])
            values["gradient"][places] = over_all.mean(axis=0)
            values["conflict"][places] = (by_block.mean(axis=0) < 0).mean(axis=0)
            values["magnitude"][places] = magnitude_similarities([run["norms"] for run in arrays]).mean(axis=0)
        alike = values["representation" if self.layers == "min" else "representation_mean"] - self.representation
        values["margin"] = np.minimum(alike, values["gradient"] - self.gradient)
        return {
            name: make_affinity(names, values[name], "representation_gradient", measured, state.problem.measure_seed)
            for name, measured in _MEASURED.items()
        }


def _for_primary(problem: Problem, primary: str, margin: Affinity, belief: Mapping[str, JSON]) -> Selection:
    """The primary and every task that reaches both thresholds with it."""
    row = row_of(margin, primary)
    kept = [task for task, above in row.items() if above >= 0]
    if kept:
        return answer_for_primary(problem, kept, row, belief)
    nearest = f", the nearest is {next(iter(row))}, by {-next(iter(row.values())):.2f}" if row else ""
    why = f"no task reaches both thresholds with {primary}{nearest}" if row else f"nothing compares with {primary}"
    return answer_for_primary(problem, (), row, {**belief, "why": f"{why}: the primary alone"})


def _comparable(state: SingleRuns, evidence: Evidence, probe: str, common: str) -> Iterator[_Comparable]:
    """The runs with arrays of ``probe`` and the places of their pairs, apart where what must be ``common`` differs."""
    found = {place: key for place, task in enumerate(state.problem.names) if (key := state.key(task, probe))}
    by_common: dict[str, list[int]] = {}
    for place, key in found.items():
        if common not in evidence[key]:  # pairs that were recorded, not the arrays of a run
            continue
        by_common.setdefault(str(evidence[key][common]), []).append(place)
    for places in by_common.values():
        yield np.ix_(places, places), [evidence[found[place]] for place in places]
