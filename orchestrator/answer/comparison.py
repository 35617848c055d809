"""Several studies of one question: what each came to, at which cost, and which differences can be told from chance.

Selectors are compared by what their selections score on the test split, seed by seed on the same rows, as a selection
is with its controls. Of n studies there are n (n - 1) / 2 differences, each of which could come out by chance: their
intervals are at 1 - 0.05 / that number (Bonferroni), so that all hold together with 95 %. A study wins only if it is
above every other by these and cost no more than ``MORE`` beyond any. Cost is of probe and search, what was paid and
what evidence from the cache had cost; confirm is the same work for all.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from auxtune.orchestrator.answer.lift import LEVEL, Lift, Pair, mean_lift, measured, paired_lift
from auxtune.orchestrator.answer.recommendation import recommendation_of
from auxtune.orchestrator.answer.resampling import Predictions, load_predictions
from auxtune.orchestrator.answer.served import Served
from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.planning.arms import SELECTION
from auxtune.orchestrator.planning.budget import HOUR, Price
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.record.events import SELECTORS
from auxtune.orchestrator.record.results import attempt_folder
from auxtune.orchestrator.record.scores import sign_of
from auxtune.trials.metrics import direction_of
from auxtune.trials.result import Cost

FORMAT = 1
MORE = 0.1  # share by which the dearer of two may be dearer
ITS_OWN = ("study", "selector", "search_score", "seed", "auxtune", "earlier")  # in a fingerprint, not the question
UNITS = {"usd": "USD", "gpu_hours": "GPU hours", "cpu_hours": "CPU hours"}


@dataclass(frozen=True)
class Answered:
    """A study with its answer. ``models`` are who serves its selection's tasks, by confirm's seed."""

    name: str
    folder: Path
    selector: str
    fingerprint: Mapping[str, str]
    content: Mapping[str, Any]  # of selection.json
    accounts: Accounts
    price: Price
    metrics: Mapping[str, str]  # task that counts -> main metric
    models: Mapping[int, Served]

    def predictions(self, seed: int, task: str) -> Predictions:
        """Those of the model that serves the task."""
        trial = self.models[seed][task]
        return load_predictions(attempt_folder(self.folder, trial.id, len(trial.attempts)) / "predictions.npz", task)

    def searching(self, unit: str) -> float | None:
        """What probe and search took, with what was reused; ``None`` where money is unknown."""
        cost = self.content["cost"]
        parts = [*(cost["phases"][phase][unit] for phase in SELECTORS), cost["reused"][unit]]
        return None if None in parts else sum(parts)


def comparison(studies: Sequence[Answered]) -> dict[str, Any]:
    """All of it as JSON values. Raises ``AuxtuneError`` where the studies do not ask one question."""
    _check(studies)
    unit = _unit(studies)
    costs = {study.name: study.searching(unit) or 0.0 for study in studies}
    level = 1 - (1 - LEVEL) / max(1, len(studies) * (len(studies) - 1) // 2)
    pairs = [_pair(a, b, level) for a, b in itertools.combinations(studies, 2)]
    equal = min(costs.values())
    return {
        "format": FORMAT,
        "unit": unit,
        "studies": [
            {
                "study": study.name,
                "folder": str(study.folder),
                "selector": study.selector,
                "selected": _selected(study.content),
                "recommended": recommendation_of(study.content).arm,
                "test": _alone(study),
                "lift": study.content["lift"].get("single_task"),
                "cost": costs[study.name],
                "trials": sum(study.content["cost"]["phases"][phase]["trials"] for phase in SELECTORS),
                "best_at_equal_cost": _best_by(study, unit, equal),
            }
            for study in studies
        ],
        "equal_cost": equal,
        "level": level,
        "pairs": pairs,
        "winner": _winner([study.name for study in studies], pairs, costs),
    }


def named(found: Mapping[str, Any]) -> str:
    """Who is better, in a sentence; ``found`` is as ``comparison`` gives it."""
    count = len(found["pairs"])
    held = f"with all {count} differences taken together" if count > 1 else "by the interval of their difference"
    if found["winner"]:
        said = f"{found['winner']} is better than every other at no more cost, {held}."
    else:
        said = f"No study is better than every other at no more cost, {held}: none is named."
    return " ".join([said, *_outdone(found)])


def _outdone(found: Mapping[str, Any]) -> Iterator[str]:
    """The studies that have a control which is better than what they chose."""
    for study in found["studies"]:
        if study["recommended"] != SELECTION:
            yield f"In {study['study']} the control {study['recommended']} is better for sure than what was chosen."


def _check(studies: Sequence[Answered]) -> None:
    first = studies[0]
    for name in (study.name for study in studies):
        if sum(study.name == name for study in studies) > 1:
            raise AuxtuneError(f"two of the studies are called {name}; a study is compared with others")
    for study in studies[1:]:
        keys = sorted((first.fingerprint.keys() | study.fingerprint.keys()) - {*ITS_OWN})
        differ = [key for key in keys if first.fingerprint.get(key) != study.fingerprint.get(key)]
        if differ:
            raise AuxtuneError(
                f"{study.folder} and {first.folder} do not ask one question: these keys of their study files mean "
                f"something else: {', '.join(differ)}. Compare studies that differ in selector, seed and budget alone"
            )


def _unit(studies: Sequence[Answered]) -> str:
    """Money where it is known of all, else the hours of what is dear."""
    if all(study.searching("usd") is not None for study in studies):
        return "usd"
    return "gpu_hours" if any(study.searching("gpu_hours") for study in studies) else "cpu_hours"


def _selected(content: Mapping[str, Any]) -> list[list[str]]:
    """The groups that are served, or the one group of a primary."""
    if content["primary"] is None:
        return [group["tasks"] for group in content["groups"] if group["serves"]]
    return [list(content["weights"] or [content["primary"]])]


def _alone(study: Answered) -> dict[str, Any] | None:
    """The score on the test split with its interval; ``None`` for groups, whose tasks have scores of their own."""
    if len(study.metrics) != 1:
        return None
    [(task, metric)] = study.metrics.items()
    arm = [study.predictions(seed, task) for seed, models in study.models.items() if task in models]
    return asdict(measured(metric, arm, 0)) if arm else None


def _pair(a: Answered, b: Answered, level: float) -> dict[str, Any]:
    """``a`` less ``b`` over the seeds that both confirmed with."""
    common = [seed for seed in a.models if seed in b.models]
    pairs: list[dict[str, Pair]] = [
        {
            task: (a.predictions(seed, task), b.predictions(seed, task))
            for task in a.metrics
            if task in a.models[seed] and task in b.models[seed]
        }
        for seed in common
    ]
    lift: Lift | None
    if len(a.metrics) == 1:
        [(task, metric)] = a.metrics.items()
        both = [pair[task] for pair in pairs if pair]
        lift = paired_lift(metric, [ours for ours, _ in both], [theirs for _, theirs in both], 0, level)
    else:
        lift = mean_lift(a.metrics, pairs, 0, 0, level)
    found = {key: getattr(lift, key) if lift else None for key in ("metric", "mean", "low", "high")}
    return {"a": a.name, "b": b.name, **found, "seeds": lift.seeds if lift else 0}


def _best_by(study: Answered, unit: str, limit: float) -> float | None:
    """The best metric on the validation split, as measured, that the search had seen when it had cost ``limit``."""
    ended = [trial for trial in study.accounts.of_selector if trial.told is not None and not trial.reused]
    costs, best = list(study.accounts.reused_costs), None
    for trial in sorted(ended, key=lambda trial: trial.told.time if trial.told else 0.0):
        costs += trial.costs
        if (_amount(costs, unit, study.price) or 0.0) > limit * (1 + 1e-9):
            break
        reached = _reached(study, trial) if trial.phase == "search" else None
        if reached is not None:
            best = reached if best is None else max(best, reached)
    return None if best is None else sign_of(study.metrics.values()) * best


def _reached(study: Answered, trial: Trial) -> float | None:
    """A trial's score by the main metrics, higher is better, whatever its search was told."""
    if study.accounts.search_score == "metric" or trial.score is None or trial.told is None:
        return trial.score
    told = trial.told.outcome.metrics
    values = [
        direction_of(metric) * told[task][metric]
        for task, metric in study.metrics.items()
        if metric in told.get(task, {})
    ]
    return fmean(values) if values else None


def _amount(costs: Sequence[Cost], unit: str, price: Price) -> float | None:
    if unit == "usd":
        return price.total(costs)
    return sum(cost.gpu_seconds if unit == "gpu_hours" else cost.cpu_seconds for cost in costs) / HOUR


def _winner(names: Sequence[str], pairs: Sequence[Mapping[str, Any]], costs: Mapping[str, float]) -> str | None:
    """Who is above every other by the corrected intervals and no dearer; ``None`` where nobody is."""
    above = {name: {other for other, low in _over(name, pairs) if low is not None and low > 0} for name in names}
    for name in names:
        others = set(names) - {name}
        if others and above[name] == others and all(costs[name] <= costs[other] * (1 + MORE) for other in others):
            return name
    return None


def _over(name: str, pairs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, float | None]]:
    """Everybody else, and the lower bound of what ``name`` is above them."""
    for pair in pairs:
        if pair["a"] == name:
            yield pair["b"], pair["low"]
        elif pair["b"] == name:
            yield pair["a"], None if pair["high"] is None else -pair["high"]
