"""The mirror in MLflow, over a real SQLite store, fed with events as a session would feed it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from auxtune.orchestrator.planning.budget import Price
from auxtune.orchestrator.record.events import Event, Lost, Opened, Proposed, Started, Told
from auxtune.orchestrator.tracking.mlflow_runs import StudyRuns
from auxtune.orchestrator.tracking.run_content import Ending
from auxtune.orchestrator.tracking.tracker import Mirrored, Tracker
from auxtune.selectors.protocol import Outcome, Problem, Proposal, TaskInfo
from auxtune.trials.result import Cost

PROBLEM = Problem((TaskInfo("p", "classification", 10),), "p")
COST = Cost(wall_seconds=10.0, gpu_seconds=0.0, cpu_seconds=10.0, examples=64, tokens=640)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auxtune.orchestrator.tracking.tracker.INTERVAL", 0.05)
    monkeypatch.setattr("auxtune.orchestrator.tracking.tracker.RETRY", 0.05)


def mirrored_in(folder: Path, **changes: object) -> Mirrored:
    """A small study in ``folder``, and its store beside it."""
    study = Mirrored(
        uri=f"sqlite:///{folder}/mlflow.db",
        experiment="first",
        children="all",
        study="x",
        key="k",
        selector="thompson",
        folder=folder,
        params={"steps": 5},
        datasets={},
        steps=lambda proposal: 5,
        price=Price(None, 0.36),
    )
    return replace(study, **changes)


@pytest.fixture
def mirrored(tmp_path: Path) -> Mirrored:
    return mirrored_in(tmp_path)


def story(scores: list[float]) -> list[Event]:
    """A session in which trials end with these scores; the first one lost an attempt."""
    opened = Opened(
        session="s",
        time=1.0,
        study="",
        overrides=(),
        study_folder="",
        working_folder="",
        problem=PROBLEM,
        fingerprint={},
        versions={},
    )
    events: list[Event] = [opened]
    for number, score in enumerate(scores):
        attempts = 2 if number == 0 else 1
        events.append(Proposed(id=number, time=2.0, proposal=Proposal(("p",), {"p": 1.0}), phase="search", after=0))
        for attempt in range(1, attempts + 1):
            events.append(Started(id=number, attempt=attempt, time=3.0, session="s"))
            if attempt < attempts:
                lost = Cost(wall_seconds=4.0, gpu_seconds=0.0, cpu_seconds=4.0)
                events.append(Lost(id=number, attempt=attempt, time=4.0, cost=lost))
        events.append(Told(id=number, attempt=attempts, time=5.0, outcome=Outcome(score), cost=COST))
    return events


def mirror(study: Mirrored, events: list[Event], former: list[Event] | None = None) -> list[Event]:
    """One session of the mirror: what it made, for the next session's ledger."""
    tracker = Tracker(study, former or events[:1])
    tracker.start()
    for event in events if former else events[1:]:
        tracker.hear(event)
    tracker.finish(Ending("done"), patience=60)
    assert tracker.trouble is None
    return list(tracker.made())


def runs(study: Mirrored, experiment: str = "first") -> tuple[list[Run], list[Run]]:
    client = MlflowClient(study.uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    every = client.search_runs([found.experiment_id])
    parents = [run for run in every if run.data.tags.get("auxtune.role") == "study"]
    return parents, [run for run in every if run.data.tags.get("auxtune.role") == "trial"]


def test_costs_add_up_also_when_an_attempt_was_lost(mirrored: Mirrored) -> None:
    mirror(mirrored, story([0.5, 0.6]))
    (parent,), children = runs(mirrored)
    for name, total in (("wall_seconds", 24.0), ("cpu_seconds", 24.0), ("examples", 128), ("usd", 24 * 0.0001)):
        assert parent.data.metrics[f"cost/{name}"] == pytest.approx(total)
        assert sum(child.data.metrics[f"cost/{name}"] for child in children) == pytest.approx(total)


def broken_once(real: Callable[..., object], error: Exception, before: bool) -> Callable[..., object]:
    """``real``, which fails the first time it is called: before it has done its work, or after (a lost reply)."""
    calls: list[int] = []

    def call(*arguments: object, **keywords: object) -> object:
        calls.append(1)
        if before and len(calls) == 1:
            raise error
        value = real(*arguments, **keywords)
        if len(calls) == 1:
            raise error
        return value

    return call


@pytest.mark.parametrize("method", ["parent", "child", "describe", "end_child"])
@pytest.mark.parametrize("before", [True, False])
def test_whatever_breaks_once_no_run_is_made_twice_or_left_open(
    mirrored: Mirrored, monkeypatch: pytest.MonkeyPatch, method: str, before: bool
) -> None:
    monkeypatch.setattr(StudyRuns, method, broken_once(getattr(StudyRuns, method), TimeoutError(), before))
    mirror(mirrored, story([0.5, 0.6]))
    parents, children = runs(mirrored)
    assert len(parents) == 1
    assert sorted(child.data.tags["auxtune.proposal_id"] for child in children) == ["0", "1"]
    assert {run.info.status for run in (*parents, *children)} == {"FINISHED"}
    assert all(child.data.params["steps"] == "5" for child in children)


def test_tracking_may_move_to_another_experiment_or_store(mirrored: Mirrored, tmp_path: Path) -> None:
    events = story([0.5, 0.6])
    made = mirror(mirrored, events)
    for moved in (
        replace(mirrored, experiment="second"),
        replace(mirrored, uri=f"sqlite:///{tmp_path}/other.db", experiment="second"),
    ):
        mirror(moved, [], former=[*events, *made])
        parents, children = runs(moved, "second")
        assert (len(parents), len(children)) == (1, 2)
        assert {run.info.status for run in (*parents, *children)} == {"FINISHED"}
    assert len(runs(mirrored)[1]) == 2


def test_the_best_few_stay_as_many_over_sessions(mirrored: Mirrored) -> None:
    study = replace(mirrored, children="best 1")
    events = story([0.5, 0.7, 0.6])
    made = mirror(study, events)
    mirror(study, [], former=[*events, *made])
    _, children = runs(study)
    assert [child.data.tags["auxtune.proposal_id"] for child in children] == ["1"]


def test_a_users_own_run_under_the_parent_is_left_alone(mirrored: Mirrored) -> None:
    events = story([0.5])
    made = mirror(mirrored, events)
    (parent,), _ = runs(mirrored)
    client = MlflowClient(mirrored.uri)
    mine = client.create_run(parent.info.experiment_id, tags={"mlflow.parentRunId": parent.info.run_id})
    mirror(mirrored, [], former=[*events, *made])
    assert client.get_run(mine.info.run_id).info.status == "RUNNING"


def test_an_abandoned_mirror_writes_nothing_more(mirrored: Mirrored) -> None:
    events = story([0.5])
    mirror(mirrored, events)
    tracker = Tracker(mirrored, events)
    tracker.abandon()
    tracker.start()
    tracker.join(20)
    (parent,), _ = runs(mirrored)
    assert not tracker.is_alive()
    assert parent.info.status == "FINISHED"
