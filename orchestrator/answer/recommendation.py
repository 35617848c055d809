"""Which arm of confirm is best: the selection, or a control that is surely better than it.

A control is better for sure where the interval of its lift lies below 0 at the level 1 - 0.05 / k for k controls
(Bonferroni; Dunn 1961, Journal of the American Statistical Association 56): then all k comparisons hold together with
95 %. Of several such controls the one with the best mean is recommended. Controls that train what the selection trains
are no comparisons and do not count. The intervals that people are shown stay at 95 %.

The decision is made once, when the answer is made, and is in ``selection.json`` as ``recommended``; whatever shows an
answer reads it there by ``Answer.recommendation``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from auxtune.orchestrator.answer.lift import LEVEL, Lift, MeanLift
from auxtune.orchestrator.planning.arms import SELECTION

SINGLE = "single_task"
Why: TypeAlias = Literal["control", "gain", "no_gain", "same_training", "more_models", "uncertain", "unmeasured"]


@dataclass(frozen=True)
class Recommendation:
    """The arm whose training is best by what is sure, and why.

    - ``control``: that control is better than the selection for sure; in all other cases the arm is the selection
    - ``gain``: it is better than single task for sure, and no control is better than it for sure
    - ``no_gain``: neither is better for sure, it or single task
    - ``same_training``: it is single task's training itself
    - ``more_models``: single task is better for sure, but takes more models than may be served
    - ``uncertain``: there are too few seeds for an interval; ``unmeasured``: single task was not trained
    """

    arm: str
    why: Why
    level: float | None = field(default=None, compare=False)
    """The level of the intervals that decided; ``None`` where that is not recorded."""


def correct_level(lifts: Mapping[str, Lift | None]) -> float:
    """The level at which the intervals of these lifts, by control, hold together with 95 %."""
    compared = [lift for lift in lifts.values() if lift is not None and not lift.same_training]
    return 1 - (1 - LEVEL) / max(1, len(compared))


def recommend(lifts: Mapping[str, Lift | None], models: int | None = None) -> Recommendation:
    """The best arm, by ``lifts`` over each control with intervals at ``correct_level`` them.

    ``models`` is how many may be served: a control of groups that takes more is not recommended.
    """
    known = {name: lift for name, lift in lifts.items() if lift is not None and lift.high is not None}
    better = {name: lift for name, lift in known.items() if lift.high is not None and lift.high < 0}
    taken = {name: lift.mean for name, lift in better.items() if not _needs_more(lift, models)}
    if taken:
        return Recommendation(min(taken, key=lambda name: taken[name]), "control")
    return Recommendation(SELECTION, "more_models" if SINGLE in better else _compare_with_single(lifts.get(SINGLE)))


def widen_to(lifts: Mapping[str, Lift | None]) -> dict[str, Lift | None]:
    """``lifts`` with intervals at 95 %, each widened to hold at ``correct_level`` them.

    For k controls each is widened by the ratio of Student's quantiles with S - 1 degrees of freedom, which is at least
    as much as the answer itself would have widened it: it has a part with a normal quantile, whose ratio is smaller. So
    a control that is recommended by these is better for sure, also by the stricter count.
    """
    level = correct_level(lifts)
    return {name: lift and _widen(lift, level) for name, lift in lifts.items()}


def _needs_more(lift: Lift, models: int | None) -> bool:
    return models is not None and isinstance(lift, MeanLift) and lift.models > models


def _compare_with_single(single: Lift | None) -> Why:
    if single is None:
        return "unmeasured"
    if single.same_training:
        return "same_training"
    if single.low is None:
        return "uncertain"
    return "gain" if single.low > 0 else "no_gain"


def _widen(lift: Lift, level: float) -> Lift:
    if lift.low is None or lift.high is None:
        return lift
    from scipy.stats import t

    student, shown = (float(t.ppf((1 + one) / 2, lift.seeds - 1)) for one in (level, LEVEL))
    more = student / shown
    low, high = (lift.mean + more * (bound - lift.mean) for bound in (lift.low, lift.high))
    return replace(lift, low=low, high=high)
