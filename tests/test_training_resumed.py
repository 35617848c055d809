"""A training run that was interrupted ends exactly like one that was not, whatever orders its tasks.

Run as a script, this file continues runs in another process.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from synthetic_tasks import BASE, MODEL, RECIPE, TASKS, Follow, finish, start

from auxtune.trials.batches import TaskSchedule
from auxtune.trials.checkpoint import DamagedCheckpointError, read_checkpoint
from auxtune.trials.recipe import Recipe
from auxtune.trials.result import Result

pytestmark = pytest.mark.arithmetic

ALIGNED = dataclasses.replace(MODEL, alignment="covariance")
CASES: dict[str, tuple[Recipe, Callable[[], TaskSchedule | None]]] = {
    "cycle": (RECIPE, lambda: None),
    "draws": (dataclasses.replace(RECIPE, cycle=None, decay="none"), lambda: None),
    "accumulation": (dataclasses.replace(RECIPE, accumulate=3, loss_weights={"tags": 0.3}), lambda: None),
    "steering": (dataclasses.replace(RECIPE, clip=None), Follow),
    "bfloat16": (dataclasses.replace(RECIPE, precision="bfloat16"), lambda: None),
    "alignment": (dataclasses.replace(RECIPE, model=ALIGNED), lambda: None),
    "transfer": (dataclasses.replace(RECIPE, model=ALIGNED, source_tasks=("share.of", "tags"), steps=13), lambda: None),
}


@dataclasses.dataclass
class Essence:
    """Everything a run decides and nothing it measures in time: what must not depend on interruptions."""

    arrays: dict[str, np.ndarray]
    values: list[Any]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Essence)
            and self.values == other.values
            and self.arrays.keys() == other.arrays.keys()
            and all(np.array_equal(array, other.arrays[name]) for name, array in self.arrays.items())
        )


def as_json(report: Result) -> dict[str, Any]:
    return json.loads(json.dumps(dataclasses.asdict(report)))


def essence(folder: Path, report: dict[str, Any]) -> Essence:
    tensors, document = read_checkpoint(folder / "checkpoint")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert lines == document["progress"]["lines"]
    for timed in (document["progress"], *document["progress"]["lines"]):
        timed.pop("seconds")
    with np.load(folder / "predictions.npz") as file:
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()} | dict(file)
    return Essence(arrays, [document, {**report, "cost": None}])


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Essence]:
    found = {}
    for name, (recipe, schedule) in CASES.items():
        folder = tmp_path_factory.mktemp(name)
        found[name] = essence(folder, as_json(finish(start(recipe, folder, schedule()))))
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_run_interrupted_after_every_step_ends_the_same(
    case: str, uninterrupted: dict[str, Essence], tmp_path: Path
) -> None:
    recipe, schedule = CASES[case]
    run, attempt = start(recipe, tmp_path / "0", schedule()), 0
    while not run.finished:
        run.advance()
        if not run.finished:
            torch.manual_seed(999)  # as another process would find it
            attempt += 1
            run = start(recipe, tmp_path / str(attempt), schedule())
            run.load(tmp_path / str(attempt - 1) / "checkpoint")
    assert attempt == recipe.steps - 1
    assert essence(tmp_path / str(attempt), as_json(finish(run))) == uninterrupted[case]


@pytest.fixture(scope="module")
def continued(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every case stopped after some steps and continued, all in one other process."""
    folder = tmp_path_factory.mktemp("continued")
    for steps, (name, (recipe, schedule)) in enumerate(CASES.items(), start=3):
        run = start(recipe, folder / name / "1", schedule())
        for _ in range(steps):
            run.advance()
    # Said explicitly: with PYTHONSAFEPATH, a script's own folder is not on its path. What is there decides on kernels.
    paths = filter(None, (os.environ.get("PYTHONPATH"), str(Path(__file__).parent)))
    tests = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    subprocess.run([sys.executable, __file__, folder], check=True, env=tests)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_a_run_continued_in_another_process_ends_the_same(
    case: str, continued: Path, uninterrupted: dict[str, Essence]
) -> None:
    report = json.loads((continued / case / "result.json").read_text())
    assert essence(continued / case / "2", report) == uninterrupted[case]


def test_the_recipe_decides_everything(tmp_path: Path) -> None:
    runs = []
    for number, seed in enumerate((0, 0, 1)):
        folder = tmp_path / str(number)
        recipe = dataclasses.replace(RECIPE, steps=4, seed=seed)
        runs.append(essence(folder, as_json(finish(start(recipe, folder)))))
    assert runs[0] == runs[1]
    name = "model/encoder.module.embeddings.word_embeddings.weight"
    assert not np.array_equal(runs[0].arrays[name], runs[2].arrays[name])


def test_seconds_go_on_over_attempts_and_the_cost_does_not(tmp_path: Path) -> None:
    first = start(RECIPE, tmp_path / "1")
    for _ in range(10):
        first.advance()
    spent = first.cost().wall_seconds
    second = start(RECIPE, tmp_path / "2")
    second.load(tmp_path / "1" / "checkpoint")
    report = finish(second)
    lines = [json.loads(line) for line in (tmp_path / "2" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 8, 12, 14]
    assert lines[2]["seconds"] > lines[1]["seconds"] > lines[0]["seconds"]
    assert lines[3]["seconds"] > 0.5 * spent
    assert report.cost.examples == 4 * 8


def test_a_checkpoint_that_is_damaged_or_of_another_run_is_refused(tmp_path: Path) -> None:
    start(RECIPE, tmp_path / "1").advance()
    checkpoint = tmp_path / "1" / "checkpoint"
    start(dataclasses.replace(RECIPE, checkpoint_every=9, time_limit=99), tmp_path / "2").load(checkpoint)
    other = start(dataclasses.replace(RECIPE, seed=1, batch_size=4), tmp_path / "3")
    with pytest.raises(ValueError, match="another run's, it differs in seed, batch_size; start again without it"):
        other.load(checkpoint)
    rows = {**TASKS, "tags": dataclasses.replace(TASKS["tags"], digest="other rows")}
    with pytest.raises(ValueError, match="it differs in data digests"):
        start(RECIPE, tmp_path / "4", tasks=rows).load(checkpoint)
    with pytest.raises(ValueError, match="it differs in encoder digest"):
        start(RECIPE, tmp_path / "5", base=dataclasses.replace(BASE, digest="other")).load(checkpoint)
    with pytest.raises(DamagedCheckpointError, match="no whole checkpoint"):
        start(RECIPE, tmp_path / "6").load(tmp_path)


def continue_all(folder: Path) -> None:
    """Continue each case from its first attempt's checkpoint."""
    for name, (recipe, schedule) in CASES.items():
        run = start(recipe, folder / name / "2", schedule())
        run.load(folder / name / "1" / "checkpoint")
        (folder / name / "result.json").write_text(json.dumps(as_json(finish(run))))


if __name__ == "__main__":
    continue_all(Path(sys.argv[1]))
