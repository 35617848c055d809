"""A study's runs in MLflow: one parent, one child per trial, found again by id or tag and never made twice.

Everything here is idempotent: it brings a run to what the accounts say, whatever was written before. Only
``MlflowClient`` is used, with explicit ids: the fluent interface keeps state per process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from auxtune.orchestrator.accounts import Accounts, Trial
from auxtune.orchestrator.budget import Price
from auxtune.orchestrator.reports import attempt_folder

POINTS = 200                                           # most points of a curve
_BATCH = 900                                           # MLflow takes at most 1,000 metrics at once


class StudyRuns:
    """The parent run and its children in one experiment."""

    def __init__(self, client: MlflowClient, experiment: str, artifacts: str | None, study: str, key: str) -> None:
        """``key`` tells this study from others of its name; ``artifacts`` is where a new experiment keeps files."""
        self._client, self._study, self._key = client, study, key
        self.experiment_id = _experiment(client, experiment, artifacts)
        self._logged: dict[str, set[int]] = {}         # run id -> steps that are there

    def parent(self, known: str | None, started: float, tags: Mapping[str, str]) -> str:
        """The study's run: ``known``, else found by its tags, else made; open in any case."""
        tags = {"auxtune.role": "study", "auxtune.study": self._study, "auxtune.key": self._key, **tags}
        run_id = known if known is not None and self._is_here(known) else None
        run_id = run_id or self._find(f"tags.`auxtune.role` = 'study' and tags.`auxtune.key` = '{self._key}'")
        if run_id is None:
            return self._create(self._study, started, tags)
        self.reopen(run_id)
        return run_id

    def child(self, trial: Trial, parent: str, tags: Mapping[str, str]) -> str:
        """Make the run of a trial that has none."""
        tags = {
            "auxtune.role": "trial",
            "auxtune.study": self._study,
            "auxtune.proposal_id": str(trial.id),
            "mlflow.parentRunId": parent,
            **tags,
        }
        return self._create(f"{trial.phase} {trial.id:04d}", trial.proposed, tags)

    def describe(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Log a trial's parameters; the same again changes nothing."""
        self._client.log_batch(run_id, params=[Param(key, str(value)) for key, value in params.items()])

    def reopen(self, run_id: str) -> None:
        """Say that a run that was left open or killed goes on."""
        self._client.update_run(run_id, status="RUNNING")

    def curves(self, run_id: str, trial: Trial, folder: Path, steps: int) -> None:
        """The metrics by step that the trial's last attempt has written and the run does not have yet."""
        if not trial.attempts:
            return
        if run_id not in self._logged:
            history = self._client.get_metric_history(run_id, "score")
            self._logged[run_id] = {point.step for point in history}
        there = self._logged[run_id]
        lines = _metric_lines(attempt_folder(folder, trial.id, len(trial.attempts)) / "metrics.jsonl")
        every = max(1, -(-steps // (POINTS * max(1, lines[0]["step"])))) if lines else 1
        fresh = [line for i, line in enumerate(lines) if i % every == 0 and line["step"] not in there]
        moment = int(trial.attempts[-1].started * 1000)
        points = [
            Metric(key, value, moment + int(line["seconds"] * 1000), line["step"])
            for line in fresh
            for key, value in _flat(line).items()
        ]
        for start in range(0, len(points), _BATCH):
            self._client.log_batch(run_id, metrics=points[start : start + _BATCH])
        there.update(line["step"] for line in fresh)

    def end_child(self, run_id: str, trial: Trial, price: Price, steps: int) -> None:
        """Final score, costs and status of a told trial."""
        told = trial.told
        if told is None:
            return
        now = int(told.time * 1000)
        values = cost_metrics([trial], price)
        if told.outcome.score is not None:
            values["score"] = told.outcome.score
        for task, metrics in told.report.items():
            values |= {f"report/{task}/{name}": value for name, value in metrics.items()}
        tags = [RunTag("auxtune.attempts", str(len(trial.attempts)))]
        if told.outcome.why:
            tags += [RunTag("auxtune.why", told.outcome.why), RunTag("auxtune.message", (told.message or "")[:5000])]
        self._client.log_batch(run_id, [Metric(k, v, now, steps) for k, v in values.items()], tags=tags)
        status = "FINISHED" if told.outcome.ok else "FAILED"
        self._client.set_terminated(run_id, status=status, end_time=now)

    def totals(self, run_id: str, accounts: Accounts, price: Price, now: float) -> None:
        """The parent's running totals and the best score so far, at a step per told trial."""
        told = sum(trial.told is not None for trial in accounts.trials.values())
        values = cost_metrics(list(accounts.trials.values()), price)
        values["study/elapsed_seconds"] = accounts.elapsed_seconds(now)
        if accounts.best is not None and accounts.best.score is not None:
            values["best_score"] = accounts.best.score
        moment = int(now * 1000)
        self._client.log_batch(run_id, [Metric(key, value, moment, told) for key, value in values.items()])

    def end(self, run_id: str, status: str, artifacts: list[Path]) -> None:
        """Close a run (``FINISHED``, ``FAILED`` or ``KILLED``), with files to keep."""
        for path in artifacts:
            self._client.log_artifact(run_id, str(path))
        self._client.set_terminated(run_id, status=status)

    def children(self, parent: str) -> dict[int, tuple[str, str]]:
        """Trial id -> (run id, status) of all children there are."""
        rule = f"tags.`mlflow.parentRunId` = '{parent}'"
        found: dict[int, tuple[str, str]] = {}
        token: str | None = None
        while True:
            page = self._client.search_runs([self.experiment_id], rule, max_results=1000, page_token=token)
            for run in page:
                if (trial := run.data.tags.get("auxtune.proposal_id", "")).isdecimal():     # not a user's own run
                    found[int(trial)] = (run.info.run_id, run.info.status)
            if not (token := page.token):
                return found

    def _is_here(self, run_id: str) -> bool:
        """Whether a run of a former session is in this store and experiment, and not deleted."""
        try:
            info = self._client.get_run(run_id).info
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        return bool(info.lifecycle_stage == "active" and info.experiment_id == self.experiment_id)

    def _create(self, name: str, started: float, tags: Mapping[str, str]) -> str:
        run = self._client.create_run(
            self.experiment_id, start_time=int(started * 1000), tags=dict(tags), run_name=name
        )
        return str(run.info.run_id)

    def _find(self, rule: str) -> str | None:
        runs = self._client.search_runs([self.experiment_id], rule, max_results=1)
        return str(runs[0].info.run_id) if runs else None


def cost_metrics(trials: list[Trial], price: Price) -> dict[str, float]:
    """``cost/*`` over every attempt of some trials.

    Money is left out where a price is unknown; a lost attempt took its time, but told no examples and tokens.
    """
    costs = [cost for trial in trials for cost in trial.costs]
    values: dict[str, list[float | None]] = {
        "cost/wall_seconds": [cost.wall_seconds for cost in costs],
        "cost/gpu_seconds": [cost.gpu_seconds for cost in costs],
        "cost/cpu_seconds": [cost.cpu_seconds for cost in costs],
        "cost/examples": [cost.examples or 0 for cost in costs],
        "cost/tokens": [cost.tokens or 0 for cost in costs],
        "cost/usd": [price.usd(cost) for cost in costs],
    }
    sums = {key: sum(filter(None, each)) for key, each in values.items() if each and None not in each}
    peaks = [cost.peak_gpu_bytes for cost in costs if cost.peak_gpu_bytes is not None]
    return sums | ({"cost/peak_gpu_bytes": float(max(peaks))} if peaks else {})


def _experiment(client: MlflowClient, name: str, artifacts: str | None) -> str:
    if (found := client.get_experiment_by_name(name)) is not None:
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name, artifact_location=artifacts))
    except MlflowException:
        if (found := client.get_experiment_by_name(name)) is None:      # not the race for its name
            raise
        return str(found.experiment_id)


def _metric_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of ``metrics.jsonl``; the worker may be in the middle of the next."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _flat(line: Mapping[str, Any]) -> dict[str, float]:
    values = {f"train/{task}/loss": loss for task, loss in line["loss"].items()}
    for task, metrics in line["selection"].items():
        values |= {f"selection/{task}/{name}": value for name, value in metrics.items()}
    return values | {"score": line["score"]}
