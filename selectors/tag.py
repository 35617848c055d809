"""Which tasks share a model, from what one joint run measures of every pair: task affinity groupings.

Chooses overlapping groups under a budget of models. Source: C. Fifty, E. Amid, Z. Zhao, T. Yu, R. Anil, C. Finn,
"Efficiently Identifying Task Groupings for Multi-Task Learning", NeurIPS 2021, https://arxiv.org/abs/2109.04617. All
tasks are trained together once. Every few steps, for each task i, the shared parameters take one step along the
gradient of i only, and every task j's loss is looked at again:

    Z(i -> j) = 1 - L_j after the step of i / L_j before it          above 0: what i learns helps j

averaged over the run. The groups are those of ``cover.py``.

What is known how. Eq. 1 and the probe's period as notes on the paper give them, the selection from the released
notebook, whose published tables it reproduces. Not known: how the paper's headline runs treat a task trained alone.

Where the release differs from the paper it is followed by ``released: true``: Z is divided by the learning rate, so
that late, small steps count like early ones, and the look-ahead steps as the optimiser does. Even then the momentum
gathered before is left out of our step, while the release's CelebA code adds it to every task's alike.

Where we differ. Tasks with inputs of their own each bring a batch of theirs; the diagonal is of held-out rows, so that
``singletons: true`` can let a task be trained alone (on training rows that is always its own best helper, which is why
the release bans it); the first steps, whose losses fall whatever is trained, are dropped by the probe. Beyond 20 tasks
groups start from clusters and are not proven best. With a primary, the answer is the group that serves it.

One joint run. A probe of n tasks costs about as much as n (n + 6) / 3 of its steps, since every task has a batch of
its own and looks at it after every other's step; with ``order: first`` as much as 3 n. So 8 tasks probed every 10
steps make it almost 5 times as long, or 3.4 times: raise ``probe_every`` for many tasks. A new candidate costs a new
run. A pair is judged beside all other tasks, and three that only help together are not seen. Do not use it for what
its numbers predict: they rank groups, and correlate weakly with the gain that comes of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from auxtune.selectors.affinity import Affinity, affinity_of
from auxtune.selectors.cover import LARGEST, clustered, cover
from auxtune.selectors.grouping import alone_or_together, answer
from auxtune.selectors.options import check, option
from auxtune.selectors.protocol import Answer, Done, Evidence, Measure, Outcome, Problem, Proposal, Selection

PROBE = "lookahead"
_MEASURED = {
    "affinity": "mean 1 - loss of the recipient after a step of the source / its loss before",
    "per_rate": "mean of the same / learning rate",
    "cosine": "mean cosine of the gradients of recipient and source",
}


@dataclass(frozen=True)
class TagState:
    """Whether the joint run was asked for, and where its evidence is once it went well."""

    problem: Problem
    asked: bool = False
    key: str | None = None


@dataclass(frozen=True)
class Tag:
    """The groups of tasks that help each other most when trained together, from one joint run."""

    paper: ClassVar[str | None] = "Fifty et al.: Task Affinity Groupings (2021), https://arxiv.org/abs/2109.04617"
    answers: ClassVar[Answer] = "groups"
    needs_primary: ClassVar[bool] = False
    groups: ClassVar[bool] = True
    needs: ClassVar[str] = "memory for a gradient per task"
    costs: ClassVar[str] = "1 run, for n tasks 1 + n (n + 6) / (3 `probe_every`) times as long"
    avoid: ClassVar[str] = "what tasks do only together matters"

    models: int = option(3, "with a primary, the most groups; without one the study's `models` counts", least=1)
    probe_every: int = option(10, "steps from one probe to the next", least=1)
    lookahead: Literal["sgd", "optimiser"] = option("sgd", "how the look-ahead steps: plainly, or as the optimiser")
    order: Literal["exact", "first"] = option("exact", "losses after each step, or their first-order estimate")
    per_rate: bool = option(False, "divide by the learning rate, so that late steps count like early ones")
    variant: Literal["affinity", "cosine"] = option("affinity", "look-ahead, or the paper's baseline: gradient cosines")
    singletons: bool = option(False, "let a task be trained alone, worth its held-out affinity to itself")
    released: bool = option(False, "as the released code: `per_rate: true` and `lookahead: optimiser`")

    def __post_init__(self) -> None:
        check(type(self), vars(self))
        if self.singletons and self.variant == "cosine":
            raise ValueError("selector.singletons must be false with variant: cosine, 1 for each task with itself")

    def start(self, problem: Problem) -> TagState:
        """Nothing asked for."""
        return TagState(problem)

    def propose(self, state: TagState, evidence: Evidence) -> Proposal | Done:
        """All tasks together, once; nothing where there is one task only."""
        if state.asked or len(state.problem.names) == 1:
            return Done()
        step = "optimiser" if self.released else self.lookahead
        measure = Measure(PROBE, {"every": self.probe_every, "step": step, "order": self.order})
        return Proposal(state.problem.names, measure=(measure,), seed=state.problem.measure_seed, stage="joint")

    def proposed(self, state: TagState, number: int, proposal: Proposal) -> TagState:
        """The joint run is under way."""
        return replace(state, asked=True)

    def told(self, state: TagState, number: int, outcome: Outcome) -> TagState:
        """The joint run is over, well or not."""
        return replace(state, key=outcome.evidence.get(PROBE))

    def select(self, state: TagState, evidence: Evidence) -> Selection:
        """The best groups; before anything is known the primary alone, without one all tasks in one."""
        affinity = self._affinity(state, evidence)
        if affinity is None:
            return answer(state.problem, alone_or_together(state.problem), {"affinity": None})
        models = state.problem.models if state.problem.primary is None else None
        finalise = cover if len(affinity.tasks) <= LARGEST else clustered
        grouped = finalise(affinity, models or self.models, self.singletons)
        belief = {"affinity": affinity.as_json(), "score": grouped.score, "proven": grouped.proven}
        return answer(state.problem, grouped, belief)

    def fewest(self, problem: Problem) -> int:
        """The joint run, unless there is one task only."""
        return min(1, len(problem.names) - 1)

    def _affinity(self, state: TagState, evidence: Evidence) -> Affinity | None:
        """What the joint run measured; ``None`` where it has not, or was too short for a probe."""
        if state.key is None:
            return None
        arrays = evidence[state.key]
        array = "cosine" if self.variant == "cosine" else "per_rate" if self.per_rate or self.released else "affinity"
        details = {"probes": int(arrays["probes"]), "diagonal": "held-out" if array != "cosine" else "train"}
        tasks = [str(task) for task in arrays["tasks"]]
        affinity = affinity_of(tasks, arrays[array], "tag", _MEASURED[array], state.problem.measure_seed, details)
        needed = np.isfinite(np.diag(affinity.values)).all() or not self.singletons
        return affinity.among(state.problem.names) if affinity.known and needed else None
