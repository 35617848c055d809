"""The smoke test: every task is really trained, measured and saved, and one that fails says why."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from small_study import StudyRun
from synthetic_tasks import BASE, KINDS, TASKS, single

from auxtune.orchestrator.cli import main
from auxtune.orchestrator.session import smoke as session
from auxtune.orchestrator.session.smoke import (
    FILE,
    DamagedSmokeError,
    SmokedTask,
    SmokeRecord,
    read_smoke,
    write_smoke,
)
from auxtune.trials.result import SmokeFigures
from auxtune.trials.smoke import RoundTripError, run_smoke_test
from auxtune.trials.training import TrainingRun

FIGURES = SmokeFigures(
    seconds_per_step=0.2,
    fastest=0.1,
    slowest=0.4,
    seconds_per_evaluation=3.0,
    evaluated_rows=300,
    peak_gpu_bytes=None,
    peak_growth_bytes=10**8,
    checkpoint_bytes=10**7,
)
RECORD = SmokeRecord({"model": "m", "host": "h"}, {"a": SmokedTask(FIGURES), "b": SmokedTask(None, "error", "broke")})


@pytest.mark.parametrize("name", KINDS)
def test_a_task_of_each_kind_is_measured(name: str, tmp_path: Path) -> None:
    figures = run_smoke_test(single(name), TASKS[name], BASE, tmp_path, cpus=1, gpus=0)
    assert 0 < figures.fastest <= figures.seconds_per_step <= figures.slowest
    assert figures.seconds_per_evaluation > 0 and figures.evaluated_rows == 60
    assert figures.peak_gpu_bytes is None  # there is no GPU: unknown, not 0
    assert figures.checkpoint_bytes == (tmp_path / "first" / "checkpoint" / "checkpoint.safetensors").stat().st_size


def test_a_study_of_a_single_step_can_be_measured(tmp_path: Path) -> None:
    assert run_smoke_test(single("sign", steps=1, warmup=1.0), TASKS["sign"], BASE, tmp_path, 1, 0).seconds_per_step > 0


def test_a_checkpoint_that_does_not_come_back_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainingRun, "load", lambda self, checkpoint: None)
    with pytest.raises(RoundTripError, match="tensors came back changed"):
        run_smoke_test(single("sign"), TASKS["sign"], BASE, tmp_path, 1, 0)


GROWING = """
from auxtune.trials.smoke import MemoryGrowth

for _ in range(2):                                     # the second time too, though the peak is not a new one
    growth = MemoryGrowth()
    held = bytearray(b"x") * 64_000_000
    del held
    print(growth.peak_bytes() or 0)
"""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the system does not tell")
def test_memory_that_was_given_back_counts_in_the_peak() -> None:
    """In a small process: of a large one the kernel may take idle pages away meanwhile, which counts against it."""
    ran = subprocess.run([sys.executable, "-c", GROWING], capture_output=True, text=True, check=True, timeout=60)
    peaks = [int(line) for line in ran.stdout.split()]
    assert len(peaks) == 2 and min(peaks) >= 60_000_000


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_smoke(tmp_path) is None
    write_smoke(tmp_path, RECORD)
    assert read_smoke(tmp_path) == RECORD and [path.name for path in tmp_path.iterdir()] == [FILE]
    assert RECORD.differs_in({"model": "m", "host": "x", "device": "d"}) == ("device", "host")


@pytest.mark.parametrize("change", ["cut", "format", "zero", "nan", "list"])
def test_a_damaged_record_is_told_from_a_whole_one(change: str, tmp_path: Path) -> None:
    text = write_smoke(tmp_path, RECORD).read_text()
    damaged = {
        "cut": text[: len(text) // 2],
        "format": text.replace('"format": 1', '"format": 2'),
        "zero": text.replace('"seconds_per_step": 0.2', '"seconds_per_step": 0'),
        "nan": text.replace('"fastest": 0.1', '"fastest": NaN'),
        "list": "[]",
    }[change]
    assert damaged != text
    (tmp_path / FILE).write_text(damaged)
    with pytest.raises(DamagedSmokeError, match=r"smoke\.json"):
        read_smoke(tmp_path)


def validate(small: StudyRun, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.chdir(small.home)
    return CliRunner().invoke(main, ["validate", "study.yaml", *arguments])


def test_validate_measures_every_task_and_keeps_the_figures(small: StudyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    result = validate(small, monkeypatch, "--smoke", "--json")
    smoked = json.loads(result.stdout)["smoke"]
    assert result.exit_code == 0 and list(smoked) == ["moods", "echoes", "noises"]
    assert all(task["figures"]["seconds_per_step"] > 0 and task["why"] is None for task in smoked.values())
    kept = read_smoke(small.folder)
    assert kept is not None and {name: dataclasses.asdict(task) for name, task in kept.tasks.items()} == smoked
    assert [path.name for path in small.folder.iterdir()] == [FILE]


def test_without_smoke_nothing_is_trained_or_kept(small: StudyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "smoke" not in json.loads(validate(small, monkeypatch, "--json").stdout)
    assert not small.folder.exists()


def test_a_loss_that_is_no_number_fails_with_its_task_and_cause(
    small: StudyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = validate(small, monkeypatch, "--smoke", "--set", "training.learning_rate=1e30")
    assert result.exit_code == 2
    assert all(f"smoke: {name}: FAILED (non-finite)" in result.stdout for name in ("moods", "echoes", "noises"))


def test_a_folder_that_cannot_be_written_is_said(small: StudyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    (small.home / "taken").write_text("")
    result = validate(small, monkeypatch, "--smoke", "--set", "storage=taken")
    assert result.exit_code == 2 and "cannot be written" in result.stderr and "taken" in result.stderr


def test_after_a_task_that_failed_the_others_are_tried(small: StudyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(recipe: object, task: object, *rest: object) -> SmokeFigures:
        if getattr(task, "name", "") == "moods":
            raise MemoryError("no room")
        return FIGURES

    monkeypatch.setattr(session, "run_smoke_test", broken)
    result = validate(small, monkeypatch, "--smoke", "--json")
    smoked = json.loads(result.stdout)["smoke"]
    assert result.exit_code == 2
    assert smoked["moods"] == {"figures": None, "why": "out of memory", "message": "MemoryError: no room"}
    assert smoked["echoes"]["figures"] == smoked["noises"]["figures"] == dataclasses.asdict(FIGURES)
