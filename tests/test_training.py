"""A training run learns, stops where told, keeps its best weights, and fails by name."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from synthetic_tasks import BASE, KINDS, MODEL, RECIPE, ROWS, TASKS, Follow, finish, make_task, single, start

from auxtune.trials.checkpoint import read_checkpoint
from auxtune.trials.data import IGNORED
from auxtune.trials.failures import NonFiniteError, TimeLimitError, classify_failure
from auxtune.trials.metrics import score
from auxtune.trials.recipe import Recipe
from auxtune.trials.train_step import build_adamw, compute_learning_rate
from auxtune.trials.training import Progress, TrainingRun

pytestmark = pytest.mark.arithmetic


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder: Path, part: str = "model") -> dict[str, torch.Tensor]:
    """Those of the checkpoint in ``folder``: the present ones, or the ``best``."""
    tensors = read_checkpoint(folder / "checkpoint")[0]
    return {name.removeprefix(f"{part}/"): tensors[name] for name in tensors if name.startswith(f"{part}/")}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    assert first.keys() == second.keys()
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_tasks_of_all_kinds_trained_together_beat_chance(tmp_path: Path) -> None:
    recipe = dataclasses.replace(
        RECIPE,
        model=dataclasses.replace(MODEL, pooling="mean"),
        steps=240,
        batch_size=16,
        evaluate=tuple(KINDS),
        evaluate_every=80,
        checkpoint_every=60,
    )
    report = finish(start(recipe, tmp_path)).test
    majority = max(np.bincount(TASKS["sign"].splits["test"].labels)) / ROWS
    assert report["sign"]["accuracy"] > majority + 0.1
    assert report["share.of"]["spearman"] > 0.5
    assert report["tags"]["accuracy"] > 0.9
    first, *_, last = lines(tmp_path)
    assert all(last["loss"][name] < first["loss"][name] for name in KINDS)


def test_a_report_holds_what_was_asked_and_its_predictions_give_its_scores(tmp_path: Path) -> None:
    report = finish(start(dataclasses.replace(RECIPE, evaluate=("tags", "sign")), tmp_path))
    assert set(report.validation) == {"tags", "sign"}
    mean = (report.validation["tags"]["accuracy"] + report.validation["sign"]["accuracy"]) / 2
    assert report.score == pytest.approx(mean)
    with np.load(tmp_path / "predictions.npz") as file:
        for name, task in TASKS.items():
            labels, predictions, rows = (file[f"{name}/{key}"] for key in ("labels", "predictions", "rows"))
            assert report.test[name] == {metric: score(metric, labels, predictions) for metric in task.metrics}
            split = task.splits["test"]
            assert np.array_equal(labels, split.labels[split.labels != IGNORED])
            assert sorted(set(rows)) == list(range(ROWS))
            assert np.all(np.diff(rows) >= 0)


def test_nothing_is_dropped_out_of_what_is_scored(tmp_path: Path) -> None:
    run = start(RECIPE, tmp_path)
    finish(run)
    found = []
    for _ in range(2):
        run.result()
        with np.load(tmp_path / "predictions.npz") as file:
            found.append(file["share.of/predictions"])
    assert np.array_equal(*found)


def test_no_more_is_trained_than_asked_and_the_cost_says_how_much(tmp_path: Path) -> None:
    run = TrainingRun(RECIPE, TASKS, BASE, tmp_path, cpus=2)
    report = finish(run)
    assert run.step == report.steps == 14
    assert report.cost.examples == 14 * 8
    assert report.cost.cpu_seconds == pytest.approx(2 * report.cost.wall_seconds)
    assert report.cost.gpu_seconds == 0
    assert report.cost.peak_gpu_bytes is None
    with pytest.raises(RuntimeError, match="has taken all its 14 steps"):
        run.advance()


def test_a_report_needs_all_steps(tmp_path: Path) -> None:
    run = start(RECIPE, tmp_path)
    run.advance()
    with pytest.raises(RuntimeError, match="has taken 1 of 14 steps"):
        run.result()


def test_metrics_are_written_at_every_evaluation_and_at_the_end(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, checkpoint_every=60)
    run = start(recipe, tmp_path)
    seen = []
    while not run.finished:
        run.advance()
        seen.append((run.step, len(lines(tmp_path))))
    assert seen == [(4, 1), (8, 2), (12, 3), (14, 4)]
    last = lines(tmp_path)[-1]
    assert last.keys() == {
        "step",
        "seconds",
        "loss",
        "validation",
        "validation_loss",
        "metric",
        "scores",
        "score",
        "learning_rate",
    }
    # Steps 13 and 14 took slots 1 and 2 of the cycle: the means are of these alone.
    assert set(last["loss"]) == {"sign", "share.of"}
    assert last["learning_rate"] == compute_learning_rate(recipe, 13)


def test_the_best_weights_are_those_of_the_best_evaluation(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, steps=12, evaluate_every=1, learning_rate=2e-2)
    run, at = start(recipe, tmp_path), {}
    while not run.finished:
        run.advance()
        run.save()
        at[run.step] = weights(tmp_path)
    report = run.result()
    scores = [line["score"] for line in lines(tmp_path)]
    assert report.score == max(scores)
    assert report.best_step == 1 + scores.index(max(scores))
    assert report.best_step < 12, "the case shows nothing if the last weights are the best"
    assert equal(weights(tmp_path, "best"), at[report.best_step])


def test_the_earliest_of_equal_evaluations_is_the_best() -> None:
    progress = Progress()
    assert [progress.add({"score": value}) for value in (0.5, 0.7, 0.7, 0.6)] == [True, True, False, False]
    assert progress.best == 1


def test_a_steered_run_reports_its_rounds(tmp_path: Path) -> None:
    class Spy(Follow):
        def __init__(self) -> None:
            super().__init__()
            self.tasks: list[str] = []
            self.scores: list[float] = []

        def next_task(self) -> str:
            self.tasks.append(super().next_task())
            return self.tasks[-1]

        def observe(self, score: float) -> None:
            self.scores.append(score)
            super().observe(score)

    spy = Spy()
    report = finish(start(RECIPE, tmp_path, spy))
    assert len(spy.tasks) == 14
    assert set(spy.tasks) > {"sign"}
    assert report.rounds == tuple(zip(spy.tasks[::2], spy.scores, strict=True))


@pytest.mark.parametrize("name", KINDS)
def test_accumulated_batches_weigh_as_one_large_batch(name: str, tmp_path: Path) -> None:
    quiet = {**BASE.config, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    base = dataclasses.replace(BASE, config=quiet)
    found = []
    # Batches of 12 cut 32 rows unevenly, and rows of tags hold unequal numbers of labels anyway.
    for size, accumulate in ((32, 1), (8, 4), (12, 3)):
        recipe = single(name, steps=3, batch_size=size, accumulate=accumulate, learning_rate=1e-3)
        finish(start(recipe, tmp_path, tasks={name: make_task(name, rows=32)}, base=base))
        found.append(weights(tmp_path))
    for other in found[1:]:
        for key, tensor in found[0].items():
            torch.testing.assert_close(other[key], tensor, atol=2e-5, rtol=0)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_task_whose_loss_weighs_nothing_trains_nothing(weight: float, tmp_path: Path) -> None:
    run = start(single("sign", loss_weights={"sign": weight}, weight_decay=0.0), tmp_path)
    run.save()
    before = weights(tmp_path)
    run.advance()
    assert equal(before, weights(tmp_path)) == (weight == 0)


def test_the_learning_rate_rises_then_falls() -> None:
    recipe = Recipe(tasks=(), shares={}, evaluate=(), steps=10, warmup=0.2, learning_rate=1.0)
    rates = [compute_learning_rate(recipe, step) for step in range(10)]
    assert rates == pytest.approx([0.5, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])
    flat = dataclasses.replace(recipe, warmup=0.0, decay="none")
    assert {compute_learning_rate(flat, step) for step in range(10)} == {1.0}


def test_weight_decay_spares_biases_and_norms() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LayerNorm(3))
    decayed, spared = build_adamw(model, dataclasses.replace(RECIPE, weight_decay=0.1)).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert [parameter.shape for parameter in decayed["params"]] == [(3, 2)]
    assert len(spared["params"]) == 3


@pytest.mark.parametrize(("steps", "what"), [(8, "training loss is nan"), (1, "an output on the validation split")])
def test_a_run_that_diverges_ends_and_leaves_no_checkpoint(steps: int, what: str, tmp_path: Path) -> None:
    run = start(dataclasses.replace(RECIPE, steps=steps, learning_rate=1e30, checkpoint_every=60), tmp_path)
    with pytest.raises(NonFiniteError, match=what) as caught:
        run.advance()
    assert classify_failure(caught.value) == "non-finite"
    assert not (tmp_path / "checkpoint").exists()
    assert run.cost().examples == 8 * run.step


def test_a_run_that_takes_too_long_ends(tmp_path: Path) -> None:
    run = start(dataclasses.replace(RECIPE, time_limit=0.0), tmp_path)
    with pytest.raises(TimeLimitError, match="by step 1 of 14, the limit is 0 s") as caught:
        run.advance()
    assert classify_failure(caught.value) == "time limit"


def test_failures_have_the_reports_words() -> None:
    assert classify_failure(MemoryError()) == "out of memory"
    assert classify_failure(torch.OutOfMemoryError("CUDA out of memory")) == "out of memory"
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert classify_failure(caught.value) == "out of memory"
    assert classify_failure(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) == "error"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": ("sign", "sings")}, r"recipe.tasks: expected some of sign, share.of, tags, found 'sings'"),
        ({"evaluate": ("other",)}, r"recipe.evaluate: .*, found 'other'"),
        ({"evaluate": ()}, r"recipe.evaluate: expected a task"),
        ({"cycle": {"other": 1}}, r"recipe.cycle: .*, found 'other'"),
        ({"steps": 0}, r"recipe.steps: expected at least 1, found 0"),
    ],
)
def test_a_recipe_that_cannot_be_run_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        start(dataclasses.replace(RECIPE, **changes), tmp_path)


def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match=r"given 0\.5 GPUs, but torch sees none"):
        TrainingRun(RECIPE, TASKS, BASE, tmp_path, gpus=0.5)
