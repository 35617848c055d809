"""A task of each kind over a few dozen words, already encoded, that a tiny encoder learns in seconds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from auxtune.trials.batches import TaskSchedule
from auxtune.trials.data import IGNORED, SPLITS, Kind
from auxtune.trials.encoder import BaseEncoder, load_base
from auxtune.trials.recipe import ModelOptions, Recipe
from auxtune.trials.result import Result
from auxtune.trials.tokens import EncodedSplit, EncodedTask
from auxtune.trials.training import TrainingRun

KINDS: dict[str, Kind] = {"sign": "classification", "share.of": "regression", "tags": "token"}
ROWS = 60  # of every split that is not trained on


def make_task(name: str, rows: int = 240) -> EncodedTask:
    """Whether there is a word under 8; five times the share of words under 20; each word modulo 3."""
    kind, rng = KINDS[name], np.random.default_rng(len(name))
    splits = {part: _split(rng, rows if part == "train" else ROWS, kind) for part in SPLITS}
    labels: dict[Kind, tuple[str, ...]] = {"classification": ("no", "yes"), "regression": (), "token": tuple("012")}
    metrics: dict[Kind, tuple[str, ...]] = {
        "classification": ("accuracy", "f1"),
        "regression": ("spearman", "pearson"),
        "token": ("accuracy",),
    }
    return EncodedTask(name, kind, labels[kind], metrics[kind], splits, digest=name)


def _split(rng: np.random.Generator, rows: int, kind: Kind) -> EncodedSplit:
    bodies = [rng.integers(3, 40, rng.integers(3, 13)) for _ in range(rows)]
    tokens = np.concatenate([[1, *body, 2] for body in bodies]).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum([len(body) + 2 for body in bodies])])
    labels = {
        "classification": np.array([int(body.min() < 8) for body in bodies]),
        "regression": np.array([5 * np.mean(body < 20) for body in bodies], np.float32),
        "token": np.where(tokens < 3, IGNORED, tokens % 3).astype(np.int64),
    }[kind]
    return EncodedSplit(tokens, np.zeros(len(tokens), np.uint8), offsets, labels)


TASKS = {name: make_task(name) for name in KINDS}
MODEL = ModelOptions(max_length=16)
BASE = load_base(MODEL)
# A checkpoint is due after every step.
RECIPE = Recipe(
    tasks=tuple(KINDS),
    shares={"sign": 0.5, "share.of": 0.25, "tags": 0.25},
    cycle={"sign": 2, "share.of": 1, "tags": 1},
    evaluate=("sign",),
    test=tuple(KINDS),
    model=MODEL,
    steps=14,
    batch_size=8,
    learning_rate=3e-3,
    evaluate_every=4,
    checkpoint_every=0,
)


class Follow:
    """A schedule that steers: it stays with a task while the score rises, else takes the next one."""

    probe_every: int | None = 2

    def __init__(self) -> None:
        self._task, self._before = 0, 0.0

    def next_task(self) -> str:
        """The task it stays with."""
        return list(KINDS)[self._task]

    def observe(self, score: float) -> None:
        """Decide whether to stay."""
        self._task = self._task if score > self._before else (self._task + 1) % len(KINDS)
        self._before = score

    def save(self) -> list[float]:
        """Where it stands."""
        return [self._task, self._before]

    def load(self, saved: list[float]) -> None:
        """Continue from there."""
        self._task, self._before = int(saved[0]), saved[1]


def start(
    recipe: Recipe,
    folder: Path,
    schedule: TaskSchedule | None = None,
    tasks: dict[str, EncodedTask] = TASKS,
    base: BaseEncoder = BASE,
) -> TrainingRun:
    """A run of ``recipe`` before its first step."""
    return TrainingRun(recipe, tasks, base, folder, schedule)


def finish(run: TrainingRun) -> Result:
    """Its result; its folder then also holds a checkpoint of the end."""
    while not run.finished:
        run.advance()
    run.save()
    return run.result()


def single(name: str, **changes: object) -> Recipe:
    """The recipe of one task alone."""
    return dataclasses.replace(
        RECIPE, tasks=(name,), shares={name: 1.0}, cycle={name: 1}, evaluate=(name,), test=(), **changes
    )
