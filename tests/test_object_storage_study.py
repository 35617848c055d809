"""Whole studies whose storage is an S3 server: killed, raced, stopped, cut off from it, cleaned, and taken from."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from object_store import BUCKET, STORED, S3Server, StoredStudy, s3_server, stored_study
from small_study import StudyRun, kill

from auxtune.orchestrator import cli
from auxtune.orchestrator.record.accounts import read_accounts
from auxtune.orchestrator.storage.object_path import ObjectPath
from auxtune.orchestrator.storage.stores import store_of

pytestmark = pytest.mark.slow

MEASURING = ("--set", "selector={name: gradts_threshold, threshold: -1.0}", "--set", "confirm.controls=[]")


@pytest.fixture(scope="module")
def running() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def server(running: S3Server) -> S3Server:
    """A server with an empty bucket."""
    running.empty()
    return running


@pytest.fixture
def stored(server: S3Server, tmp_path: Path) -> StoredStudy:
    return stored_study(tmp_path)


def test_a_killed_study_goes_on_and_the_next_one_takes_its_evidence(stored: StoredStudy) -> None:
    process = stored.start("run", "study.yaml", *MEASURING)
    stored.wait_for(lambda: stored.told >= 1 and stored.trains(), process)
    process.send_signal(signal.SIGSTOP)  # so that it is not over before the other looks
    assert "is working on this study" in stored.finish("run", "study.yaml", *MEASURING, code=4)
    kill(process)
    stored.finish("resume", str(stored.folder))
    assert "verified" in stored.finish("status", str(stored.folder), "--verify")
    probes = stored.accounts.in_phase("measure")
    assert [trial.proposal.tasks for trial in probes] == [("moods",), ("echoes",), ("noises",)]

    (stored.home / "next.yaml").write_text(STORED.replace("study: small", "study: next"))
    said = stored.finish("run", "next.yaml", *MEASURING)
    assert said.count("was measured before, by small, trial") == 3
    after = read_accounts(stored.folder.parent / "next")
    assert [trial.status for trial in after.in_phase("measure")] == ["reused"] * 3

    rows = json.loads(stored.finish("list", str(stored.folder.parent), "--json"))
    assert [(row["study"], row["state"]) for row in rows] == [("next", "done"), ("small", "done")]
    evidence = sorted(path.name for path in (stored.folder.parent / ".evidence").iterdir())
    assert "checkpoints" in stored.finish("clean", str(stored.folder), "--yes")
    assert sorted(path.name for path in (stored.folder.parent / ".evidence").iterdir()) == evidence
    assert "nothing to delete" in stored.finish("clean", str(stored.folder))
    shown = json.loads(stored.finish("show", str(stored.folder), "0", "--json"))
    assert {"result.json", "metrics.jsonl", "log.txt"} <= set(shown["attempts"][-1]["files"])
    page = (stored.folder / "report.html").read_text()
    stored.finish("report", str(stored.folder), "--to", "again.html")
    assert (stored.home / "again.html").read_text() == page
    stored.finish("export", str(stored.folder), "--to", "model")
    assert (stored.home / "model" / "model.safetensors").is_file()
    for made in ("again.html", "model"):
        store_of(stored.home).delete(stored.home / made)
    assert sorted(path.name for path in stored.home.iterdir()) == [
        "mlartifacts",
        "mlflow.db",
        "next.yaml",
        "study.yaml",
        "tasks",
    ], "nothing of the storage is on this machine"


def test_stopped_from_outside_it_gives_what_a_local_study_gives(stored: StoredStudy, whole: StudyRun) -> None:
    process = stored.start()
    stored.wait_for(stored.trains, process)
    assert f"auxtune resume {stored.folder}" in stored.finish("stop", str(stored.folder))
    assert process.wait(timeout=60) == 130
    stored.finish("resume", str(stored.folder))
    assert stored.story == whole.story
    assert (
        json.loads((stored.folder / "selection.json").read_text())["lift"]
        == json.loads((whole.folder / "selection.json").read_text())["lift"]
    )


def test_a_silence_is_outlasted(stored: StoredStudy, server: S3Server, whole: StudyRun) -> None:
    process = stored.start()
    stored.wait_for(lambda: stored.told >= 1 and stored.trains(), process)
    server.stop()
    time.sleep(8)
    server.start()
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert [len(trial.attempts) for trial in stored.accounts.trials.values()] == [1] * 4, "nothing was lost"
    assert stored.story == whole.story


def test_a_longer_one_ends_the_session_and_nothing_that_had_arrived_is_lost(
    stored: StoredStudy, server: S3Server, whole: StudyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUXTUNE_STORAGE_PATIENCE", "3")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    process = stored.start()
    stored.wait_for(lambda: stored.told >= 1 and stored.trains(), process)
    server.stop()
    _, err = process.communicate(timeout=200)
    assert process.returncode == 2 and "Traceback" not in err, err
    assert "Could not connect to the endpoint" in err
    server.start()
    cut = next(trial for trial in stored.accounts.trials.values() if trial.told is None)
    stored.finish("resume", str(stored.folder))
    assert [attempt.resume_from for attempt in stored.accounts.trials[cut.id].attempts] == [None, 1]
    assert "verified" in stored.finish("status", str(stored.folder), "--verify")
    assert stored.story == whole.story


def test_doctor_writes_to_the_store_from_every_node(server: S3Server) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}, connect=False)
    try:
        cluster.add_node(num_cpus=1)
        asked = ["doctor", "--address", cluster.address, "--json", "--storage"]
        fine = json.loads(CliRunner().invoke(cli.main, [*asked, f"s3://{BUCKET}/studies"]).stdout)
        assert [node["storage"] for node in fine["nodes"]] == [{"error": None}] * 2
        assert [finding for finding in fine["findings"] if finding["rule"] == "storage"] == []
        assert not ObjectPath(f"s3://{BUCKET}/studies").exists()
        wrong = json.loads(CliRunner().invoke(cli.main, [*asked, "s3://no-such-bucket/studies"]).stdout)
        found = [finding for finding in wrong["findings"] if finding["rule"] == "storage"]
        assert len(found) == 2 and all("bucket does not exist" in finding["what"] for finding in found)
    finally:
        cluster.shutdown()
