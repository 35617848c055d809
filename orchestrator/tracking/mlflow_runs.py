"""A study's runs in MLflow: one parent, one child per trial, found again by id or tag and never made twice.

Everything here is idempotent: it updates a run to the accounts, whatever was written before. Only
``MlflowClient`` is used, with explicit ids: the fluent interface keeps state per process.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from typing import Any

from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from auxtune.orchestrator.planning.budget import Price
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.record.events import read_time
from auxtune.orchestrator.record.results import locate_attempt
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.study_file.paths import is_sqlite, parse_sqlite_uri
from auxtune.orchestrator.tracking.run_content import (
    NOTE,
    Ending,
    TaskData,
    build_inputs,
    list_answer_metrics,
    list_final_metrics,
    list_line_metrics,
    read_curve,
    sum_cost_metrics,
)
from auxtune.orchestrator.tracking.store import locate_artifacts, move_artifacts, open_client

_MOST_PARAMS = 100  # in one request


class StudyRuns:
    """The parent run and its children in one experiment."""

    def __init__(self, uri: str, experiment: str, study: str, key: str) -> None:
        """``key`` tells this study from others of its name. A missing experiment is created."""
        if is_sqlite(uri):
            parse_sqlite_uri(uri).parent.mkdir(parents=True, exist_ok=True)
        self._client = open_client(uri)
        self._study, self._key = study, key
        if is_sqlite(uri):
            store = parse_sqlite_uri(uri)
            self.experiment_id = _find_experiment(self._client, experiment, locate_artifacts(store))
            move_artifacts(store, self._client.get_experiment(self.experiment_id).artifact_location)
        else:
            self.experiment_id = _find_experiment(self._client, experiment, None)
        self._logged: dict[str, set[int]] = {}  # run id -> steps that are there

    def parent(self, known: str | None, started: float, tags: Mapping[str, str]) -> str:
        """The study's run: ``known`` if it is here, else found by its tags, else made; open in any case."""
        tags = {"auxtune.role": "study", "auxtune.study": self._study, "auxtune.key": self._key, **tags}
        if known is None or not self._is_here(known):
            rule = f"tags.`auxtune.role` = 'study' and tags.`auxtune.key` = '{self._key}'"
            found = self._client.search_runs([self.experiment_id], rule, max_results=1)
            if not found:
                return self._create(self._study, started, tags)
            known = str(found[0].info.run_id)
        self._client.update_run(known, status="RUNNING")
        return known

    def children(self, parent: str, known: Container[str]) -> dict[int, Run]:
        """Trial id -> run of all children there are.

        ``known`` runs that were left by a parent that has been deleted since come under this one.
        """
        rule = f"tags.`auxtune.role` = 'trial' and tags.`auxtune.study` = '{self._study}'"
        found: dict[int, Run] = {}
        token: str | None = None
        while True:
            page = self._client.search_runs([self.experiment_id], rule, max_results=1000, page_token=token)
            for run in page:
                run_id, tags = run.info.run_id, run.data.tags
                if tags.get("mlflow.parentRunId") != parent:
                    if run_id not in known:
                        continue  # another study's of the same name
                    self._client.set_tag(run_id, "mlflow.parentRunId", parent)
                found[int(tags["auxtune.proposal_id"])] = run
            if not (token := page.token):
                return found

    def child(self, trial: Trial, name: str, parent: str, tags: Mapping[str, str]) -> str:
        """Make the run of a trial that has none, under ``name``."""
        tags = {
            "auxtune.role": "trial",
            "auxtune.study": self._study,
            "auxtune.proposal_id": str(trial.id),
            "mlflow.parentRunId": parent,
            **tags,
        }
        return self._create(name, trial.proposed, tags)

    def describe(self, run_id: str, params: Mapping[str, Any], datasets: Mapping[str, TaskData], context: str) -> None:
        """Open a run and log the parameters and ``datasets`` that it lacks; parameters can never change in MLflow."""
        run = self._client.get_run(run_id)
        self._log_params(run, params)
        inputs = run.inputs.dataset_inputs if run.inputs else []
        there = {(each.dataset.name, each.dataset.digest) for each in inputs}
        lacking = {name: each for name, each in datasets.items() if (each.name, each.digest) not in there}
        if lacking:
            self._client.log_inputs(run_id, build_inputs(lacking, context))
        if run.info.status != "RUNNING":
            self._client.update_run(run_id, status="RUNNING")

    def curves(self, run_id: str, trial: Trial, folder: StoredPath, steps: int) -> None:
        """The metrics by step that the trial's last attempt has written and the run does not have yet."""
        if not trial.attempts:
            return
        if run_id not in self._logged:
            history = self._client.get_metric_history(run_id, "score")
            self._logged[run_id] = {point.step for point in history}
        there = self._logged[run_id]
        written = read_curve(locate_attempt(folder, trial.id, len(trial.attempts)) / "metrics.jsonl", steps)
        fresh = [line for line in written if line["step"] not in there]
        moment = int(trial.attempts[-1].started * 1000)
        points = [
            Metric(key, value, moment + int(line["seconds"] * 1000), line["step"])
            for line in fresh
            for key, value in list_line_metrics(line).items()
        ]
        self._client.log_batch(run_id, metrics=points)
        there.update(line["step"] for line in fresh)

    def end_child(self, run_id: str, trial: Trial, price: Price, steps: int, shares: Mapping[str, float]) -> None:
        """Final score, costs, shares and status of a trial; one that was not told is ``KILLED``."""
        if trial.proposal.inner is not None:  # its shares are known only now
            self._log_params(self._client.get_run(run_id), shares)
        # The time of writing: of two values at a step MLflow shows the later, and a resumed study may have new prices.
        now, told = int(read_time() * 1000), trial.told
        values = list_final_metrics(trial, price)
        tags = [RunTag("auxtune.attempts", str(len(trial.all_attempts)))]
        if told is not None and told.source is not None and trial.reused:
            tags += [RunTag("auxtune.reused_from", told.source)]
        if told is not None and told.outcome.why:
            tags += [RunTag("auxtune.why", told.outcome.why), RunTag("auxtune.message", (told.message or "")[:5000])]
        self._client.log_batch(run_id, [Metric(key, value, now, steps) for key, value in values.items()], tags=tags)
        # Of another session, whose clock may have been behind, a trial may seem to end before it was asked for.
        ended = max(int(trial.proposed * 1000), int(told.time * 1000) if told else now)
        self._client.set_terminated(run_id, find_final_status(trial), ended)

    def totals(self, run_id: str, accounts: Accounts, price: Price, now: float, note: str) -> None:
        """The parent's running totals and the best score so far, at a step per told trial, and its ``note``."""
        told = sum(trial.told is not None for trial in accounts.trials.values())
        values = sum_cost_metrics(accounts.trials.values(), price)
        values["study/elapsed_seconds"] = accounts.elapsed_seconds(now)
        if (cluster := price.cluster_usd(accounts.node_seconds(now))) is not None:
            values["cost/cluster_usd"] = cluster
        if accounts.best is not None and accounts.best.score is not None:
            values["best_score"] = accounts.best.score
        moment = int(now * 1000)
        metrics = [Metric(key, value, moment, told) for key, value in values.items()]
        self._client.log_batch(run_id, metrics, tags=[RunTag(NOTE, note)])

    def answer(self, run_id: str, ending: Ending, now: float) -> None:
        """The parent's files and, once there is an answer, its numbers; those of a previous answer become unknown."""
        for path in ending.files:
            self._client.log_text(run_id, path.read_text(encoding="utf-8"), path.name)
        for name, drawing in ending.drawings.items():
            self._client.log_text(run_id, drawing, name)
        if ending.answer is None:
            return
        known = self._client.get_run(run_id).data.metrics
        previous = {key: math.nan for key in known if key.startswith(("lift/", "test/"))}
        values = previous | list_answer_metrics(ending.answer)
        self._client.log_batch(run_id, [Metric(key, value, int(now * 1000), 0) for key, value in values.items()])

    def end(self, run_id: str, status: str) -> None:
        """Close a run: ``FINISHED``, ``FAILED`` or ``KILLED``."""
        started = self._client.get_run(run_id).info.start_time
        self._client.set_terminated(run_id, status=status, end_time=max(started, int(read_time() * 1000)))

    def _log_params(self, run: Run, params: Mapping[str, Any]) -> None:
        lacking = [Param(key, str(value)) for key, value in params.items() if key not in run.data.params]
        for start in range(0, len(lacking), _MOST_PARAMS):
            self._client.log_batch(run.info.run_id, params=lacking[start : start + _MOST_PARAMS])

    def _is_here(self, run_id: str) -> bool:
        """Whether a run of an earlier session is in this store and experiment, and not deleted."""
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


def find_final_status(trial: Trial) -> str:
    """MLflow's status of a trial as it stands."""
    if trial.told is None or trial.stopped is not None:
        return "KILLED"
    return "FINISHED" if trial.told.outcome.ok else "FAILED"


def is_final(run: Run, trial: Trial, price: Price) -> bool:
    """Whether a run already holds its trial's end, and its cost at these prices."""
    costs = sum_cost_metrics([trial], price)
    return (
        trial.told is not None
        and run.info.status == find_final_status(trial)
        and {key: value for key, value in run.data.metrics.items() if key in costs} == costs
    )


def _find_experiment(client: MlflowClient, name: str, artifacts: str | None) -> str:
    if (found := client.get_experiment_by_name(name)) is not None:
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name, artifact_location=artifacts))
    except MlflowException:
        if (found := client.get_experiment_by_name(name)) is None:  # not the race for its name
            raise
        return str(found.experiment_id)
