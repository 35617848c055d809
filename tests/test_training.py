"""A training run: it learns, stops where told, and continues bit for bit. Run as a script, it continues runs.

What must not depend on interruptions is checked with each order of tasks: cycle, draws, and a schedule that steers.
"""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from auxtune.trials.checkpoint import DamagedCheckpointError, read_checkpoint
from auxtune.trials.encoded import IGNORED, SPLITS, EncodedSplit, EncodedTask
from auxtune.trials.encoder import load_base
from auxtune.trials.failures import NonFiniteError, TimeLimitError, classify
from auxtune.trials.metrics import score
from auxtune.trials.optimisation import learning_rate
from auxtune.trials.progress import Progress
from auxtune.trials.recipe import ModelOptions, Recipe
from auxtune.trials.training import TrainingRun

MODEL = ModelOptions(max_length=16)
KINDS = {"sign": "classification", "share.of": "regression", "tags": "token"}


def make_split(rng, rows, kind):
    """Rows over a few words: is a word under 8 there, what share is under 20, each word modulo 3."""
    bodies = [rng.integers(3, 40, rng.integers(3, 13)) for _ in range(rows)]
    tokens = np.concatenate([np.concatenate([[1], body, [2]]) for body in bodies]).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum([len(body) + 2 for body in bodies])])
    if kind == "classification":
        labels = np.array([int(body.min() < 8) for body in bodies])
    elif kind == "regression":
        labels = np.array([5 * np.mean(body < 20) for body in bodies], np.float32)
    else:
        labels = np.where(tokens < 3, IGNORED, tokens % 3).astype(np.int64)
    return EncodedSplit(tokens, np.zeros(len(tokens), np.uint8), offsets, labels)


def make_task(name, rows=240):
    kind = KINDS[name]
    rng = np.random.default_rng(len(name))
    splits = {part: make_split(rng, rows if part == "train" else 60, kind) for part in SPLITS}
    labels, metrics = {
        "classification": (("no", "yes"), ("accuracy", "f1")),
        "regression": ((), ("spearman", "pearson")),
        "token": (("0", "1", "2"), ("accuracy",)),
    }[kind]
    return EncodedTask(name, kind, labels, metrics, splits, digest=name)


TASKS = {name: make_task(name) for name in KINDS}
BASE = load_base(MODEL)
RECIPE = Recipe(
    tasks=tuple(KINDS), shares={"sign": 0.5, "share.of": 0.25, "tags": 0.25},
    cycle={"sign": 2, "share.of": 1, "tags": 1}, evaluate=("sign",), report=tuple(KINDS), model=MODEL,
    steps=14, batch_size=8, learning_rate=3e-3, evaluate_every=4, checkpoint_every=0,
)


class Follow:
    """Stays with a task while its score does not fall, else takes the next one: a stand-in for a bandit."""

    probe_every = 2

    def __init__(self):
        self._task, self._steps, self._before = 0, 0, 0.0

    def next_task(self):
        self._steps += 1
        return list(KINDS)[self._task]

    def observe(self, score):
        self._task = self._task if score > self._before else (self._task + 1) % len(KINDS)
        self._before = score

    def save(self):
        return [self._task, self._steps, self._before]

    def load(self, saved):
        self._task, self._steps, self._before = saved


CASES = {
    "cycle": (RECIPE, lambda: None),
    "draws": (dataclasses.replace(RECIPE, cycle=None, decay="none"), lambda: None),
    "accumulation": (dataclasses.replace(RECIPE, accumulate=3, loss_weights={"tags": 0.3}), lambda: None),
    "steering": (dataclasses.replace(RECIPE, clip=None), Follow),
}


def start(recipe, folder, schedule=None, tasks=None, base=BASE):
    return TrainingRun(recipe, tasks or TASKS, base, folder, schedule)


def finish(run):
    """The report; the folder then also holds a checkpoint of the end."""
    while not run.finished:
        run.advance()
    run.save()
    return run.report()


def trained(recipe, folder, **options):
    run = start(recipe, folder, **options)
    return finish(run)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def as_json(report):
    return json.loads(json.dumps(dataclasses.asdict(report)))


def essence(folder, report):
    """Everything that a run decides and that is no measured time: what must not depend on interruptions."""
    tensors, document = read_checkpoint(folder / "checkpoint")
    document["progress"].pop("seconds")
    for line in document["progress"]["lines"]:
        line.pop("seconds")
    metrics = [{key: value for key, value in line.items() if key != "seconds"} for line in lines(folder)]
    decided = {key: value for key, value in report.items() if key != "cost"}
    with np.load(folder / "predictions.npz") as file:
        predictions = dict(file)
    return tensors, document, metrics, decided, predictions


def assert_same(first, second):
    for held, other in ((first[0], second[0]), (first[4], second[4])):
        assert held.keys() == other.keys()
        assert all(np.array_equal(held[name], other[name]) for name in held)
    assert first[1:4] == second[1:4]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    found = {}
    for name, (recipe, schedule) in CASES.items():
        folder = tmp_path_factory.mktemp(name)
        found[name] = essence(folder, as_json(trained(recipe, folder, schedule=schedule())))
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_run_interrupted_after_every_step_ends_the_same(case, uninterrupted, tmp_path):
    recipe, schedule = CASES[case]
    run, attempt = start(recipe, tmp_path / "0", schedule()), 0
    while not run.finished:
        run.advance()                                  # one step: a checkpoint is due at once
        if not run.finished:
            torch.manual_seed(999)                     # what another process would find
            attempt += 1
            run = start(recipe, tmp_path / str(attempt), schedule())
            run.load(tmp_path / str(attempt - 1) / "checkpoint")
    assert attempt == recipe.steps - 1
    assert_same(essence(tmp_path / str(attempt), as_json(finish(run))), uninterrupted[case])


@pytest.fixture(scope="module")
def continued(tmp_path_factory):
    """Every case stopped after some steps and continued, all in one other process."""
    folder = tmp_path_factory.mktemp("continued")
    for steps, (name, (recipe, schedule)) in enumerate(CASES.items(), start=3):
        run = start(recipe, folder / name / "1", schedule())
        for _ in range(steps):
            run.advance()
    subprocess.run([sys.executable, __file__, folder], check=True)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_a_run_continued_in_another_process_ends_the_same(case, continued, uninterrupted):
    report = json.loads((continued / case / "report.json").read_text())
    assert_same(essence(continued / case / "2", report), uninterrupted[case])


def test_the_recipe_decides_everything(tmp_path):
    recipe = dataclasses.replace(RECIPE, steps=4)
    runs = []
    for number, seed in enumerate((0, 0, 1)):
        folder = tmp_path / str(number)
        runs.append(essence(folder, as_json(trained(dataclasses.replace(recipe, seed=seed), folder))))
    assert_same(runs[0], runs[1])
    name = "model/encoder.module.embeddings.word_embeddings.weight"
    assert not torch.equal(runs[0][0][name], runs[2][0][name])


def test_tasks_of_all_kinds_trained_together_beat_chance(tmp_path):
    recipe = dataclasses.replace(
        RECIPE, model=dataclasses.replace(MODEL, pooling="mean"), steps=240, batch_size=16, evaluate=tuple(KINDS),
        evaluate_every=80, checkpoint_every=60,
    )
    report = trained(recipe, tmp_path)
    majority = max(np.bincount(TASKS["sign"].splits["report"].labels)) / 60
    assert report.report["sign"]["accuracy"] > majority + 0.1
    assert report.report["share.of"]["spearman"] > 0.5
    assert report.report["tags"]["accuracy"] > 0.9
    assert all(line["loss"][name] < lines(tmp_path)[0]["loss"][name] for line in lines(tmp_path)[1:] for name in KINDS)


def test_a_report_holds_what_was_asked_and_its_predictions_give_its_scores(tmp_path):
    recipe = dataclasses.replace(RECIPE, evaluate=("tags", "sign"))
    report = trained(recipe, tmp_path)
    assert set(report.selection) == {"tags", "sign"}
    mean = (report.selection["tags"]["accuracy"] + report.selection["sign"]["accuracy"]) / 2
    assert report.score == pytest.approx(mean)
    assert report.steps == 14
    with np.load(tmp_path / "predictions.npz") as file:
        for name, task in TASKS.items():
            labels, predictions, rows = (file[f"{name}/{key}"] for key in ("labels", "predictions", "rows"))
            assert report.report[name] == {metric: score(metric, labels, predictions) for metric in task.metrics}
            split = task.splits["report"]
            assert np.array_equal(labels, split.labels[split.labels != IGNORED])
            assert sorted(set(rows)) == list(range(60))
            assert np.all(np.diff(rows) >= 0)


def test_nothing_is_dropped_out_of_what_is_scored(tmp_path):
    run = start(RECIPE, tmp_path)
    finish(run)
    found = []
    for _ in range(2):
        run.report()
        with np.load(tmp_path / "predictions.npz") as file:
            found.append(file["share.of/predictions"])
    assert np.array_equal(*found)


def test_no_more_is_trained_than_asked_and_the_cost_says_how_much(tmp_path):
    run = TrainingRun(RECIPE, TASKS, BASE, tmp_path, cpus=2)
    report = finish(run)
    assert run.step == report.steps == 14
    assert report.cost.examples == 14 * 8
    assert report.cost.cpu_seconds == pytest.approx(2 * report.cost.wall_seconds)
    assert report.cost.gpu_seconds == 0
    assert report.cost.peak_gpu_bytes is None
    with pytest.raises(RuntimeError, match="has taken all its 14 steps"):
        run.advance()


def test_a_report_needs_all_steps(tmp_path):
    run = start(RECIPE, tmp_path)
    run.advance()
    with pytest.raises(RuntimeError, match="has taken 1 of 14 steps"):
        run.report()


def test_metrics_are_written_at_every_evaluation_and_at_the_end(tmp_path):
    recipe = dataclasses.replace(RECIPE, checkpoint_every=60)
    run = start(recipe, tmp_path)
    seen = []
    while not run.finished:
        run.advance()
        seen.append((run.step, len(lines(tmp_path))))
    assert seen == [(4, 1), (8, 2), (12, 3), (14, 4)]
    last = lines(tmp_path)[-1]
    assert last.keys() == {"step", "seconds", "loss", "selection", "score", "learning_rate"}
    # Steps 13 and 14 took slots 1 and 2 of the cycle: the mean is of these alone.
    assert set(last["loss"]) == {"sign", "share.of"}
    assert last["learning_rate"] == learning_rate(recipe, 13)


def test_the_best_weights_are_those_of_the_best_evaluation(tmp_path):
    recipe = dataclasses.replace(RECIPE, steps=12, evaluate_every=1, learning_rate=2e-2)
    run, at = start(recipe, tmp_path), {}
    while not run.finished:
        run.advance()
        run.save()
        at[run.step] = read_checkpoint(tmp_path / "checkpoint")[0]
    report = run.report()
    scores = [line["score"] for line in lines(tmp_path)]
    assert report.score == max(scores)
    assert report.best_step == 1 + scores.index(max(scores))
    assert report.best_step < 12, "the case shows nothing if the last weights are the best"
    for name, tensor in at[report.best_step].items():
        if name.startswith("model/"):
            assert torch.equal(at[12][name.replace("model/", "best/")], tensor)


def test_the_earliest_of_equal_evaluations_is_the_best():
    progress = Progress()
    assert [progress.add({"score": value}) for value in (0.5, 0.7, 0.7, 0.6)] == [True, True, False, False]
    assert progress.best == 1


def test_a_steered_run_reports_its_rounds(tmp_path):
    class Spy(Follow):
        def __init__(self):
            super().__init__()
            self.tasks, self.scores = [], []

        def next_task(self):
            self.tasks.append(super().next_task())
            return self.tasks[-1]

        def observe(self, score):
            self.scores.append(score)
            super().observe(score)

    spy = Spy()
    report = trained(CASES["steering"][0], tmp_path, schedule=spy)
    assert len(spy.tasks) == 14
    assert report.rounds == tuple(zip(spy.tasks[::2], spy.scores, strict=True))
    assert report.rounds[-1][1] != report.selection["sign"]["accuracy"], "probe and selection are other rows"


@pytest.mark.parametrize("name", KINDS)
def test_accumulated_batches_weigh_as_one_large_batch(name, tmp_path):
    quiet = {**BASE.config, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    base = dataclasses.replace(BASE, config=quiet)
    task = make_task(name, rows=32)
    found = []
    for size, accumulate in ((32, 1), (8, 4), (12, 3)):
        recipe = dataclasses.replace(
            RECIPE, tasks=(name,), shares={name: 1.0}, cycle={name: 1}, evaluate=(name,), report=(), steps=3,
            batch_size=size, accumulate=accumulate, learning_rate=1e-3,
        )
        folder = tmp_path / str(size)
        trained(recipe, folder, tasks={name: task}, base=base)
        tensors = read_checkpoint(folder / "checkpoint")[0]
        found.append({key: tensor for key, tensor in tensors.items() if key.startswith("model/")})
    for other in found[1:]:
        for key, tensor in found[0].items():
            torch.testing.assert_close(other[key], tensor, atol=2e-5, rtol=0)


def test_a_loss_weight_of_zero_trains_nothing(tmp_path):
    recipe = dataclasses.replace(
        RECIPE, tasks=("sign",), shares={"sign": 1.0}, cycle={"sign": 1}, report=(), weight_decay=0.0
    )
    moved = {}
    for weight in (0.0, 1.0):
        run = start(dataclasses.replace(recipe, loss_weights={"sign": weight}), tmp_path)
        run.save()
        before = read_checkpoint(tmp_path / "checkpoint")[0]
        run.advance()
        after = read_checkpoint(tmp_path / "checkpoint")[0]
        moved[weight] = any(
            not torch.equal(before[name], after[name]) for name in before if name.startswith("model/")
        )
    assert moved == {0.0: False, 1.0: True}


def test_the_learning_rate_rises_then_falls():
    recipe = Recipe(tasks=(), shares={}, evaluate=(), steps=10, warmup=0.2, learning_rate=1.0)
    rates = [learning_rate(recipe, step) for step in range(10)]
    assert rates == pytest.approx([0.5, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])
    flat = dataclasses.replace(recipe, warmup=0.0, decay="none")
    assert {learning_rate(flat, step) for step in range(10)} == {1.0}


@pytest.mark.parametrize(("steps", "what"), [(8, "training loss is nan"), (1, "an output on the selection split")])
def test_a_run_that_diverges_ends_and_leaves_no_checkpoint_of_it(steps, what, tmp_path):
    run = start(dataclasses.replace(RECIPE, steps=steps, learning_rate=1e30, checkpoint_every=60), tmp_path)
    with pytest.raises(NonFiniteError, match=what) as caught:
        run.advance()
    assert classify(caught.value) == "non-finite"
    assert not (tmp_path / "checkpoint").exists()
    assert run.cost().examples > 0


def test_a_run_that_takes_too_long_ends(tmp_path):
    run = start(dataclasses.replace(RECIPE, time_limit=0.0), tmp_path)
    with pytest.raises(TimeLimitError, match="by step 1 of 14, the limit is 0 s") as caught:
        run.advance()
    assert classify(caught.value) == "time limit"


def test_failures_have_the_reports_words():
    assert classify(MemoryError()) == "out of memory"
    assert classify(torch.OutOfMemoryError("CUDA out of memory")) == "out of memory"
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert classify(caught.value) == "out of memory"
    assert classify(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) == "error"
    assert classify(KeyError("a")) == "error"


def test_a_checkpoint_that_is_damaged_or_of_another_run_is_refused(tmp_path):
    run = start(RECIPE, tmp_path / "1")
    run.advance()
    checkpoint = tmp_path / "1" / "checkpoint"
    start(dataclasses.replace(RECIPE, checkpoint_every=9, time_limit=99), tmp_path / "2").load(checkpoint)
    other = start(dataclasses.replace(RECIPE, seed=1, batch_size=4), tmp_path / "3")
    with pytest.raises(ValueError, match="another run's, it differs in seed, batch_size; start anew"):
        other.load(checkpoint)
    changed = dataclasses.replace(TASKS["tags"], digest="other rows")
    with pytest.raises(ValueError, match="it differs in data digests"):
        start(RECIPE, tmp_path / "4", tasks={**TASKS, "tags": changed}).load(checkpoint)
    with pytest.raises(DamagedCheckpointError, match="no whole checkpoint"):
        start(RECIPE, tmp_path / "5").load(tmp_path)


@pytest.mark.parametrize(("changes", "message"), [
    ({"tasks": ("sign", "sings")}, r"recipe.tasks: expected some of sign, share.of, tags, found 'sings'"),
    ({"evaluate": ("other",)}, r"recipe.evaluate: .*, found 'other'"),
    ({"evaluate": ()}, r"recipe.evaluate: expected a task"),
    ({"cycle": {"other": 1}}, r"recipe.cycle: .*, found 'other'"),
    ({"steps": 0}, r"recipe.steps: expected at least 1, found 0"),
])
def test_a_recipe_that_cannot_be_run_is_refused(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        start(dataclasses.replace(RECIPE, **changes), tmp_path)


def test_a_gpu_that_is_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match=r"given 0\.5 GPUs, but torch sees none"):
        TrainingRun(RECIPE, TASKS, BASE, tmp_path, gpus=0.5)


def continue_all(folder):
    """Continue each case from its first attempt's checkpoint."""
    for name, (recipe, schedule) in CASES.items():
        run = start(recipe, folder / name / "2", schedule())
        run.load(folder / name / "1" / "checkpoint")
        (folder / name / "report.json").write_text(json.dumps(as_json(finish(run))))


if __name__ == "__main__":
    continue_all(Path(sys.argv[1]))
