"""A disk that fills up under a real study: it pauses, no trial fails, and with room again it ends as if nothing was."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_study import StudyRun

from auxtune.orchestrator.record.events import Lost

pytestmark = pytest.mark.slow
KEPT = 1 << 20  # bytes of room that are left: many segments of the ledger, and no checkpoint


@pytest.fixture
def storage(small: StudyRun) -> Iterator[Path]:
    """The study's storage, on a disk of its own."""
    place = small.home / "studies"
    place.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", place], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("nothing can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def fill(storage: Path, kept: int) -> Path:
    """A file that leaves ``kept`` bytes of room."""
    (filler := storage / "filler").touch()
    about = os.statvfs(storage)
    filler.write_bytes(bytes(max(0, about.f_bavail * about.f_frsize - kept)))
    return filler


def test_a_full_disk_pauses_a_study_that_goes_on_when_there_is_room(
    small: StudyRun, storage: Path, whole: StudyRun
) -> None:
    process = small.start()
    small.wait_for(small.trains, process)
    filler = fill(storage, KEPT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 3, out + err
    [said] = [line for line in err.splitlines() if line.startswith("Paused: ")]
    number, attempt = (event := small.events[-2]).id, 1
    assert isinstance(event, Lost) and event.cause == "storage" and event.cost.wall_seconds > 0
    assert f"trials/{number:04d}/{attempt} cannot be written (No space left on device)" in said
    assert "`auxtune run`" in said and "Traceback" not in out + err
    assert all(trial.status in ("finished", "waiting") for trial in small.accounts.trials.values())
    assert small.ask("status", str(small.folder), "--json")["state"] == "interrupted"

    filler.unlink()
    small.finish()
    assert small.story == whole.story
    lost = small.accounts.trials[number].attempts[0]
    assert lost.was_refused and lost.cost == event.cost, "what it took is charged"


def test_a_disk_without_any_room_ends_the_study_with_what_the_ledger_says(small: StudyRun, storage: Path) -> None:
    process = small.start()
    small.wait_for(small.trains, process)
    filler = fill(storage, 0)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 2, out + err
    assert err.splitlines()[-1].startswith(f"{small.folder}/ledger: the ledger cannot be written (No space left")
    filler.unlink()
    small.finish()
    assert not any(trial.status == "failed" for trial in small.accounts.trials.values())
