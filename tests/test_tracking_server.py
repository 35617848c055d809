"""A server that wants credentials: they come from the environment, are never kept, and wrong ones cost no study."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from mlflow_server import Server, door
from small_study import StudyRun
from test_mirror import mirrored_in, story
from test_tracking import check_mirror, runs_of

from auxtune.orchestrator.planning.budget import Price
from auxtune.orchestrator.tracking.run_content import Ending
from auxtune.orchestrator.tracking.tracker import Tracker

pytestmark = pytest.mark.slow

BASIC = f"Basic {base64.b64encode(b'ada:open-sesame').decode()}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.stop()


def test_wrong_credentials_cost_no_study_and_right_ones_fill_in(
    small: StudyRun, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with door(server.uri, BASIC) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong-sesame")
        said = small.finish()
        assert f"{uri} refuses these credentials (401): set MLFLOW_TRACKING_USERNAME" in said
        assert (small.folder / "selection.json").exists()
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "open-sesame")
        said += small.finish("resume", str(small.folder))
        assert said.count("could not be brought up to date") == 1
        check_mirror(small, uri)
        parent, children = runs_of(uri)
        view = f"MLflow: {uri}/#/experiments/{parent.info.experiment_id}/runs?workflowType=machine_learning"
        assert view in said
        client = MlflowClient(uri)
        for task in ("moods", "echoes"):
            found = client.search_runs([parent.info.experiment_id], f"datasets.name = '{task}'")
            learned = {run.info.run_id for run in children if task in run.data.tags["auxtune.tasks"].split()}
            assert {run.info.run_id for run in found} == {parent.info.run_id, *learned} and learned
        drawn = [file.path for file in client.list_artifacts(parent.info.run_id, "figures")]
        assert drawn == ["figures/lift.svg", "figures/trials.svg"]
    kept = [file.read_bytes() for file in small.home.rglob("*") if file.is_file()]
    assert len(kept) > 30 and not any(b"sesame" in content for content in kept) and "sesame" not in said


@pytest.mark.parametrize("where", ["token", "uri"])
def test_credentials_may_be_a_token_or_in_the_environments_uri(
    where: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with door(server.uri, "Bearer open-token", BASIC) as uri:
        inside = uri.replace("://", "://ada:open-sesame@") if where == "uri" else uri
        if where == "token":
            monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "open-token")
        study = mirrored_in(tmp_path, uri=inside, experiment=where)
        (tmp_path / "study.yaml").write_text("study: x")
        tracker = Tracker(study, story([0.5]))
        tracker.start()
        tracker.finish(Ending("done", files=[tmp_path / "study.yaml"]), patience=120)
        assert tracker.trouble is None
        made = tracker.made()[0]
        assert [file.path for file in MlflowClient(inside).list_artifacts(made.run_id)] == ["study.yaml"]


def test_a_server_that_asks_for_credentials_is_not_asked_for_half_a_minute(server: Server, tmp_path: Path) -> None:
    with door(server.uri, BASIC) as uri:
        tracker = Tracker(mirrored_in(tmp_path, uri=uri, price=Price()), story([0.5]))
        tracker.start()
        tracker.finish(Ending("done"), patience=120)
        assert not tracker.is_alive()
        assert tracker.trouble is not None and f"{uri} asks for credentials (401)" in tracker.trouble


def test_a_server_that_refuses_is_not_asked_again_at_every_event(server: Server, tmp_path: Path) -> None:
    ledger = story([0.5])
    with door(server.uri, BASIC) as uri:
        tracker = Tracker(mirrored_in(tmp_path, uri=uri), ledger[:1])
        tracker.start()
        while tracker.trouble is None:
            time.sleep(0.1)
    # Now nobody is there at all: whoever asked again would say so.
    for event in ledger[1:]:
        tracker.hear(event)
        time.sleep(0.2)
    assert "asks for credentials (401)" in tracker.trouble
    tracker.finish(Ending("done"), patience=10)
    assert tracker.trouble is not None and "401" not in tracker.trouble
    tracker.abandon()
    tracker.join(60)
