"""MLflow as its own client sees it: SQLite and a real server over HTTP, which may vanish; and what sessions change."""

from __future__ import annotations

import json
import math
import shutil
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow_server import Server
from small_study import StudyRun, kill
from test_mirror import PROBLEM, mirrored_in, runs, story

from auxtune.orchestrator.answer.answer import Answer
from auxtune.orchestrator.answer.verdict import write_verdict
from auxtune.orchestrator.planning.budget import Price
from auxtune.orchestrator.record.events import Event, Started, Tracked
from auxtune.orchestrator.tracking.mlflow_runs import StudyRuns
from auxtune.orchestrator.tracking.run_content import Ending, Reason
from auxtune.orchestrator.tracking.tracker import Mirrored, Tracker
from auxtune.selectors.protocol import TaskInfo

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    home = tmp_path / "server"
    home.mkdir()
    server = Server(home)
    server.start()
    yield server
    server.stop()


def runs_of(uri: str) -> tuple[Run, list[Run]]:
    """The parent and its children."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("auxtune")
    assert experiment is not None
    every = client.search_runs([experiment.experiment_id])
    parents = [run for run in every if run.data.tags["auxtune.role"] == "study"]
    assert len(parents) == 1
    return parents[0], [run for run in every if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]


def check_mirror(run: StudyRun, uri: str) -> None:
    """One finished child per trial with its score, and costs that add up."""
    parent, children = runs_of(uri)
    trials = run.accounts.trials
    assert sorted(int(child.data.tags["auxtune.proposal_id"]) for child in children) == sorted(trials)
    assert {child.info.status for child in (parent, *children)} == {"FINISHED"}
    for child in children:
        trial = trials[int(child.data.tags["auxtune.proposal_id"])]
        assert child.data.metrics["score"] == pytest.approx(trial.score)
        assert child.data.tags["auxtune.tasks"] == " ".join(trial.proposal.tasks)
        assert child.data.tags["auxtune.phase"] == trial.phase
        shares = {k.removeprefix("weight/"): float(v) for k, v in child.data.params.items() if k.startswith("weight/")}
        alone = dict.fromkeys(run.accounts.sessions[-1].opened.problem.names, 0.0)
        assert shares == pytest.approx(alone | dict(trial.proposal.weights or {}), rel=1e-3)  # in four digits
        learned = {each.dataset.name: each.dataset.digest for each in child.inputs.dataset_inputs}
        assert learned == {task: run.accounts.sessions[-1].opened.fingerprint[f"tasks.{task}"] for task in learned}
        assert set(learned) == set(trial.proposal.tasks)
    for name in ("wall_seconds", "cpu_seconds", "gpu_seconds", "examples", "tokens", "usd"):
        total = sum(child.data.metrics[f"cost/{name}"] for child in children)
        assert parent.data.metrics[f"cost/{name}"] == pytest.approx(total)


def test_the_runs_of_a_study_say_what_the_ledger_says(whole: StudyRun) -> None:
    uri = f"sqlite:///{whole.home}/mlflow.db"
    check_mirror(whole, uri)
    parent, children = runs_of(uri)
    assert parent.data.metrics["best_score"] == pytest.approx(whole.accounts.best.score)  # type: ignore[union-attr]
    client = MlflowClient(uri)
    curve = client.get_metric_history(children[0].info.run_id, "validation/moods/accuracy")
    assert [point.step for point in curve] == [10, 20, 30, 40]
    files = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert files == {"study.yaml", "selection.json", "report.html", "figures"}
    drawn = {file.path for file in client.list_artifacts(parent.info.run_id, "figures")}
    assert drawn == {"figures/lift.svg", "figures/trials.svg"}
    answer = json.loads((whole.folder / "selection.json").read_text())
    assert parent.data.tags["mlflow.note.content"].startswith(f"**{write_verdict(Answer.from_json(answer))}**")
    rows = {each.dataset.name: json.loads(each.dataset.profile) for each in parent.inputs.dataset_inputs}
    assert set(rows) == {"moods", "echoes", "noises"} and rows["moods"]["train"] == 200


def test_resuming_after_a_kill_makes_no_second_run_and_leaves_none_open(small: StudyRun) -> None:
    uri = f"sqlite:///{small.home}/mlflow.db"
    process = small.start()
    small.wait_for(lambda: small.told >= 1 and small.accounts.trials[0].run_id is not None, process)
    kill(process)
    small.finish()
    check_mirror(small, uri)
    _, children = runs_of(uri)
    assert {run.run_id for run in small.accounts.trials.values()} == {child.info.run_id for child in children}
    for child in children:
        curve = MlflowClient(uri).get_metric_history(child.info.run_id, "validation/moods/accuracy")
        assert [point.step for point in curve] == [10, 20, 30, 40]


def test_over_http_while_the_server_is_away_trials_go_on_and_are_filled_in(small: StudyRun, server: Server) -> None:
    process = small.start("run", "study.yaml", "--set", f"tracking.uri={server.uri}")
    small.wait_for(lambda: small.told >= 1, process)
    server.stop()
    small.wait_for(lambda: small.told >= 3, process)
    server.start()
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    check_mirror(small, server.uri)


def test_a_server_that_never_came_back_is_said_and_the_next_session_fills_in(small: StudyRun, server: Server) -> None:
    server.stop()
    said = small.finish("run", "study.yaml", "--set", f"tracking.uri={server.uri}")
    assert "MLflow could not be brought up to date" in said
    server.start()
    said = small.finish("resume", str(small.folder))
    assert "could not be" not in said
    check_mirror(small, server.uri)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without a run: MLflow needs seconds to make one, and no time to use a copy."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def study(tmp_path: Path, empty_store: Path) -> Mirrored:
    shutil.copy(empty_store, tmp_path)
    return replace(mirrored_in(tmp_path), params={"learning_rate": 0.1})


def session(study: Mirrored, ledger: Sequence[Event], reason: Reason = "done") -> list[Tracked]:
    """A session over a ledger in which nothing more happens: the runs it gives the ledger."""
    tracker = Tracker(study, ledger)
    tracker.start()
    tracker.finish(Ending(reason), patience=60)
    assert (tracker.is_alive(), tracker.trouble) == (False, None)
    return tracker.made()


def check_sums(study: Mirrored) -> None:
    (parent,), children = runs(study)
    costs = {key: value for key, value in parent.data.metrics.items() if key.startswith("cost/")}
    assert {"cost/wall_seconds", "cost/usd"} <= set(costs)
    for key, value in costs.items():
        assert sum(child.data.metrics.get(key, 0.0) for child in children) == pytest.approx(value), key


def test_costs_add_up_in_a_study_that_was_interrupted(study: Mirrored) -> None:
    ledger = story([0.5])[:-1]  # one attempt was lost, the next was cut off
    session(study, ledger, reason="interrupted")
    _, (child,) = runs(study)
    assert child.info.status == "KILLED"
    assert child.data.metrics["cost/wall_seconds"] == 4.0
    assert "cost/examples" not in child.data.metrics  # unknown is not 0
    check_sums(study)


def test_costs_add_up_when_a_later_session_has_other_prices(study: Mirrored) -> None:
    ledger = story([0.5, 0.6])
    ledger += session(study, ledger)
    for price in (0.72, 0.18):
        session(replace(study, price=Price(None, price)), ledger)
        check_sums(study)
        (parent,), children = runs(study)
        assert parent.data.metrics["cost/usd"] == pytest.approx(24 * price / 3600)
        assert {child.info.status for child in children} == {"FINISHED"}


def test_a_run_that_the_ledger_does_not_name_is_found_and_named(study: Mirrored) -> None:
    ledger = story([0.5, 0.6])
    made = session(study, ledger)
    assert session(study, ledger) == made
    assert [event.id for event in made] == [None, 0, 1]
    assert session(study, [*ledger, *made]) == []


def test_children_of_a_parent_that_was_deleted_come_under_the_new_one(study: Mirrored) -> None:
    ledger = story([0.5, 0.6])
    ledger += session(study, ledger)
    (deleted,), before = runs(study)
    MlflowClient(study.uri).delete_run(deleted.info.run_id)
    session(study, ledger)
    (parent,), after = runs(study)
    assert parent.info.run_id != deleted.info.run_id
    assert {run.info.run_id for run in after} == {run.info.run_id for run in before}
    assert {run.data.tags["mlflow.parentRunId"] for run in after} == {parent.info.run_id}


def test_a_recipe_that_was_allowed_to_drift_leaves_the_parameters_as_they_were(study: Mirrored) -> None:
    session(study, story([0.5])[:-1], reason="interrupted")
    session(replace(study, params={"learning_rate": 0.2, "clip": 1.0}), story([0.5]))
    _, (child,) = runs(study)
    assert (child.data.params["learning_rate"], child.data.params["clip"]) == ("0.1", "1.0")
    assert child.info.status == "FINISHED"


def test_the_best_few_are_those_of_the_finished_study(study: Mirrored) -> None:
    study = replace(study, children="best 2")
    session(study, story([0.3, 0.4]), reason="interrupted")
    session(study, story([0.3, 0.4, 0.6, 0.5]))
    _, children = runs(study)
    assert {child.data.tags["auxtune.proposal_id"] for child in children} == {"2", "3"}


def test_what_a_later_answer_does_not_say_is_unknown_again(study: Mirrored) -> None:
    ledger = story([0.5])
    lift = {"metric": "accuracy", "mean": 0.25, "low": None, "high": None, "seeds": 2}
    for lifts in ({"single_task": lift, "all_tasks": lift}, {"single_task": {**lift, "low": 0.1}, "all_tasks": None}):
        answer = Answer.from_json({"report": {"p": {"accuracy": 0.75}}, "lift": lifts})
        tracker = Tracker(study, ledger)
        tracker.start()
        tracker.finish(Ending("done", answer=answer, note=f"{len(lifts)} lifts"), patience=60)
        ledger += tracker.made()
    (parent,), _ = runs(study)
    said = {key: value for key, value in parent.data.metrics.items() if key.startswith(("lift/", "test/"))}
    assert math.isnan(said.pop("lift/all_tasks"))
    assert said == {"test/p/accuracy": 0.75, "lift/single_task": 0.25, "lift/single_task/low": 0.1}
    assert parent.data.tags["mlflow.note.content"] == "2 lifts"


def test_more_tasks_than_a_request_takes_have_their_shares(study: Mirrored) -> None:
    tasks = tuple(f"t{number}" for number in range(250))
    opened, proposed, *rest = story([0.5])
    many = replace(PROBLEM, tasks=tuple(TaskInfo(name, "classification", 10) for name in ("p", *tasks)))
    session(study, [replace(opened, problem=many), proposed, *rest])
    _, (child,) = runs(study)
    shares = {key: value for key, value in child.data.params.items() if key.startswith("weight/")}
    assert len(shares) == 251 and {key for key, value in shares.items() if value != "0.0"} == {"weight/p"}


def test_an_event_that_cannot_be_folded_is_said_and_stays_said(study: Mirrored) -> None:
    tracker = Tracker(study, story([0.5]))
    tracker.hear(Started(id=7, attempt=1, time=1.0, session="s"))
    tracker.start()
    tracker.finish(Ending("done"), patience=1)
    assert tracker.trouble == "KeyError: 7"
    tracker.abandon()


def test_a_mirror_that_is_abandoned_at_work_leaves_off(study: Mirrored, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = Tracker(study, story([0.5, 0.6]))
    describe = StudyRuns.describe

    def taken_over(*arguments: Any) -> None:
        describe(*arguments)
        tracker.abandon()

    monkeypatch.setattr(StudyRuns, "describe", taken_over)
    tracker.start()
    tracker.join(60)
    (parent,), children = runs(study)
    assert not tracker.is_alive()
    assert parent.info.status == "RUNNING"
    assert [child.data.tags["auxtune.proposal_id"] for child in children] == ["0"]


def test_a_request_whose_reply_was_lost_is_not_sent_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    came = []

    def hang_up(listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            came.append(connection.recv(65536))
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=hang_up, args=(listening,), daemon=True).start()
        with pytest.raises(MlflowException):
            StudyRuns(f"http://127.0.0.1:{listening.getsockname()[1]}", "first", "x", "k")
    assert len(came) == 1
