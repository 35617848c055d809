"""Studies under a real Ray, killed and continued, failing and refused."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from memory_pressure import limit_memory, take_memory
from object_store import BUCKET, S3Server, s3_server, stored_study
from small_study import StudyRun, kill, small_study

from auxtune.orchestrator.record.events import Lost

pytestmark = pytest.mark.slow
in_both_storages = pytest.mark.parametrize("small", ["folder", "object store"], indirect=True)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def small(request: pytest.FixtureRequest, tmp_path: Path) -> StudyRun:
    """A small study that has not been run yet, kept in a folder unless the test is parametrised otherwise."""
    if getattr(request, "param", "folder") == "folder":
        return small_study(tmp_path)
    request.getfixturevalue("server")
    return stored_study(tmp_path, f"s3://{BUCKET}/{uuid.uuid4().hex}")


@in_both_storages
def test_killed_twice_in_the_middle_it_ends_the_same(small: StudyRun, whole: StudyRun) -> None:
    for told in (0, 2):
        process = small.start()
        small.wait_for(lambda enough=told: small.told >= enough and small.trains(), process)  # type: ignore[misc]
        kill(process)
    small.finish()
    assert small.story == whole.story
    trials = small.accounts.trials.values()
    lost = [event for event in small.events if isinstance(event, Lost)]
    assert [event.cause for event in lost] == ["driver", "driver"]
    assert sum(len(trial.attempts) for trial in trials) == len(trials) + 2
    assert all(t.attempts[-1].resume_from for t in trials if len(t.attempts) > 1)
    mine, theirs = (json.loads((run.folder / "selection.json").read_text()) for run in (small, whole))
    assert {**mine, "cost": None} == {**theirs, "cost": None}
    assert mine["cost"]["attempts"] == theirs["cost"]["attempts"] + 2


@in_both_storages
def test_a_killed_worker_is_started_again_from_its_checkpoint(small: StudyRun, whole: StudyRun) -> None:
    process = small.start()
    small.wait_for(small.trains, process)
    small.worker().kill()
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    assert [event.cause for event in small.events if isinstance(event, Lost)] == ["worker"]
    assert small.story == whole.story


def test_workers_that_ray_ends_for_want_of_memory_are_started_again(small: StudyRun, whole: StudyRun) -> None:
    try:
        with limit_memory() as limit:
            process = small.start()
            small.wait_for(small.trains, process)
            take_memory(small, process, limit)
    except PermissionError as error:
        pytest.skip(str(error))
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    lost = [event.cause for event in small.events if isinstance(event, Lost)]
    assert set(lost) == {"worker"}
    assert small.story == whole.story


def test_a_worker_told_to_end_checkpoints_at_its_next_step_and_goes_on_elsewhere(
    small: StudyRun, whole: StudyRun
) -> None:
    """Told by SIGTERM, as spot machines are. No checkpoint but that one is ever due."""
    process = small.start("run", "study.yaml", "--set", "training.checkpoint_every=600")
    small.wait_for(lambda: (small.folder / "trials/0001/1/alive").exists(), process)
    told = psutil.Process(int((small.folder / "trials/0001/1/alive").read_text().split()[0]))
    told.terminate()
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    second = small.accounts.trials[1].attempts[1]
    assert (second.resume_from, len(small.accounts.trials[1].attempts)) == (1, 2)
    assert "SIGTERM: saved at step" in (small.folder / "trials/0001/1/log.txt").read_text()
    assert [event.cause for event in small.events if isinstance(event, Lost)] == ["worker"]
    assert small.story == whole.story
    psutil.wait_procs([told], timeout=30)
    assert not told.is_running()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_in_order_it_says_how_to_go_on_and_does(
    small: StudyRun, whole: StudyRun, number: signal.Signals
) -> None:
    process = small.start()
    small.wait_for(small.trains, process)
    os.kill(process.pid, number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, out + err
    assert f"auxtune resume {small.folder}" in err
    assert json.loads(small.finish("status", str(small.folder), "--json"))["state"] == "interrupted"
    small.finish("resume", str(small.folder))
    assert small.story == whole.story


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_ray_starts_ends_in_order_too(small: StudyRun, number: signal.Signals) -> None:
    process = small.start()
    small.wait_for(lambda: bool(small.accounts.sessions), process)
    time.sleep(0.5)
    os.kill(process.pid, number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, out + err
    assert f"auxtune resume {small.folder}" in err
    closed = small.accounts.sessions[-1].closed
    assert closed is not None and closed.reason == "interrupted"


def test_a_second_driver_is_refused_and_the_first_goes_on(small: StudyRun) -> None:
    process = small.start()
    small.wait_for(small.trains, process)
    os.kill(process.pid, signal.SIGSTOP)  # it must still be there when the second one has loaded
    assert "is working on this study" in small.finish(code=4)
    os.kill(process.pid, signal.SIGCONT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err


@in_both_storages
def test_a_loss_that_is_not_a_number_is_a_failed_trial_and_many_end_the_study(small: StudyRun) -> None:
    wild = ("--set", "training.learning_rate=1.0e+30", "--set", "stop_after_failures=2", "--set", "training.clip=null")
    said = small.finish("run", "study.yaml", *wild, code=3)
    failed = [trial for trial in small.accounts.trials.values() if trial.status == "failed"]
    assert len(failed) == 2
    assert {trial.told.outcome.why for trial in failed if trial.told} == {"non-finite"}
    assert all(len(trial.attempts) == 1 for trial in failed)
    assert "2 of 2 trials failed" in said
    log = small.folder / "trials" / "0000" / "1" / "log.txt"
    assert "NonFinite" in log.read_text()


@in_both_storages
def test_a_worker_that_hangs_is_ended_and_the_study_goes_on(small: StudyRun) -> None:
    process = small.start("run", "study.yaml", "--set", "resources.trial_minutes=0.5")
    small.wait_for(small.trains, process)
    small.worker().suspend()
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    whys = [trial.told.outcome.why for trial in small.accounts.trials.values() if trial.told]
    assert whys.count("hang") == 1
    assert whys.count(None) == len(whys) - 1


def test_what_changed_under_a_study_is_named_and_refused(small: StudyRun) -> None:
    process = small.start()
    small.wait_for(lambda: bool(small.accounts.trials), process)
    kill(process)
    (small.home / "study.yaml").write_text((small.home / "study.yaml").read_text().replace("steps: 40", "steps: 50"))
    with (small.home / "tasks" / "noises" / "train.jsonl").open("a") as file:
        file.write('{"sentence1": "w1 w2 w3 w4 w5 w6 w7 w8", "sentence2": null, "label": 1}\n')
    said = small.finish(code=2)
    assert "tasks.noises, training" in said
    assert "--allow-drift" in said


@in_both_storages
def test_a_takeover_stops_the_former_driver(small: StudyRun) -> None:
    """Two drivers by force: the heartbeat is removed, so only the ledger's fence is between them."""
    process = small.start()
    small.wait_for(small.trains, process)
    os.kill(process.pid, signal.SIGSTOP)
    (small.folder / "heartbeat.json").unlink()
    second = small.start()
    small.wait_for(lambda: len(small.accounts.sessions) == 2, second)
    os.kill(process.pid, signal.SIGCONT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 4, out + err
    assert "taken over" in err
    out, err = second.communicate(timeout=300)
    assert second.returncode == 0, out + err
