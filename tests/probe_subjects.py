"""Runs that have ended, as probes see them; and a model's values for one row at a time, in float64."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from synthetic_tasks import BASE, RECIPE, TASKS

from auxtune.trials.data import IGNORED
from auxtune.trials.encoder import BaseEncoder
from auxtune.trials.model import MultiTaskModel
from auxtune.trials.probes.probe import Subject
from auxtune.trials.recipe import Recipe
from auxtune.trials.tokens import EncodedTask
from auxtune.trials.train_step import TrainStep

# Three topics of the rows of "sign": a label of each row, or any number of them.
TOPICS = EncodedTask(
    "topics",
    "multi_label",
    ("low", "odd", "long"),
    ("f1_micro",),
    {
        part: dataclasses.replace(
            split,
            labels=np.array(
                [
                    [row[1:-1].min() < 8, row.max() % 2, len(row) > 9]
                    for row in np.split(split.tokens, split.offsets[1:-1])
                ],
                np.uint8,
            ),
        )
        for part, split in TASKS["sign"].splits.items()
    },
    digest="topics",
)
THIRDS = dataclasses.replace(
    TOPICS,
    name="thirds",
    kind="classification",
    labels=("0", "1", "2"),
    metrics=("accuracy",),
    splits={
        part: dataclasses.replace(split, labels=split.labels.sum(1).clip(max=2).astype(np.int64))
        for part, split in TOPICS.splits.items()
    },
)
EVERY_KIND = {**TASKS, "topics": TOPICS, "thirds": THIRDS}


def recipe_of(names: Sequence[str], **changes: object) -> Recipe:
    values = {"cycle": dict.fromkeys(names, 1), "evaluate": tuple(names), "test": (), **changes}
    return dataclasses.replace(RECIPE, tasks=tuple(names), shares=dict.fromkeys(names, 1 / len(names)), **values)


def train_step_of(
    recipe: Recipe, steps: int = 0, tasks: dict[str, EncodedTask] = EVERY_KIND, base: BaseEncoder = BASE
) -> TrainStep:
    """A train step that has taken ``steps`` steps, the tasks in turn."""
    train_step = TrainStep(recipe, {name: tasks[name] for name in recipe.tasks}, base, gpus=0)
    for step in range(steps):
        train_step.train(recipe.tasks[step % len(recipe.tasks)])
    return train_step


def subject_of(
    recipe: Recipe,
    steps: int = 0,
    tasks: dict[str, EncodedTask] = EVERY_KIND,
    base: BaseEncoder = BASE,
    texts: EncodedTask | None = None,
) -> Subject:
    """The run of ``recipe`` after ``steps`` steps."""
    train_step = train_step_of(recipe, steps, tasks, base)
    own = {name: tasks[name] for name in recipe.tasks}
    return Subject(train_step.model.eval(), own, train_step.collate, base, recipe, texts)


def in_double(model: MultiTaskModel) -> MultiTaskModel:
    """A copy in float64, without dropout."""
    return copy.deepcopy(model).double().eval()


def states_of_row(model: MultiTaskModel, task: EncodedTask, part: str, row: int) -> list[torch.Tensor]:
    """All hidden states of one row, without padding: (length, width) each, the embeddings' output first."""
    split = task.splits[part]
    tokens = torch.tensor(split.tokens[split.offsets[row] : split.offsets[row + 1]].astype(np.int64))[None]
    segments = torch.tensor(split.segments[split.offsets[row] : split.offsets[row + 1]].astype(np.int64))[None]
    inputs = {"token_type_ids": segments} if model.encoder.module.config.to_dict().get("type_vocab_size", 0) > 1 else {}
    outputs = model.encoder.module(input_ids=tokens, output_hidden_states=True, **inputs)
    return [state[0] for state in outputs.hidden_states]


def row_vector(states: torch.Tensor, pooling: str) -> torch.Tensor:
    return states[0] if pooling == "cls" else states.mean(0)


def slow_loss(
    model: MultiTaskModel, task: EncodedTask, part: str, rows: np.ndarray, pooling: str = "cls"
) -> torch.Tensor:
    """The mean loss over rows, one after the other."""
    split, head = task.splits[part], model.head(task.name)
    total, scored = torch.zeros((), dtype=torch.float64), 0
    for row in rows:
        hidden = states_of_row(model, task, part, int(row))[-1]
        if task.kind == "token":
            labels = torch.tensor(split.labels[split.offsets[row] : split.offsets[row + 1]])
            vectors = hidden
        else:
            labels = torch.tensor(split.labels[row : row + 1])
            vectors = row_vector(hidden, pooling)[None]
        outputs = vectors @ head.linear.weight.T + head.linear.bias
        labels = labels.double() if task.kind == "regression" else labels
        total = total + head.loss(outputs, labels)
        scored += int((labels != IGNORED).sum())
    return total / scored
