"""The worker's side: an attempt begins with its first step, and an actor that was never asked leaves nothing."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from synthetic_tasks import BASE, TASKS, single

from auxtune.orchestrator.engine.trainable import Assignment, StudyTrainable, Terminated, read_refusal
from auxtune.orchestrator.record.results import read_result
from auxtune.selectors.protocol import Problem, Proposal, TaskInfo
from auxtune.trials import training
from auxtune.trials.checkpoint import read_checkpoint
from auxtune.trials.train_step import TrainStep


class Local(StudyTrainable):
    """In this process, without Ray's ``with_parameters``."""

    def setup(self, config: dict[str, Any]) -> None:  # type: ignore[override]  # Ray would hand over the rest
        super().setup(config, TASKS, BASE)


def assignment(folder: Path, **changes: Any) -> Assignment:
    recipe = single("sign", **{"steps": 8, "checkpoint_every": 60.0, **changes})
    return Assignment(
        trial=0,
        attempt=1,
        recipe=recipe,
        folder=folder,
        checkpoint=None,
        start=None,
        judged=False,
        cpus=1,
        gpus=0,
        wanted={"CPU": 1},
        proposal=Proposal(("sign",)),
        problem=Problem((TaskInfo("sign", "classification", 100),), "sign"),
        study=folder.parent,
        measure=None,
    )


def test_an_actor_that_is_never_asked_for_a_step_touches_nothing(tmp_path: Path) -> None:
    """Ray may set up two actors for one attempt and end one of them: that one must not be in the other's way."""
    surplus = Local({"assignment": assignment(tmp_path / "a")})
    surplus.cleanup()
    surplus.reset_config({"assignment": assignment(tmp_path / "b")})
    surplus.cleanup()
    assert list(tmp_path.iterdir()) == []


def test_it_works_from_step_to_step_and_takes_the_next_assignment(tmp_path: Path) -> None:
    worker = Local({"assignment": assignment(tmp_path / "a")})
    for name in ("a", "b"):
        results = []
        while not (results and results[-1]["done"]):
            results.append(worker.step())
        report = read_result(tmp_path / name)
        assert report is not None and report.score == results[-1]["score"]
        assert [result["step_reached"] for result in results] == [4, 8]
        worker.reset_config({"assignment": assignment(tmp_path / "b")})


def test_ended_in_the_middle_it_saves_where_it_is(tmp_path: Path) -> None:
    worker = Local({"assignment": assignment(tmp_path / "a")})
    worker.step()
    worker.cleanup()
    assert (tmp_path / "a" / "checkpoint" / "checkpoint.safetensors").exists()
    assert read_result(tmp_path / "a") is None


@pytest.fixture
def sigterm() -> Iterator[None]:
    """SIGTERM's handler is left as it was."""
    former = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, former)


def test_told_to_end_it_takes_its_step_saves_and_leaves_no_report(
    tmp_path: Path, sigterm: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = TrainStep.train

    def told_in_the_third_step(train_step: TrainStep, name: str) -> None:
        if train_step.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        train(train_step, name)

    monkeypatch.setattr(TrainStep, "train", told_in_the_third_step)
    worker = Local({"assignment": assignment(tmp_path / "a", evaluate_every=8)})
    with pytest.raises(Terminated, match="by step 3"):
        worker.step()
    worker.cleanup()
    assert read_result(tmp_path / "a") is None
    _, document = read_checkpoint(tmp_path / "a" / "checkpoint")
    assert document["learner"]["step"] == 3
    worker.reset_config({"assignment": assignment(tmp_path / "b")})
    with pytest.raises(Terminated, match="before the attempt began"):
        worker.step()  # a process that is about to end takes nothing more
    assert not (tmp_path / "b").exists()


def test_told_to_end_with_nothing_to_do_it_ends_as_ray_has_it(tmp_path: Path, sigterm: None) -> None:
    def leave(number: int, frame: object) -> None:
        raise SystemExit(number)

    signal.signal(signal.SIGTERM, leave)  # as Ray's workers have it
    Local({"assignment": assignment(tmp_path / "a")})
    with pytest.raises(SystemExit):
        os.kill(os.getpid(), signal.SIGTERM)


def test_what_cannot_begin_is_a_failed_report_and_is_raised(tmp_path: Path) -> None:
    worker = Local({"assignment": assignment(tmp_path / "a", steps=0)})
    with pytest.raises(ValueError, match=r"recipe\.steps"):
        worker.step()
    report = read_result(tmp_path / "a")
    assert report is not None and report.score is None and report.message is not None
    assert "recipe.steps" in report.message


class Mute(RuntimeError):
    def __str__(self) -> str:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FileNotFoundError("no such file: caf\udce9.txt"), "FileNotFoundError: no such file: caf\\udce9.txt"),
        (Mute(), "Mute: its message cannot be made"),
    ],
)
def test_an_error_that_no_file_can_hold_is_a_failed_result_too(
    error: Exception, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(TrainStep, "train", fail)
    worker = Local({"assignment": assignment(tmp_path / "a")})
    with pytest.raises(type(error)):
        worker.step()
    report = read_result(tmp_path / "a")
    assert report is not None and (report.why, report.message) == ("error", message)
    assert report.traceback is not None and type(error).__name__ in (tmp_path / "a" / "log.txt").read_text()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB, which holds logs, and no checkpoint."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("nothing can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def work_until_refused(worker: Local) -> str:
    """What a worker says that could not write, once it has said so; it must not raise."""
    while not (told := worker.step())["done"]:
        pass
    refusal = read_refusal(told)
    assert refusal is not None and refusal.seconds >= 0, told
    return refusal.message


def test_a_full_disk_is_no_failure_of_the_trial_and_leaves_the_room_that_it_had(disk: Path) -> None:
    folder = disk / "study" / "a"
    worker = Local({"assignment": assignment(folder, checkpoint_every=0.0)})
    said = work_until_refused(worker)
    assert said.startswith(f"{folder} cannot be written (No space left on device); make room")
    assert read_result(folder) is None
    assert not list((folder / "checkpoint").iterdir()), "half a checkpoint would fill the disk"
    subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
    worker.reset_config({"assignment": assignment(folder)})  # the same process goes on, once there is room
    while not worker.step()["done"]:
        pass
    assert read_result(folder) is not None


def test_a_disk_that_is_read_only_by_now_is_no_failure_of_the_trial(disk: Path) -> None:
    worker = Local({"assignment": assignment(disk / "study" / "a")})
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    assert work_until_refused(worker).startswith(f"{disk}/study cannot be written (Read-only file system); mount it")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_missing_rights_are_no_failure_in_the_trial_s_own_folder_alone(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, is_own in ((tmp_path / "study" / "a" / "checkpoint", True), (Path("/elsewhere/words"), False)):

        def refuse(*_: object, place: Path = place) -> None:
            raise OSError(number, os.strerror(number), str(place))

        monkeypatch.setattr(training, "write_checkpoint", refuse)
        worker = Local({"assignment": assignment(tmp_path / "study" / "a", checkpoint_every=0.0)})
        if is_own:
            assert "cannot be written" in work_until_refused(worker)
            assert read_result(tmp_path / "study" / "a") is None
        else:
            with pytest.raises(OSError, match="elsewhere"):
                worker.step()
            report = read_result(tmp_path / "study" / "a")
            assert report is not None and report.why == "error"


def test_a_failure_that_cannot_be_written_is_not_lost_as_a_death(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial would have failed; that cannot be recorded, and so it is tried again when there is room."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(disk / "study" / "a" / "result.json"))

    monkeypatch.setattr("auxtune.orchestrator.engine.trainable.write_result", full)
    worker = Local({"assignment": assignment(disk / "study" / "a", steps=0)})
    assert "No space left" in work_until_refused(worker)
