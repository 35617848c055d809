"""A disk that is full, read-only or another user's: one line that says where and what to do, exit 2, no traceback."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from small_study import STUDY
from written_study import written_study

from auxtune.orchestrator.cli import main
from auxtune.orchestrator.errors import explain_os_error
from auxtune.trials.durable import create_durably, replace_text, write_durably


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result


def check_refusal(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    [said] = result.stderr.splitlines()
    assert all(word in said for word in words), said


@contextmanager
def no_room() -> Iterator[None]:
    """Let no file grow: what a full disk is where none can be mounted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder with a study that cannot be written, for root neither."""
    (written_study(tmp_path / "disk" / "small") / "selection.json").unlink()  # it is a stand-in
    target = tmp_path / "mounted"
    target.mkdir()
    for command in (["mount", "--bind", tmp_path / "disk", target], ["mount", "-o", "remount,ro,bind", target]):
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("nothing can be mounted here")
    yield target
    subprocess.run(["umount", target], check=True)


@pytest.fixture
def study_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY)
    return "study.yaml"


def test_no_place_for_a_sign_of_life(tmp_path: Path, study_file: str) -> None:
    study = written_study(tmp_path / "small")
    with no_room():
        cleaned, begun = run("clean", str(study), "--yes"), run("run", study_file)
    check_refusal(cleaned, f"{study / 'heartbeat.json'}: ", "give the command again")
    check_refusal(begun, f"{tmp_path / 'studies' / 'small' / 'heartbeat.json'}: ")


def test_a_disk_that_is_only_read(read_only: Path, study_file: str) -> None:
    study = read_only / "small"
    check_refusal(run("clean", str(study), "--yes"), "heartbeat.json: Read-only file system; mount it so")
    check_refusal(run("run", study_file, "--set", f"storage={read_only}/new"), f"{read_only}/new: Read-only")
    check_refusal(run("report", str(study)), "report.html: cannot be written: Read-only file system; choose another")
    for command in (["status", str(study)], ["list", str(read_only)], ["show", str(study), "0"]):
        assert run(*command).exit_code == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="modes bind everyone but root")
@pytest.mark.parametrize("mode", [0o000, 0o555])
def test_a_folder_of_another_user(mode: int, tmp_path: Path) -> None:
    study = written_study(tmp_path / "small")
    study.chmod(mode)
    try:
        check_refusal(run("clean", str(study), "--yes"), "Permission denied; see who may read and write it")
        listed = run("list", str(tmp_path))
        assert listed.exit_code == 0 and "small" in listed.stdout
    finally:
        study.chmod(0o755)


def test_a_folder_in_the_place_of_a_file(tmp_path: Path) -> None:
    study = written_study(tmp_path / "small")
    (study / "heartbeat.json" / "inside").mkdir(parents=True)
    check_refusal(run("clean", str(study), "--yes"), "heartbeat.json: ", "move away the folder")


@pytest.mark.parametrize("write", ["create", "replace", "text"])
def test_an_error_in_writing_names_the_file_and_no_draft(write: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with no_room(), pytest.raises(OSError) as error:
        if write == "create":
            create_durably(path, b"content")
        elif write == "replace":
            write_durably(path, lambda file: file.write(b"content"))
        else:
            replace_text(path, "content")
    assert error.value.filename == str(path) and error.value.errno == errno.EFBIG


def test_only_what_users_can_mend_is_explained() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/disk/file")
    assert "/disk/file: No space left on device; make room there" in (explain_os_error(full) or "")
    assert explain_os_error(FileNotFoundError(errno.ENOENT, "No such file", "x")) is None  # a defect, with a traceback
    assert explain_os_error(OSError("something else")) is None


def test_a_full_disk_that_numpy_tells_of_is_one(tmp_path: Path) -> None:
    with no_room(), pytest.raises(OSError) as error:
        np.save(tmp_path / "array.npy", np.zeros(100_000))
    assert explain_os_error(error.value) is not None
    assert "No space left on device" in (explain_os_error(OSError("100000 requested and 0 written")) or "")
