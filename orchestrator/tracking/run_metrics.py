"""The metrics of runs in MLflow: curves by step, final scores and costs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from auxtune.orchestrator.answer.answer import Answer
from auxtune.orchestrator.planning.budget import Price
from auxtune.orchestrator.record.accounts import Trial
from auxtune.orchestrator.storage.protocol import StoredPath

POINTS = 200  # most points of a curve


def read_curve(path: StoredPath, steps: int) -> list[dict[str, Any]]:
    """The evaluations of ``metrics.jsonl`` that a run of ``steps`` steps shows: every n-th where they are too many.

    Which ones depends on the distance between evaluations alone, so a file that still grows gives the first of them.
    There is room for one more point, the final score.
    """
    lines = _read_whole_lines(path)
    if not lines or lines[0]["step"] == 0:  # nothing was trained, only measured
        return lines
    evaluations = -(-steps // lines[0]["step"])
    return lines[:: -(-evaluations // (POINTS - 1))]


def list_line_metrics(line: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of one evaluation. Older lines have no losses on the validation split."""
    values = {f"train/{task}/loss": loss for task, loss in line["loss"].items()}
    for task, metrics in line["validation"].items():
        values |= {f"validation/{task}/{name}": value for name, value in metrics.items()}
    values |= {f"validation/{task}/loss": loss for task, loss in line.get("validation_loss", {}).items()}
    return values | {"score": line["score"]}


def list_final_metrics(trial: Trial, price: Price) -> dict[str, float]:
    """Costs so far and, once the trial is told, its score and what it reached on the test split."""
    values = sum_cost_metrics([trial], price)
    if trial.told is None:
        return values
    for task, metrics in trial.told.test.items():
        values |= {f"test/{task}/{name}": value for name, value in metrics.items()}
    return values if trial.score is None else values | {"score": trial.score}


def sum_cost_metrics(trials: Iterable[Trial], price: Price) -> dict[str, float]:
    """``cost/*`` over every ended attempt of some trials; unknown is left out.

    Money is unknown as soon as that of one attempt is. Examples and tokens are what attempts say: one that was
    lost is charged for its time, but what it trained on is unknown. So trials always add up to their study.
    """
    costs = [cost for trial in trials for cost in trial.costs]
    values: dict[str, list[float | None]] = {
        "cost/wall_seconds": [cost.wall_seconds for cost in costs],
        "cost/gpu_seconds": [cost.gpu_seconds for cost in costs],
        "cost/cpu_seconds": [cost.cpu_seconds for cost in costs],
        "cost/examples": [cost.examples for cost in costs if cost.examples is not None],
        "cost/tokens": [cost.tokens for cost in costs if cost.tokens is not None],
        "cost/usd": [price.usd(cost) for cost in costs],
    }
    sums = {key: sum(filter(None, each)) for key, each in values.items() if each and None not in each}
    peaks = [cost.peak_gpu_bytes for cost in costs if cost.peak_gpu_bytes is not None]
    return sums | ({"cost/peak_gpu_bytes": float(max(peaks))} if peaks else {})


def list_answer_metrics(answer: Answer) -> dict[str, float]:
    """The numbers of an answer; unknown ones are left out.

    ``test/<task>/<metric>`` and, for each control, ``lift/<control>`` with the bounds of its interval; of one that
    is the same training 0 without bounds.
    """
    values = {f"test/{task}/{name}": value for task, each in answer.report.items() for name, value in each.items()}
    for control, lift in answer.lift.items():
        if lift is not None:
            ends = {f"lift/{control}/low": lift.low, f"lift/{control}/high": lift.high}
            bounds = {key: end for key, end in ends.items() if end is not None}
            values |= {f"lift/{control}": lift.mean, **bounds}
    return values


def list_trained_shares(trial: Trial, tasks: Iterable[str]) -> dict[str, float]:
    """``weight/<task>`` for all ``tasks`` of the study: 0 for those that the trial does not train.

    The shares of a trial that is steered inside are known once it has been told: its rounds, by task. Until then the
    weights of its own tasks are left out. Four digits are what a column of MLflow's table has room for; the ledger has
    the shares as they were executed.
    """
    proposal, told = trial.proposal, trial.told
    own: Mapping[str, float] | None = proposal.shares if proposal.trains else {}
    if proposal.inner is not None:
        rounds = Counter(task for task, _ in told.outcome.rounds) if told else Counter()
        own = {task: rounds[task] / rounds.total() for task in proposal.tasks} if rounds else None
    known = tasks if own is not None else [task for task in tasks if task not in proposal.tasks]
    return {f"weight/{task}": float(f"{(own or {}).get(task, 0.0):.4g}") for task in known}


def _read_whole_lines(path: StoredPath) -> list[dict[str, Any]]:
    """The complete lines; the worker may be in the middle of the next."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
