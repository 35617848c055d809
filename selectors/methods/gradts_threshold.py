"""Which tasks use the encoder's heads as the primary does: GradTS with a threshold.

Chooses a subset. Source: the finaliser ``thres`` of W. Ma, R. Lou, K. Zhang, L. Wang, S. Vosoughi, "GradTS: A
Gradient-Based Automatic Auxiliary Task Selection Method Based on Transformer Networks", EMNLP 2021,
https://arxiv.org/abs/2109.05748. Each task is fine-tuned alone, the importance of its attention heads is measured, and
every auxiliary is kept whose profile has a Kendall tau of at least ``threshold`` with the primary's.

Provenance. Verified in the authors' code: this finaliser (the published paper shows the other two), normalised
profiles (``head_profiles.py``), and thresholds of 0.60 (``bert-base-cased``) and 0.62 (``bert-large-cased``) behind
its selections; those of other encoders are only hinted at, so they are not offered.

Where we differ. All tasks share how importance falls with depth, and the heads of a pretrained encoder that matter for
anything at all; so every tau is well above 0, by an amount that depends on the encoder. The default threshold is
therefore measured: ``twins`` of the auxiliaries, of each in turn, learn from their own texts with shuffled labels, and
an auxiliary must be more like the primary than one more such twin would be with 95 % probability: mean + 2.01 standard
deviations of the taus of 8, 2.34 of 5, 3.37 of 3, 7.73 of 2 (the prediction bound of a normal draw, by Student's t).
Twins of the primary would be the wrong measure: they share all its texts, which auxiliaries do not, so that they are
more like it than a task that has nothing to do with it.

No power. If the twins are few or differ much, the bound can exceed 1, which no tau can reach; fewer than two twins give
no bound. Then nothing was tested: ``belief`` says so, and the answer is all tasks, as in other methods here that find
nothing they can believe. It is different if the bound could have been reached and was not: the answer is the primary
alone. With few heads in all (the encoder ``tiny`` has four) two profiles are alike or opposite by chance, so expect no
power.

``released: true`` takes importance as the authors' code does: from gradients of key and value weights, split along
their inputs and not along the outputs, which are what belongs to a head; over the training rows; with layers divided by
their sum. By default importance is that of head masks over the probe rows, with layers divided by their L2 norm. In
both, dropout is off where theirs is on, and each row's gradient is made absolute where theirs is a batch's. The
published thresholds were found with theirs.

It costs one single-task run per task and ``twins`` more for the default threshold, all side by side; the runs serve
other methods and studies. A failed run takes its task out; without the primary's run nothing can be compared and the
answer is the primary alone. Do not use it where likeness is not help: tau is symmetric and does not say which of two
tasks helps the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field
from scipy import stats

from auxtune.selectors.beliefs import Belief, read_why
from auxtune.selectors.kit.grouping import keep_at_least
from auxtune.selectors.kit.head_profiles import (
    RELEASED,
    choose_rows_norm,
    list_twin_taus,
    list_unmeasured,
    measure_heads,
    measure_taus,
    rank_by_tau,
    read_taus,
)
from auxtune.selectors.kit.measured_runs import FromSingleRuns, SingleRuns, plan_single_runs
from auxtune.selectors.kit.options import options
from auxtune.selectors.protocol import JSON, Done, Evidence, Problem, Proposal, Selection, Wants

_SURE = 0.95  # how surely one more twin would stay below the threshold
_PUBLISHED = {"bert-base-cased": 0.60, "bert-large-cased": 0.62}


@options
class GradTSThreshold(FromSingleRuns):
    """The auxiliaries whose attention heads matter as the primary's do, more than chance explains."""

    version: ClassVar[int] = 1
    paper: ClassVar[str | None] = "Ma, Lou, Zhang, Wang, Vosoughi: GradTS (2021), https://arxiv.org/abs/2109.05748"
    needs: ClassVar[str] = "an encoder with attention heads"
    costs: ClassVar[str] = "a run per task, and `twins` for the default threshold"
    avoid: ClassVar[str] = "helping goes one way only: tau is symmetric"

    threshold: Annotated[float, Field(ge=-1)] | Literal["published"] | None = Field(
        default=None,
        description="the least tau with the primary; null: measured on label-shuffled twins of the auxiliaries",
    )
    twins: int = Field(default=8, ge=2, description="twins for the measured threshold; fewer cost less and raise it")
    backbone: Literal["bert-base-cased", "bert-large-cased"] | None = Field(
        default=None, description="the encoder whose threshold `published` is"
    )
    released: bool = Field(default=False, description=RELEASED)

    def __post_init__(self) -> None:
        if (self.threshold == "published") != (self.backbone is not None):
            known = ", ".join(_PUBLISHED)
            raise ValueError(
                f"selector.threshold published and selector.backbone ({known}) must be given together, "
                f"got {self.threshold!r} and {self.backbone!r}; set both, or leave out both for a measured threshold"
            )

    def wants(self) -> Wants:
        """Its answers and the needs of its runs."""
        return Wants(frozenset({"primary"}), "subset", frozenset({"measure"}))

    def start(self, problem: Problem) -> SingleRuns:
        """No run yet. Raises ``ValueError`` without a primary."""
        problem.require_primary()
        return plan_single_runs(problem, twins=self.twins if self.threshold is None and problem.auxiliaries else 0)

    def propose(self, state: SingleRuns, evidence: Evidence) -> Proposal | Done:
        """The next run, any number side by side; none without an auxiliary to compare."""
        if not state.problem.auxiliaries:
            return Done()
        return state.propose_next((measure_heads(self.released),)) or Done()

    def select(self, state: SingleRuns, evidence: Evidence) -> Selection:
        """The primary and the auxiliaries like it, or all tasks if the test had no power.

        ``belief`` holds the taus, those of the twins, and the threshold.
        """
        problem = state.problem
        taus = measure_taus(state, evidence, choose_rows_norm(self.released))
        ranking, twins = rank_by_tau(taus), list_twin_taus(state, taus)
        threshold = self._choose_threshold(twins)
        belief: dict[str, JSON] = {
            "tau": ranking,
            "twins": twins,
            "threshold": threshold,
            "failed": list_unmeasured(state),
        }
        like: Collection[str] = () if threshold is None else keep_at_least(ranking, threshold)
        if ranking and (threshold is None or (self.threshold is None and threshold > 1)):
            belief["why"], like = f"{_explain_no_power(threshold, twins)}: all tasks", problem.names
        elif not like:
            belief["why"] = f"{_explain_none(ranking, threshold)}: the primary alone"
        tasks = tuple(name for name in problem.names if name in like or name == problem.primary)
        return Selection("mixture", tasks, belief=belief)

    def beliefs(self, belief: Mapping[str, JSON]) -> Iterator[Belief]:
        """How alike each task's heads are to the primary's, with the twins and the threshold."""
        yield from read_why(belief)
        yield from read_taus(belief)

    def fewest(self, problem: Problem) -> int:
        """Every run; 0 without an auxiliary."""
        return len(self.start(problem).wanted) if problem.auxiliaries else 0

    def _choose_threshold(self, twins: Sequence[float]) -> float | None:
        """The threshold as given, as published, or from the twins; ``None`` if these are too few."""
        if self.backbone is not None:
            return _PUBLISHED[self.backbone]
        if isinstance(self.threshold, (int, float)):
            return float(self.threshold)
        return bound_prediction(twins) if len(twins) > 1 else None


def bound_prediction(draws: Sequence[float]) -> float:
    """The bound that one further draw stays below with 95 % probability, from at least two normal ``draws``.

    Mean + t · s · √(1 + 1/n) with Student's t of n - 1 degrees of freedom.
    """
    factor = float(stats.t.ppf(_SURE, len(draws) - 1)) * (1 + 1 / len(draws)) ** 0.5
    return float(np.mean(draws) + factor * np.std(draws, ddof=1))


def _explain_no_power(threshold: float | None, twins: Sequence[float]) -> str:
    """Why the twins can tell no auxiliary from chance."""
    if threshold is None:
        return "the test had no power: fewer than two twins gave importances, so there is no threshold"
    return f"the test had no power: {len(twins)} twins put the threshold at {threshold:.2f}, and no tau is above 1"


def _explain_none(ranking: Mapping[str, float], threshold: float | None) -> str:
    if not ranking or threshold is None:
        return "no auxiliary could be compared with the primary"
    beyond = ", which is above 1 and cannot be reached" if threshold > 1 else ""
    return f"no auxiliary reaches the threshold {threshold:.2f}{beyond}"
