"""A disk that fills up under a real study: it pauses, no trial fails, and with room again it ends as if nothing was."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from small_study import StudyRun

from auxtune.orchestrator.record.events import Lost

pytestmark = pytest.mark.slow
SMALL = "6m"  # room for one checkpoint of 4.4 MB and the ledger; the second one has none beside the first


@pytest.fixture
def storage(small: StudyRun) -> Iterator[Path]:
    """The study's storage, on a disk of its own."""
    place = small.home / "studies"
    place.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", place], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("nothing can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_disk_pauses_a_study_that_goes_on_when_there_is_room(
    small: StudyRun, storage: Path, whole: StudyRun
) -> None:
    process = small.start()
    out, err = process.communicate(timeout=400)
    assert process.returncode == 3, out + err
    [said] = [line for line in err.splitlines() if line.startswith("Paused: ")]
    [lost] = [event for event in small.events if isinstance(event, Lost)]
    assert lost.cause == "storage" and lost.cost.wall_seconds > 0
    assert f"trials/{lost.id:04d}/1 cannot be written (No space left on device)" in said
    assert "`auxtune run`" in said and "Traceback" not in out + err
    assert all(trial.status in ("finished", "waiting") for trial in small.accounts.trials.values())
    assert small.ask("status", str(small.folder), "--json")["state"] == "interrupted"

    subprocess.run(["mount", "-o", "remount,size=64m", storage], check=True)
    small.finish()
    assert small.story == whole.story
    attempt = small.accounts.trials[lost.id].attempts[0]
    assert attempt.was_refused and attempt.cost == lost.cost, "what it took is charged"


def test_a_disk_without_any_room_ends_the_study_with_what_the_ledger_says(small: StudyRun, storage: Path) -> None:
    process = small.start()
    small.wait_for(lambda: (small.folder / "trials").exists(), process)
    with (storage / "filler").open("wb", buffering=0) as filler:
        while process.poll() is None:  # whatever room a draft leaves
            with suppress(OSError):
                filler.write(bytes(4096))
    out, err = process.communicate(timeout=400)
    assert process.returncode == 2, out + err
    assert err.splitlines()[-1].startswith(f"{small.folder}/ledger: the ledger cannot be written (No space left")
    assert not any(trial.status == "failed" for trial in small.accounts.trials.values())
