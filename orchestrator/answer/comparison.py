"""Several studies of one question: what each came to, at which cost, and which differences can be told from chance.

Selectors are compared by what their selections score on the test split, seed by seed on the same rows, as a selection
is with its controls. Of n studies there are n (n - 1) / 2 differences, each of which could come out by chance: their
intervals are at 1 - 0.05 / that number (Bonferroni), so that all hold together with 95 %. A study wins only if it is
above every other by these and cost no more than ``COST_TOLERANCE`` beyond any. Cost is that of measure and search, with
the original cost of evidence from the cache; confirm is the same work for all.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

from auxtune.orchestrator.answer.answer import Answer
from auxtune.orchestrator.answer.cost import COST_TOLERANCE
from auxtune.orchestrator.answer.lift import (
    LEVEL,
    Lift,
    Pair,
    estimate_mean_lift,
    estimate_paired_lift,
    load_predictions,
    measure_arm,
)
from auxtune.orchestrator.answer.serving import ServingTrials
from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.planning.arms import SELECTION
from auxtune.orchestrator.planning.budget import HOUR, Price
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.record.events import SELECTORS
from auxtune.orchestrator.record.results import locate_attempt
from auxtune.orchestrator.record.scores import sign_of
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.trials.metrics import Predictions, find_direction
from auxtune.trials.result import Cost

FORMAT = 1
NOT_THE_QUESTION = ("study", "selector", "search_score", "seed", "auxtune", "earlier")  # keys of a fingerprint
UNITS = {"usd": "USD", "gpu_hours": "GPU hours", "cpu_hours": "CPU hours"}


@dataclass(frozen=True)
class AnsweredStudy:
    """A study with its answer. ``models`` are the trials that serve its selection's tasks, by confirm's seed."""

    name: str
    folder: StoredPath
    selector: str
    fingerprint: Mapping[str, str]
    answer: Answer
    accounts: Accounts
    price: Price
    metrics: Mapping[str, str]  # task that counts -> main metric
    models: Mapping[int, ServingTrials]

    def load_predictions(self, seed: int, task: str) -> Predictions:
        """The predictions of the model that serves the task."""
        trial = self.models[seed][task]
        return load_predictions(locate_attempt(self.folder, trial.id, len(trial.attempts)) / "predictions.npz", task)

    def search_cost(self, unit: str) -> float | None:
        """The cost of measure and search, with that of reused evidence; ``None`` where money is unknown."""
        cost = self.answer.cost
        parts = [getattr(part, unit) for part in (*(cost.phases[phase] for phase in SELECTORS), cost.reused)]
        return None if None in parts else sum(parts)


@dataclass(frozen=True)
class ComparedStudy:
    """One of the studies."""

    study: str
    folder: str
    selector: str
    selected: list[list[str]]
    """The groups that are served, or the one group of a primary."""
    recommended: str
    """The arm that the study found to be best."""
    test: Lift | None
    """The selection's score on the test split, as a lift over nothing; ``None`` for groups."""
    lift: Lift | None
    """Over single task; ``None`` where that was not trained."""
    cost: float
    """The cost of measure and search, in the comparison's unit."""
    trials: int
    best_at_equal_cost: float | None
    """The best metric on the validation split once a search had cost as much as the cheapest in all."""


@dataclass(frozen=True)
class Difference:
    """Study ``a`` less study ``b`` on the test split; ``lift`` is ``None`` without a seed in common."""

    a: str
    b: str
    lift: Lift | None

    def as_json(self) -> dict[str, Any]:
        """Names, bounds and seeds side by side."""
        found = {key: getattr(self.lift, key) if self.lift else None for key in ("metric", "mean", "low", "high")}
        return {"a": self.a, "b": self.b, **found, "seeds": self.lift.seeds if self.lift else 0}


@dataclass(frozen=True)
class Comparison:
    """Several studies of one question."""

    unit: str
    """The unit of costs: a key of ``UNITS``."""
    studies: tuple[ComparedStudy, ...]
    equal_cost: float
    """The cost of the cheapest search."""
    level: float
    """The level of each difference's interval, so that all hold together with 95 %."""
    pairs: tuple[Difference, ...]
    winner: str | None
    """The study that is better than every other at no more cost."""

    def as_json(self) -> dict[str, Any]:
        """The values that ``auxtune compare --json`` prints."""
        return {"format": FORMAT, **asdict(self), "pairs": [pair.as_json() for pair in self.pairs]}


def compare_studies(studies: Sequence[AnsweredStudy]) -> Comparison:
    """Compare them. Raises ``AuxtuneError`` where the studies do not ask one question."""
    _check(studies)
    unit = _choose_unit(studies)
    costs = {study.name: study.search_cost(unit) or 0.0 for study in studies}
    level = 1 - (1 - LEVEL) / max(1, len(studies) * (len(studies) - 1) // 2)
    pairs = tuple(_pair(a, b, level) for a, b in itertools.combinations(studies, 2))
    equal = min(costs.values())
    compared = tuple(
        ComparedStudy(
            study=study.name,
            folder=str(study.folder),
            selector=study.selector,
            selected=_list_selected(study.answer),
            recommended=study.answer.recommendation.arm,
            test=_measure_alone(study),
            lift=study.answer.lift.get("single_task"),
            cost=costs[study.name],
            trials=sum(study.answer.cost.phases[phase].trials for phase in SELECTORS),
            best_at_equal_cost=_find_best_by(study, unit, equal),
        )
        for study in studies
    )
    return Comparison(
        unit, compared, equal, level, pairs, _find_winner([study.name for study in studies], pairs, costs)
    )


def describe_comparison(comparison: Comparison) -> str:
    """A sentence that says which study is better."""
    count = len(comparison.pairs)
    held = f"with all {count} differences taken together" if count > 1 else "by the interval of their difference"
    if comparison.winner:
        said = f"{comparison.winner} is better than every other at no more cost, {held}."
    else:
        said = f"No study is better than every other at no more cost, {held}: none is named."
    return " ".join([said, *_list_outdone(comparison)])


def _list_outdone(comparison: Comparison) -> Iterator[str]:
    """The studies that have a control which is better than what they chose."""
    for study in comparison.studies:
        if study.recommended != SELECTION:
            yield f"In {study.study} the control {study.recommended} is better for sure than what was chosen."


def _check(studies: Sequence[AnsweredStudy]) -> None:
    first = studies[0]
    for name in (study.name for study in studies):
        if sum(study.name == name for study in studies) > 1:
            raise AuxtuneError(f"two of the studies are called {name}; a study is compared with others")
    for study in studies[1:]:
        keys = sorted((first.fingerprint.keys() | study.fingerprint.keys()) - {*NOT_THE_QUESTION})
        differ = [key for key in keys if first.fingerprint.get(key) != study.fingerprint.get(key)]
        if differ:
            raise AuxtuneError(
                f"{study.folder} and {first.folder} do not ask one question: these keys of their study files mean "
                f"something else: {', '.join(differ)}. Compare studies that differ in selector, seed and budget alone"
            )


def _choose_unit(studies: Sequence[AnsweredStudy]) -> str:
    """Money where it is known for all studies, else GPU hours where any were used, else CPU hours."""
    if all(study.search_cost("usd") is not None for study in studies):
        return "usd"
    return "gpu_hours" if any(study.search_cost("gpu_hours") for study in studies) else "cpu_hours"


def _list_selected(answer: Answer) -> list[list[str]]:
    """The groups that are served, or the one group of a primary."""
    if answer.primary is None:
        return [list(group.tasks) for group in answer.served_groups]
    return [list(answer.weights or [answer.primary])]


def _measure_alone(study: AnsweredStudy) -> Lift | None:
    """The score on the test split with its interval; ``None`` for groups, whose tasks have scores of their own."""
    if len(study.metrics) != 1:
        return None
    [(task, metric)] = study.metrics.items()
    arm = [study.load_predictions(seed, task) for seed, models in study.models.items() if task in models]
    return measure_arm(metric, arm, 0) if arm else None


def _pair(a: AnsweredStudy, b: AnsweredStudy, level: float) -> Difference:
    """``a`` less ``b`` over the seeds that both confirmed with."""
    common = [seed for seed in a.models if seed in b.models]
    pairs: list[dict[str, Pair]] = [
        {
            task: (a.load_predictions(seed, task), b.load_predictions(seed, task))
            for task in a.metrics
            if task in a.models[seed] and task in b.models[seed]
        }
        for seed in common
    ]
    lift: Lift | None
    if len(a.metrics) == 1:
        [(task, metric)] = a.metrics.items()
        both = [pair[task] for pair in pairs if pair]
        lift = estimate_paired_lift(metric, [ours for ours, _ in both], [theirs for _, theirs in both], 0, level)
    else:
        lift = estimate_mean_lift(a.metrics, pairs, 0, 0, level)
    if lift is not None and lift.mean == lift.low == lift.high == 0:
        lift = replace(lift, same_training=True)  # their models answer every row alike
    return Difference(a.name, b.name, lift)


def _find_best_by(study: AnsweredStudy, unit: str, limit: float) -> float | None:
    """The best metric on the validation split, as measured, that the search had seen when it had cost ``limit``."""
    ended = [trial for trial in study.accounts.of_selector if trial.told is not None and not trial.reused]
    costs, best = list(study.accounts.reused_costs), None
    for trial in sorted(ended, key=lambda trial: trial.told.time if trial.told else 0.0):
        costs += trial.costs
        if (_read_amount(costs, unit, study.price) or 0.0) > limit * (1 + 1e-9):
            break
        reached = _find_reached(study, trial) if trial.phase == "search" else None
        if reached is not None:
            best = reached if best is None else max(best, reached)
    return None if best is None else sign_of(study.metrics.values()) * best


def _find_reached(study: AnsweredStudy, trial: Trial) -> float | None:
    """A trial's score by the main metrics, higher is better, whatever its search was told."""
    if study.accounts.search_score == "metric" or trial.score is None or trial.told is None:
        return trial.score
    told = trial.told.outcome.metrics
    values = [
        find_direction(metric) * told[task][metric]
        for task, metric in study.metrics.items()
        if metric in told.get(task, {})
    ]
    return fmean(values) if values else None


def _read_amount(costs: Sequence[Cost], unit: str, price: Price) -> float | None:
    if unit == "usd":
        return price.total(costs)
    return sum(cost.gpu_seconds if unit == "gpu_hours" else cost.cpu_seconds for cost in costs) / HOUR


def _find_winner(names: Sequence[str], pairs: Sequence[Difference], costs: Mapping[str, float]) -> str | None:
    """The study above every other by the corrected intervals and no dearer; ``None`` where none is."""
    above = {
        name: {other for other, low in _describe_over(name, pairs) if low is not None and low > 0} for name in names
    }
    for name in names:
        others = set(names) - {name}
        is_no_dearer = all(costs[name] <= costs[other] * (1 + COST_TOLERANCE) for other in others)
        if others and above[name] == others and is_no_dearer:
            return name
    return None


def _describe_over(name: str, pairs: Sequence[Difference]) -> Iterator[tuple[str, float | None]]:
    """Every other study, and the lower bound of how far ``name`` is above it."""
    for pair in pairs:
        if pair.a == name:
            yield pair.b, None if pair.lift is None else pair.lift.low
        elif pair.b == name:
            yield pair.a, None if pair.lift is None or pair.lift.high is None else -pair.lift.high
