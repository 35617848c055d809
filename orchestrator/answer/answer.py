"""The answer of a study: the selection with its controls and its price, as ``selection.json``."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from auxtune.orchestrator.answer.lift import Lift, paired_lift
from auxtune.orchestrator.answer.resampling import Predictions, load_predictions
from auxtune.orchestrator.planning.budget import HOUR, Price
from auxtune.orchestrator.planning.confirm import SELECTION, WITHOUT, Confirmation
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.record.events import Phase
from auxtune.orchestrator.record.reports import attempt_folder
from auxtune.selectors.protocol import Proposal
from auxtune.trials.durable import write_durably
from auxtune.trials.report import Cost

FORMAT = 1


def answer(
    study: str, folder: Path, accounts: Accounts, confirmation: Confirmation, metric: str, price: Price
) -> dict[str, Any]:
    """All that ``selection.json`` holds. ``metric`` is the primary's main metric; ``folder`` the study's."""
    selected = accounts.selected
    if selected is None:
        raise ValueError("the selector has not been asked for its answer yet")
    selection, primary = selected.selection, confirmation.problem.primary
    arms = confirmation.arms(selection)
    executed = arms[SELECTION][0]
    lifts = {
        name: _lift(folder, accounts, confirmation, arms[SELECTION], proposals, metric)
        for name, proposals in arms.items()
        if name != SELECTION
    }
    gains = {name.removeprefix(WITHOUT): lifts.pop(name) for name in list(lifts) if name.startswith(WITHOUT)}
    return {
        "format": FORMAT,
        "study": study,
        "kind": selection.kind,
        "primary": primary,
        "weights": dict(executed.weights) if executed.weights else None,
        "weighting": executed.weighting,
        "groups": [dict(group) for group in selection.groups] if selection.groups else None,
        "ranking": [{"task": t, "score": s} for t, s in selection.ranking] if selection.ranking else None,
        "instances": None,
        "lift": {name: asdict(lift) if lift else None for name, lift in lifts.items()},
        "report": _report(accounts, confirmation, arms[SELECTION]),
        "contribution": {task: _contribution(gain) for task, gain in gains.items()} if gains else None,
        "stability": dict(selection.stability) if selection.stability is not None else None,
        "belief": dict(selection.belief),
        "cost": cost_of(accounts, price, time.time()),
    }


def _contribution(gain: Lift | None) -> dict[str, Any] | None:
    """What the selection has over itself without one auxiliary."""
    return None if gain is None else {key: value for key, value in asdict(gain).items() if key != "metric"}


def cost_of(accounts: Accounts, price: Price, now: float | None) -> dict[str, Any]:
    """What the study took so far: every attempt, in all and by phase.

    ``now``, in seconds since the epoch, is given where a session is alive: its time counts until then.
    """
    phases: tuple[Phase, ...] = ("probe", "search", "confirm")
    every = list(accounts.trials.values())
    return {
        **_cost(every, price),
        "wall_hours": accounts.elapsed_seconds(now) / HOUR,
        "cluster_usd": None,
        "phases": {phase: _cost(accounts.in_phase(phase), price) for phase in phases},
        "reused": _cost([], price),
    }


def write_answer(folder: Path, content: Mapping[str, Any]) -> Path:
    """Write ``selection.json``, whole or not at all, and return its path."""
    path = folder / "selection.json"
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_durably(path, lambda file: file.write(text.encode()))
    return path


def _cost(trials: Sequence[Trial], price: Price) -> dict[str, Any]:
    costs: list[Cost] = [cost for trial in trials for cost in trial.costs]
    return {
        "trials": len(trials),
        "attempts": sum(len(trial.attempts) for trial in trials),
        "gpu_hours": sum(cost.gpu_seconds for cost in costs) / HOUR,
        "cpu_hours": sum(cost.cpu_seconds for cost in costs) / HOUR,
        "usd": price.total(costs),
    }


def _lift(
    folder: Path,
    accounts: Accounts,
    confirmation: Confirmation,
    ours: Sequence[Proposal],
    theirs: Sequence[Proposal],
    metric: str,
) -> Lift | None:
    pairs = [
        (_predictions(folder, a, confirmation), _predictions(folder, b, confirmation))
        for a, b in zip(_trials(accounts, ours), _trials(accounts, theirs), strict=True)
        if a is not None and b is not None
    ]
    return paired_lift(metric, [a for a, _ in pairs], [b for _, b in pairs], confirmation.problem.seed)


def _trials(accounts: Accounts, proposals: Sequence[Proposal]) -> list[Trial | None]:
    found = [Confirmation.find(accounts, proposal) for proposal in proposals]
    return [trial if trial is not None and trial.status == "finished" else None for trial in found]


def _predictions(folder: Path, trial: Trial, confirmation: Confirmation) -> Predictions:
    attempt = attempt_folder(folder, trial.id, len(trial.attempts))
    return load_predictions(attempt / "predictions.npz", str(confirmation.problem.primary))


def _report(
    accounts: Accounts, confirmation: Confirmation, ours: Sequence[Proposal]
) -> dict[str, dict[str, float]]:
    told = [trial.told for trial in _trials(accounts, ours) if trial is not None and trial.told is not None]
    if not told:
        return {}
    return {
        task: {metric: float(np.mean([one.report[task][metric] for one in told])) for metric in metrics}
        for task, metrics in told[0].report.items()
    }
