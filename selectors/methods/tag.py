"""Which tasks share a model, by the effect of every task on every other in one joint run: task affinity groupings.

Chooses overlapping groups under a budget of models. Source: C. Fifty, E. Amid, Z. Zhao, T. Yu, R. Anil, C. Finn,
"Efficiently Identifying Task Groupings for Multi-Task Learning", NeurIPS 2021, https://arxiv.org/abs/2109.04617. All
tasks are trained together once. Every few steps, for each task i, the shared parameters take one step along the
gradient of i only, and every task j's loss is measured again:

    Z(i -> j) = 1 - L_j after the step of i / L_j before it          above 0: what i learns helps j

averaged over the run. Groups are chosen by ``cover.py``.

Provenance. Eq. 1 and the probe's period are taken from notes on the paper, the selection from the released
notebook, whose published tables it reproduces. Not known: how the paper's headline runs treat a task trained alone.

Where the release differs from the paper, ``released: true`` follows the release: Z is divided by the learning rate, so
that late, small steps count like early ones, and the look-ahead steps as the optimiser does. Even then our step leaves
out the momentum gathered before, while the release's CelebA code adds it to every task's alike.

Where we differ. Tasks with inputs of their own each bring a batch of theirs. The diagonal is of held-out rows, so that
``singletons: true`` can let a task be trained alone; on training rows each task is its own best helper, which is why
the release bans it. The probe drops the first steps, whose losses fall whatever is trained. Beyond 20 tasks groups
start from clusters and are not proven best.

With a primary its own row of the table decides (``grouping.py``): it is trained with every source whose affinity onto
it is above 0. The paper has no primary, and its objective, the mean over all tasks, would let the needs of other tasks
decide.

``order``. A plain step at the learning rate of a pretrained encoder moves a loss by less than a millionth of itself:
in float32, only the first-order term of the exact gain and rounding remain. ``first`` computes that term, in n passes
where ``exact`` takes n², and is therefore the default with ``lookahead: sgd``. A step of the optimiser is large enough
for its curvature to count, so the paper's losses after the step are the default there.

Reliability. The table of every probe is kept, and ``belief`` holds how far the means of odd and of even probes agree
(``affinity.py``): of all rows, each less its mean, since that is what groups are chosen by, or of the primary's row.
If chance explains all of it, all tasks share one model, and with a primary all are trained. Tables recorded with
several seeds are compared seed by seed. Evidence from before probes were kept counts without this test.

It costs one joint run. A probe of n tasks takes about as long as 3 n of its steps; with ``order: exact`` as
n (n + 6) / 3, since every task has a batch of its own and reads it after every other's step. So 8 tasks probed every 10
steps make the run 3.4 times as long, or almost 5 times. Raise ``probe_every`` for many tasks, but leave at least six
probes, since fewer can hardly show anything. A new candidate costs a new run. A pair is judged in the company of all
other tasks, and three tasks that only help together are not seen. Do not use its numbers as predictions: they rank
groups, and correlate weakly with the resulting gain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from auxtune.selectors.beliefs import Belief, read_onto_primary, read_pairs, read_why
from auxtune.selectors.kit.affinity import (
    FEWEST,
    Affinity,
    Reliability,
    build_affinity,
    compute_preferences,
    measure_reliability,
)
from auxtune.selectors.kit.cover import LARGEST, cover, cover_by_clusters
from auxtune.selectors.kit.grouping import (
    MODELS,
    MODELS_UNREAD,
    build_selection,
    group_all,
    group_without_evidence,
    rank_sources,
    select_for_primary,
)
from auxtune.selectors.kit.measured_runs import FromJointRun, JointRun
from auxtune.selectors.kit.options import options
from auxtune.selectors.protocol import JSON, Evidence, Measure, Problem, Selection, Wants

PROBE = "lookahead"
_MEASURED = {
    "affinity": "mean 1 - loss of the recipient after a step of the source / its loss before",
    "per_rate": "mean of the same / learning rate",
    "cosine": "mean cosine of the gradients of recipient and source",
}


@options
class Tag(FromJointRun):
    """The groups of tasks that help each other most when trained together, from one joint run."""

    version: ClassVar[int] = 1
    paper: ClassVar[str | None] = "Fifty et al.: Task Affinity Groupings (2021), https://arxiv.org/abs/2109.04617"
    needs: ClassVar[str] = "memory for a gradient per task"
    costs: ClassVar[str] = "1 run, for n tasks 1 + 3 n / `probe_every` times as long"
    avoid: ClassVar[str] = "what tasks do only together matters"
    unread: ClassVar[Mapping[str, str]] = {"models": MODELS_UNREAD}

    models: int | None = Field(default=None, ge=1, description=f"not read: {MODELS_UNREAD}")
    probe_every: int = Field(default=10, ge=1, description="steps from one probe to the next")
    lookahead: Literal["sgd", "optimiser"] = Field(
        default="sgd", description="how the look-ahead steps: plainly, or as the optimiser"
    )
    order: Literal["exact", "first"] | None = Field(
        default=None,
        description="losses after each step, or their first-order estimate; null: first with `sgd`, else exact",
    )
    per_rate: bool = Field(
        default=False, description="divide by the learning rate, so that late steps count like early ones"
    )
    variant: Literal["affinity", "cosine"] = Field(
        default="affinity", description="look-ahead, or the paper's baseline: gradient cosines"
    )
    singletons: bool = Field(
        default=False, description="of groups: a task may be trained alone, worth its held-out affinity to itself"
    )
    released: bool = Field(
        default=False, description="as the released code: `per_rate: true` and `lookahead: optimiser`"
    )

    def __post_init__(self) -> None:
        if self.singletons and self.variant == "cosine":
            raise ValueError("selector.singletons must be false with variant: cosine, 1 for each task with itself")

    def wants(self) -> Wants:
        """Its answers and the needs of its runs."""
        return Wants(frozenset({"primary", "groups"}), "groups", frozenset({"measure"}))

    @property
    def measure(self) -> Measure:
        """The look-ahead of every task's steps onto every other's loss."""
        step = "optimiser" if self.released else self.lookahead
        order = self.order or ("first" if step == "sgd" else "exact")
        return Measure(PROBE, {"every": self.probe_every, "step": step, "order": order})

    def select(self, state: JointRun, evidence: Evidence) -> Selection:
        """The best groups, or the primary with its helpers; all tasks together if the table is noise.

        Before there is evidence the primary alone, or without one all tasks in one model.
        """
        problem, affinity = state.problem, self._read_affinity(state, evidence)
        if affinity is None or state.key is None:
            return build_selection(problem, group_without_evidence(problem), {"affinity": None})
        reliability = self._measure_replicates(problem, evidence[state.key])
        known = None if reliability is None else reliability.as_json()
        belief: dict[str, JSON] = {"affinity": affinity.as_json(), "reliability": known}
        if problem.primary is not None:
            return _select_helpful(problem, problem.primary, affinity, reliability, belief)
        if reliability is not None and not reliability.shown:
            why = f"{_explain_noise(reliability, affinity)}: one model"
            return build_selection(problem, group_all(problem), {**belief, "why": why})
        finalise = cover if len(affinity.tasks) <= LARGEST else cover_by_clusters
        grouped = finalise(affinity, problem.models or self.models or MODELS, self.singletons)
        return build_selection(problem, grouped, {**belief, "score": grouped.score, "proven": grouped.proven})

    def beliefs(self, belief: Mapping[str, JSON]) -> Iterator[Belief]:
        """The affinities, the primary's row of them, and how far their probes agree."""
        yield from read_why(belief)
        yield from read_onto_primary(belief)
        if reliability := belief.get("reliability"):
            yield Reliability.from_json(reliability)
        yield from read_pairs("affinity", belief["affinity"])

    @property
    def _table(self) -> Literal["affinity", "per_rate", "cosine"]:
        """The name of the array that is used."""
        return "cosine" if self.variant == "cosine" else "per_rate" if self.per_rate or self.released else "affinity"

    def _read_affinity(self, state: JointRun, evidence: Evidence) -> Affinity | None:
        """The table of the joint run; ``None`` if there is none yet, or the run was too short for a probe."""
        if state.key is None:
            return None
        arrays = evidence[state.key]
        details = {"probes": int(arrays["probes"]), "diagonal": "held-out" if self._table != "cosine" else "train"}
        tasks, seed = [str(task) for task in arrays["tasks"]], state.problem.measure_seed
        affinity = build_affinity(tasks, arrays[self._table], "tag", _MEASURED[self._table], seed, details)
        alone = self.singletons and state.problem.primary is None
        needed = np.isfinite(np.diag(affinity.values)).all() or not alone
        return affinity.restrict_to(state.problem.names) if affinity.known and needed else None

    def _measure_replicates(self, problem: Problem, arrays: Mapping[str, np.ndarray]) -> Reliability | None:
        """How far the tables of single probes agree; ``None`` if the evidence is older and holds no such tables.

        Also ``None``, because it is not needed, for two tasks that can only share a model.
        """
        tables, apart = _read_replicates(arrays, self._table), self.singletons and problem.primary is None
        if tables is None or (len(problem.names) == 2 and problem.primary is None and not apart):
            return None
        tasks, size = [str(task) for task in arrays["tasks"]], len(problem.names)
        places = [tasks.index(name) for name in problem.names]
        tables = tables[:, places][:, :, places]
        rows = np.array([compute_preferences(table, own=apart) for table in tables])
        free = size * (size - (1 if apart else 2)) / 2
        if problem.primary is not None and len(tables) >= FEWEST:  # with fewer, one row cannot be told from luck
            own = problem.names.index(problem.primary)
            rows = np.delete(tables[:, own], own, axis=1)
        return measure_reliability(rows, free, problem.measure_seed)


def _read_replicates(arrays: Mapping[str, np.ndarray], table: str) -> np.ndarray | None:
    """The table of each probe, or of each recorded seed, (replicates, tasks, tasks); ``None`` if there is none."""
    if f"each_{table}" in arrays:
        return np.asarray(arrays[f"each_{table}"], float)
    if table == "per_rate" and {"each_affinity", "rates"} <= arrays.keys():
        return np.asarray(arrays["each_affinity"] / arrays["rates"][:, None, None], float)
    if table == "cosine" and "gram" in arrays:
        lengths = np.sqrt(np.diagonal(arrays["gram"], axis1=1, axis2=2))
        both = lengths[:, :, None] * lengths[:, None, :]
        cosines: np.ndarray = np.divide(arrays["gram"], both, out=np.zeros(both.shape), where=both > 0)
        return cosines
    return None


def _select_helpful(
    problem: Problem, primary: str, affinity: Affinity, reliability: Reliability | None, belief: Mapping[str, JSON]
) -> Selection:
    """The primary with every source that helps it; with all tasks if that cannot be told from chance."""
    row = rank_sources(affinity, primary)
    if reliability is not None and not reliability.shown:
        why = f"{_explain_noise(reliability, affinity)}: all tasks"
        return select_for_primary(problem, problem.names, row, {**belief, "why": why})
    kept = [source for source, gain in row.items() if gain > 0]
    alone = {} if kept else {"why": f"no task does anything for {primary}: the primary alone"}
    return select_for_primary(problem, kept, row, {**belief, **alone})


def _explain_noise(reliability: Reliability, affinity: Affinity) -> str:
    """The reason for not believing the table."""
    several = reliability.replicates > 1
    what = ("probe" if affinity.details["probes"] else "recorded run") + ("s" if several else "")
    if reliability.p is None:
        are = "are" if several else "is"
        return f"{reliability.replicates} {what} {are} too few to tell what was measured from chance"
    return f"what {reliability.replicates} {what} measured is no more than chance explains (p = {reliability.p:.2f})"
