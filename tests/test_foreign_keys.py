"""Keys as other trainers and tuners call them, and keys in the wrong section, are answered with the right one."""

from __future__ import annotations

import re

import pytest
import yaml
from study_text import BASE, mistakes

from auxtune.orchestrator.study_file.keys import find_key
from auxtune.orchestrator.study_file.unknown_keys import guess_key, index_foreign_keys, index_own_keys

# The key as it is written, and the full path of the key that it stands for; then what units are said, if they differ.
FROM_ELSEWHERE = [
    ("lr", "training.learning_rate", ""),
    ("training.lr", "training.learning_rate", ""),
    ("learning_rate_init", "training.learning_rate", ""),
    ("epochs", "training.epochs", ""),
    ("training.num_train_epochs", "training.epochs", ""),
    ("max_epochs", "training.epochs", ""),
    ("training.max_steps", "training.steps", ""),
    ("training.per_device_train_batch_size", "training.batch_size", ""),
    ("train_batch_size", "training.batch_size", ""),
    ("gradient_accumulation_steps", "training.accumulate", ""),
    ("training.eval_steps", "training.evaluate_every", "in steps"),
    ("eval_every", "training.evaluate_every", "in steps"),
    ("training.evaluation_strategy", "training.evaluate_every", "in steps"),
    ("training.eval_strategy", "training.evaluate_every", "in steps"),
    ("training.bf16", "training.precision", "bfloat16"),
    ("fp16", "training.precision", "float32"),
    ("warmup_ratio", "training.warmup", "share"),
    ("training.warmup_steps", "training.warmup", "a share of `training.steps` from 0 to 1 and not a number of steps"),
    ("max_grad_norm", "training.clip", ""),
    ("training.save_steps", "training.checkpoint_every", "in seconds and not in steps"),
    ("budget.num_samples", "budget.trials", "confirm included"),
    ("n_trials", "budget.trials", ""),
    ("budget.max_trials", "budget.trials", ""),
    ("budget.time_budget_s", "budget.wall_hours", "in hours and not in seconds"),
    ("timeout", "budget.wall_hours", "in hours and not in seconds"),
    ("model_name_or_path", "model.name", "a hub id"),
    ("model.model_name", "model.name", ""),
    ("model.encoder", "model.name", ""),
    ("base_model", "model.name", ""),
    ("model.pretrained", "model.name", ""),
    ("max_seq_length", "model.max_length", "in tokens"),
    ("model.max_len", "model.max_length", ""),
    ("tasks.cr.num_labels", "tasks.cr.labels", "read off the data"),
    ("num_labels", "tasks.NAME.labels", "read off the data"),
    ("tasks.cr.dataset_name", "tasks.cr.hub", ""),
    ("dataset", "tasks.NAME.hub", ""),
    ("data_files", "tasks.NAME.files", ""),
    ("tasks.cr.text_column", "tasks.cr.text", "a list"),
    ("tasks.cr.label_column", "tasks.cr.label", ""),
    ("tasks.cr.metric_for_best_model", "tasks.cr.metric", ""),
    ("metric_for_best_model", "tasks.NAME.metric", ""),
    ("tasks.cr.max_train_samples", "tasks.cr.rows", ""),
    ("tasks.cr.test_size", "tasks.cr.splits.test", "share"),
    ("output_dir", "storage", ""),
    ("report_to", "tracking.uri", "MLflow"),
    ("tracking.tracking_uri", "tracking.uri", ""),
    ("mlflow_tracking_uri", "tracking.uri", ""),
    ("experiment_name", "tracking.experiment", ""),
    ("name", "study", ""),
    ("num_workers", "resources.cpus", "cores"),
    ("resources_per_trial", "resources", "per trial"),
    ("resources.num_gpus", "resources.gpus", ""),
    ("num_cpus", "resources.cpus", ""),
    ("max_concurrent_trials", "resources.concurrent", ""),
    ("search_alg", "selector", ""),
    ("scheduler", "training.early_stopping", "asha"),
    ("random_state", "seed", ""),
    ("confirm.num_seeds", "confirm.seeds", ""),
    ("temperature", "training.sampling", "α = 1 / temperature"),
    ("selector.num_trials", "budget.trials", ""),
    # As the same words are written elsewhere.
    ("training.maxSteps", "training.steps", ""),
    ("training.num-train-epochs", "training.epochs", ""),
    ("training.per_device_train_batchsize", "training.batch_size", ""),
    # Misspelt.
    ("gradient_acumulation_steps", "training.accumulate", ""),
    # Our own, in the wrong section.
    ("batch_size", "training.batch_size", ""),
    ("trials", "budget.trials", ""),
    ("metric", "tasks.NAME.metric", ""),
    ("training.seed", "seed", ""),
    ("training.encoder", "model.name", ""),
    ("model.learning_rate", "training.learning_rate", ""),
    ("tasks.cr.max_length", "model.max_length", ""),
    ("resources.wall_hours", "budget.wall_hours", ""),
    ("learning_rte", "training.learning_rate", ""),
    ("selector.batch_size", "training.batch_size", ""),
]  # fmt: skip

OUTSIDE = [row for row in FROM_ELSEWHERE if "." not in row[0]]


def with_key(key: str) -> str:
    data = yaml.safe_load(BASE.replace("selector: random_subset", "selector: {name: thompson}"))
    *sections, last = key.split(".")
    inside = data
    for section in sections:
        inside = inside.setdefault(section, {})
    inside[last] = "@here@"
    return yaml.safe_dump(data, sort_keys=False, default_flow_style=False)


@pytest.mark.parametrize(("key", "path", "unit"), FROM_ELSEWHERE, ids=[row[0] for row in FROM_ELSEWHERE])
def test_a_key_from_elsewhere_is_answered_with_its_full_path(key: str, path: str, unit: str) -> None:
    text = with_key(key)
    line = next(number for number, line in enumerate(text.splitlines(), 1) if "@here@" in line)
    [mistake] = mistakes(text)
    assert (mistake.key, mistake.place) == (key, line)
    assert f"`{path}`" in mistake.message and unit in mistake.message


@pytest.mark.parametrize(("key", "path", "unit"), OUTSIDE, ids=[row[0] for row in OUTSIDE])
def test_an_override_of_a_foreign_key_gets_the_same_hint(key: str, path: str, unit: str) -> None:
    [mistake] = mistakes(BASE, f"{key}=1")
    assert (mistake.place, mistake.key) == (f"{key}=1", key)
    assert f"`{path}`" in mistake.message and unit in mistake.message


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("load_best_model_at_end", "best evaluation always count"),
        ("optim", "AdamW"),
        ("training.lr_scheduler_type", "falls linearly"),
        ("tokenizer_name", "`model.name`"),
        ("do_train", "by itself"),
        ("greater_is_better", "each metric knows"),
    ],
)
def test_what_has_no_counterpart_is_to_be_removed(key: str, said: str) -> None:
    [mistake] = mistakes(with_key(key))
    assert "unknown key; remove it: " in mistake.message and said in mistake.message


def test_a_slip_of_the_keyboard_is_still_answered_with_the_key_beside_it() -> None:
    for slip, right in (("training.stps", "steps"), ("training.Batch_Size", "batch_size"), ("tasks.cr.txt", "text")):
        [mistake] = mistakes(with_key(slip))
        assert mistake.message == f"unknown key; did you mean `{right}`?"


def test_a_key_that_is_like_none_is_told_the_known_ones() -> None:
    [mistake] = mistakes(with_key("resources.colour"))
    assert mistake.message.startswith("unknown key; known are cpus, gpus, ")


def test_keys_inside_of_another_tools_section_are_answered_one_by_one() -> None:
    text = f"{BASE}optimizer:\n  lr: 0.1\n  groups:\n    weight_decay: 0.1\n  colour: red\n"
    found = {mistake.key: (mistake.place, mistake.message) for mistake in mistakes(text)}
    assert list(found) == ["optimizer", "optimizer.lr", "optimizer.groups.weight_decay"]
    assert found["optimizer.lr"] == (9, "unknown key; did you mean `training.learning_rate`?")
    assert found["optimizer.groups.weight_decay"] == (11, "unknown key; did you mean `training.weight_decay`?")


def test_an_override_inside_of_another_tools_section_is_named_by_the_override() -> None:
    assert {mistake.place for mistake in mistakes(BASE, "optimizer.lr=0.1")} == {"optimizer.lr=0.1"}


def test_every_hint_names_keys_that_there_are() -> None:
    assert len(index_foreign_keys()) > 200
    for counterpart in index_foreign_keys().values():
        hint = counterpart.hint("cr")
        named = [*counterpart.keys, *re.findall(r"`([a-z_]+\.[a-zA-Z_.]+)`", hint)]
        for key in named:
            path = tuple(key.replace("TASK", "cr").split("."))
            assert find_key(path)[0] == path, f"{key}: no key of the study file"
        assert "TASK" not in hint


def test_no_key_of_the_study_file_is_taken_for_another_tools() -> None:
    """A key in the wrong section is named with its own: no row of the table may hide that."""
    for name, keys in index_own_keys().items():
        if len(keys) == 1:
            hint = guess_key(("elsewhere", name), [])
            assert hint is not None and f"`{keys[0].replace('TASK', 'NAME')}`" in hint, (name, hint)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("seed: 0", "model: bert-base-cased"), "write `model: {name: bert-base-cased}`"),
        (("{trials: 30}", "30"), "write `budget: {trials: 30}`"),
        (("{path: cr}", "cr.csv"), "write `cr: {path: cr.csv}`"),
    ],
)
def test_a_value_in_the_place_of_a_section_is_answered_with_the_key_it_is_meant_for(
    change: tuple[str, str], said: str
) -> None:
    text = f"{BASE}seed: 0\n".replace(*change)
    assert any("expected a mapping" in mistake.message and said in mistake.message for mistake in mistakes(text))
