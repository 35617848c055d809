"""Which tasks use the encoder's heads as the primary does: GradTS with a threshold.

Chooses a subset. Source: the finaliser ``thres`` of W. Ma, R. Lou, K. Zhang, L. Wang, S. Vosoughi, "GradTS: A
Gradient-Based Automatic Auxiliary Task Selection Method Based on Transformer Networks", EMNLP 2021,
https://arxiv.org/abs/2109.05748. Each task is fine-tuned alone, the importance of its attention heads is measured, and
every auxiliary is kept whose profile has a Kendall tau of at least ``threshold`` with the primary's.

What is known how. Verified in the authors' code: this finaliser (the published paper shows the other two), normalised
profiles (``head_profiles.py``), and thresholds of 0.60 (``bert-base-cased``) and 0.62 (``bert-large-cased``) behind
its selections; those of other encoders are only hinted at, so they are not offered.

Where we differ. All tasks share how importance falls with depth and which heads of a pretrained encoder matter for
anything, so every tau lies well above 0, by how much depends on the encoder. The default threshold is therefore
measured: ``twins`` of the auxiliaries, of each in turn, learn from their own texts with shuffled labels, and an
auxiliary must be more like the primary than one more such twin would be with 95 % probability: mean + 2.01 standard
deviations of the taus of 8, 2.34 of 5, 3.37 of 3, 7.73 of 2 (the prediction bound of a normal draw, by Student's t).
Twins of the primary would be the wrong measure: they share all its texts, which auxiliaries do not, so that they are
more like it than a task that has nothing to do with it.

No power. Where the twins are few or differ much the bound can lie above 1, which no tau can reach, and fewer than two
twins give none. Then nothing was tested: ``belief`` says so, and the answer is all tasks, as that of other methods here
which find nothing that they can believe. A bound that could have been reached and was not is another matter: the answer
is the primary alone. With few heads in all (the encoder ``tiny`` has four) two profiles are alike or opposite by
chance, and no power is what is to be expected.

``released: true`` takes importance as the authors' code does: gradients of key and value weights, cut along their
inputs and not along the outputs, which are what belongs to a head; over the training rows; layers divided by their sum.
By default it is that of head masks over the probe rows, with layers by their L2 norm. Dropout is off in both and theirs
is on, and each row's gradient is made absolute where theirs is a batch's. The published thresholds were found with
theirs.

Costs one single-task run per task and ``twins`` more for the default threshold, all side by side; the runs serve other
methods and studies. A run that failed takes its task out; without the primary's nothing can be compared and the answer
is the primary alone. Do not use it where what helps differs from what is alike: tau is symmetric and says nothing of
who helps whom.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field
from scipy import stats

from auxtune.selectors.beliefs import Belief, read_why
from auxtune.selectors.kit.grouping import at_least
from auxtune.selectors.kit.head_profiles import (
    RELEASED,
    measure_heads,
    rank_by_tau,
    read_taus,
    rows_norm,
    taus_of,
    twins_of,
    unmeasured,
)
from auxtune.selectors.kit.measured_runs import FromSingleRuns, SingleRuns, single_runs
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
        """What it can answer and what its runs need."""
        return Wants(frozenset({"primary"}), "subset", frozenset({"measure"}))

    def start(self, problem: Problem) -> SingleRuns:
        """No run yet. Raises ``ValueError`` without a primary."""
        problem.require_primary()
        return single_runs(problem, twins=self.twins if self.threshold is None and problem.auxiliaries else 0)

    def propose(self, state: SingleRuns, evidence: Evidence) -> Proposal | Done:
        """The next run, any number side by side; none where there is no auxiliary to compare."""
        if not state.problem.auxiliaries:
            return Done()
        return state.next((measure_heads(self.released),)) or Done()

    def select(self, state: SingleRuns, evidence: Evidence) -> Selection:
        """The primary and what is like it, or all tasks where that was not tested.

        ``belief`` holds taus, those of twins, and the threshold.
        """
        problem = state.problem
        taus = taus_of(state, evidence, rows_norm(self.released))
        ranking, twins = rank_by_tau(taus), twins_of(state, taus)
        threshold = self._threshold(twins)
        belief: dict[str, JSON] = {"tau": ranking, "twins": twins, "threshold": threshold, "failed": unmeasured(state)}
        like: Collection[str] = () if threshold is None else at_least(ranking, threshold)
        if ranking and (threshold is None or (self.threshold is None and threshold > 1)):
            belief["why"], like = f"{_no_power(threshold, twins)}: all tasks", problem.names
        elif not like:
            belief["why"] = f"{_why_none(ranking, threshold)}: the primary alone"
        tasks = tuple(name for name in problem.names if name in like or name == problem.primary)
        return Selection("mixture", tasks, belief=belief)

    def beliefs(self, belief: Mapping[str, JSON]) -> Iterator[Belief]:
        """How alike each task's heads are to the primary's, with the twins and the threshold."""
        yield from read_why(belief)
        yield from read_taus(belief)

    def fewest(self, problem: Problem) -> int:
        """Every run; 0 where there is no auxiliary."""
        return len(self.start(problem).wanted) if problem.auxiliaries else 0

    def _threshold(self, twins: Sequence[float]) -> float | None:
        """As given, as published, or from the twins; ``None`` where these are too few."""
        if self.backbone is not None:
            return _PUBLISHED[self.backbone]
        if isinstance(self.threshold, (int, float)):
            return float(self.threshold)
        return prediction_bound(twins) if len(twins) > 1 else None


def prediction_bound(draws: Sequence[float]) -> float:
    """What one more of at least two normal ``draws`` stays below with 95 % probability."""
    factor = float(stats.t.ppf(_SURE, len(draws) - 1)) * (1 + 1 / len(draws)) ** 0.5
    return float(np.mean(draws) + factor * np.std(draws, ddof=1))


def _no_power(threshold: float | None, twins: Sequence[float]) -> str:
    """Why the twins can tell no auxiliary from chance."""
    if threshold is None:
        return "the test had no power: fewer than two twins gave importances, so there is no threshold"
    return f"the test had no power: {len(twins)} twins put the threshold at {threshold:.2f}, and no tau is above 1"


def _why_none(ranking: Mapping[str, float], threshold: float | None) -> str:
    if not ranking or threshold is None:
        return "no auxiliary could be compared with the primary"
    beyond = ", which is above 1 and cannot be reached" if threshold > 1 else ""
    return f"no auxiliary reaches the threshold {threshold:.2f}{beyond}"
