"""Keys of evidence: another wherever arrays or scores would be, the same wherever they would not."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from probe_subjects import recipe_of
from synthetic_tasks import BASE, TASKS

from auxtune.trials.probes.probe import ProbeError, hash_probe, hash_run
from auxtune.trials.recipe import Recipe
from auxtune.trials.tokens import EncodedTask, keep_rows, shuffle_labels

RECIPE = recipe_of(("sign",))
SIGN = TASKS["sign"]


def key(recipe: Recipe = RECIPE, task: EncodedTask = SIGN, gpus: float = 0.0) -> str:
    return hash_run(recipe, {**TASKS, "sign": task}, BASE, gpus)


def changed(**values: Any) -> Recipe:
    return dataclasses.replace(RECIPE, **values)


def with_model(**values: Any) -> Recipe:
    return changed(model=dataclasses.replace(RECIPE.model, **values))


def in_other_token_ids() -> EncodedTask:
    """As another tokenizer would have the same rows."""
    splits = {part: dataclasses.replace(split, tokens=split.tokens[::-1].copy()) for part, split in SIGN.splits.items()}
    return dataclasses.replace(SIGN, splits=splits)


@pytest.mark.parametrize(
    "recipe",
    [
        changed(probes={"gradients": {}}),
        changed(test=("sign",)),
        changed(threads=4, time_limit=60.0, checkpoint_every=1.0),
        changed(precision="float32"),  # what ``auto`` is on a CPU
        with_model(name="elsewhere/the-same", trust_remote_code=True),
    ],
)
def test_what_decides_nothing_changes_no_key(recipe: Recipe) -> None:
    assert recipe != RECIPE and key(recipe) == key()


@pytest.mark.parametrize(
    "recipe",
    [
        changed(seed=1),
        changed(steps=15),
        changed(evaluate_every=5),  # other weights are the best seen
        changed(precision="bfloat16"),
        changed(learning_rate=1e-3),
        changed(cycle=None),
        changed(loss_weights={"sign": 2.0}),
        changed(search_score="loss"),  # what is told of it is kept with it
        with_model(pooling="mean"),
        with_model(alignment="covariance"),
        with_model(max_length=8),
        recipe_of(("sign", "tags")),
        recipe_of(("sign", "tags"), evaluate=("sign",)),
        recipe_of(("sign", "tags"), evaluate=("sign",), source_tasks=("tags",)),
    ],
)
def test_what_decides_the_weights_changes_the_key(recipe: Recipe) -> None:
    assert key(recipe) != key()


@pytest.mark.parametrize(
    "task",
    [
        dataclasses.replace(SIGN, digest="other rows"),
        dataclasses.replace(SIGN, metrics=("f1", "accuracy")),  # the main metric picks the best weights
        in_other_token_ids(),
        shuffle_labels(SIGN, 1),
        keep_rows(SIGN, np.arange(10)),
    ],
    ids=["rows", "metric", "tokenizer", "twin", "some rows"],
)
def test_what_a_run_learns_from_changes_its_key(task: EncodedTask) -> None:
    assert key(task=task) != key()


def test_other_tasks_of_the_study_change_nothing() -> None:
    assert hash_run(RECIPE, {"sign": SIGN}, BASE, 0.0) == key()


def test_a_gpu_and_what_is_automatic_there_are_something_else() -> None:
    keys = {key(gpus=0), key(gpus=1), key(gpus=0.5), key(changed(precision="float32"), gpus=1)}
    assert len(keys) == 3, "a share of a GPU computes what a whole one does"


def test_defaults_may_be_spelled_out() -> None:
    assert hash_probe("run", "gradients", {}, None) == hash_probe("run", "gradients", {"batches": 8}, None)
    spelled = {"order": "exact", "step": "sgd", "every": 10}
    assert hash_probe("run", "lookahead", {}, None) == hash_probe("run", "lookahead", spelled, None)


def test_another_option_run_or_batch_of_texts_is_another_key() -> None:
    keys = {
        hash_probe(run, probe, options, texts)
        for run in ("run", "other")
        for probe, options in [("gradients", {}), ("gradients", {"batches": 4}), ("covariance", {})]
        for texts in (None, "digest")  # which these do not read
    }
    assert len(keys) == 6
    assert hash_probe("run", "hidden_states", {}, "one") != hash_probe("run", "hidden_states", {}, "other")


@pytest.mark.parametrize(
    ("probe", "options"), [("cka", {}), ("gradients", {"batch": 1}), ("gradients", {"batches": 0})]
)
def test_what_cannot_be_measured_has_no_key(probe: str, options: dict[str, Any]) -> None:
    with pytest.raises(ProbeError, match="expected"):
        hash_probe("run", probe, options, None)
