"""Guesses what an unknown key was meant to be: a misspelt key, a key of another section, or another tool's name.

The surest guess comes first. So ``eval_steps`` is Hugging Face's name of ``training.evaluate_every``, and not a
misspelt ``steps``; and ``batch_size`` outside of ``training`` is named with its section.

People bring settings along from Hugging Face's ``TrainingArguments`` and example scripts, Ray Tune, Optuna, Lightning
and the like. A row of the table holds such names, our keys for them, and a note on what differs, above all units. A
name without a key of ours has only the note. ``TASK`` stands for a task's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from auxtune.orchestrator.study_file.keys import Schema, build_study_schema, find_key, resolve_schema
from auxtune.orchestrator.study_file.models import KeyPath
from auxtune.trials.errors import find_closest


@dataclass(frozen=True)
class Counterpart:
    """The dotted keys that stand for another tool's key, none for what has no counterpart, and what to know of them."""

    keys: tuple[str, ...]
    note: str

    def hint(self, task: str = "NAME") -> str:
        """``did you mean `budget.wall_hours`, in hours and not in seconds?``, for a key inside ``task`` if in any."""
        named = " and ".join(f"`{key.replace('TASK', task)}`" for key in self.keys)
        note = self.note.replace("TASK", task)
        if not named:
            return note
        return f"did you mean {named}, {note}?" if note else f"did you mean {named}?"


# Other tools' names, our keys for them (`-`: none), a note. A name with a dot counts only in that section (or `top`).
_ROWS: Final = (
    # How trials are trained.
    ("lr learning_rate_init base_lr init_lr max_lr peak_lr", "training.learning_rate", ""),
    ("epochs epoch n_epochs num_epochs num_train_epochs max_epochs total_epochs nb_epochs", "training.epochs", ""),
    ("max_steps num_steps n_steps train_steps num_train_steps max_train_steps training_steps total_steps iterations",
     "training.steps", "over all tasks of a trial"),
    ("per_device_train_batch_size per_gpu_train_batch_size train_batch_size train_micro_batch_size_per_gpu bs "
     "mini_batch_size global_batch_size", "training.batch_size", ""),
    ("eval_batch_size per_device_eval_batch_size valid_batch_size val_batch_size test_batch_size", "-",
     "remove it: in what batches rows are evaluated makes no difference to their scores"),
    ("gradient_accumulation_steps gradient_accumulation grad_accumulation_steps accumulate_grad_batches grad_accum "
     "accumulation_steps", "training.accumulate", "in batches"),
    ("eval_steps eval_every eval_interval eval_frequency evaluation_steps evaluation_strategy eval_strategy "
     "val_check_interval validate_every check_val_every_n_epoch evaluate_every_steps test_every",
     "training.evaluate_every", "in steps"),
    ("bf16 fp16 amp mixed_precision half_precision use_amp use_fp16 use_bf16 dtype torch_dtype",
     "training.precision", "one of auto, float32 and bfloat16"),
    ("wd l2 l2_reg weight_decay_rate", "training.weight_decay", ""),
    ("warmup_ratio warmup_proportion warmup_fraction", "training.warmup", "the share of steps"),
    ("warmup_steps num_warmup_steps warmup_updates", "training.warmup",
     "a share of `training.steps` from 0 to 1 and not a number of steps"),
    ("max_grad_norm grad_clip gradient_clip_val gradient_clip gradient_clipping clip_grad_norm clip_norm grad_norm "
     "max_norm", "training.clip", ""),
    ("optim optimizer optimiser optimizer_name adam_beta1 adam_beta2 adam_epsilon betas", "-",
     "remove it: the optimizer is AdamW with its usual constants; `training.learning_rate` and "
     "`training.weight_decay` are its keys"),
    ("lr_scheduler lr_scheduler_type lr_schedule scheduler_type", "-",
     "remove it: the learning rate rises for `training.warmup` of the steps and then falls linearly"),
    ("scheduler trial_scheduler pruner stopper", "training.early_stopping", "which is `asha` or null"),
    ("early_stopping_patience patience early_stop", "training.early_stopping",
     "`asha`, which compares trials with each other, or null; within a trial the best weights count"),
    ("dropout hidden_dropout hidden_dropout_prob attention_dropout dropout_rate", "-",
     "remove it: dropout is what the configuration of `model.name` says"),
    ("load_best_model_at_end save_best_model keep_best restore_best_weights", "-",
     "remove it: the weights of a trial's best evaluation always count"),
    ("save_steps save_every save_interval save_strategy checkpoint_freq checkpoint_frequency checkpoint_steps",
     "training.checkpoint_every", "in seconds and not in steps"),
    ("logging_steps log_every log_interval log_every_n_steps log_steps logging_strategy save_total_limit "
     "overwrite_output_dir resume_from_checkpoint resume do_train do_eval do_predict verbose shuffle", "-",
     "remove it: auxtune does that by itself"),
    ("temperature sampling_temperature mixing_temperature", "training.sampling", "`size^α` with α = 1 / temperature"),
    ("weights task_weights loss_weights mixture_weights mixing_weights sampling_weights mixing_ratio mixing_ratios "
     "proportions mixing_rates", "-",
     "remove it: shares are what the selector decides; `training.sampling` says those of a set without any"),
    # What the search may take, and on what.
    ("num_samples n_trials max_trials num_trials max_evals max_evaluations total_trials n_iter n_calls "
     "max_runs run_cap", "budget.trials", "confirm included"),
    ("time_budget_s time_budget timeout max_time time_limit max_wall_time walltime max_duration max_seconds",
     "budget.wall_hours", "in hours and not in seconds"),
    ("max_hours time_budget_hours budget.hours", "budget.wall_hours", ""),
    ("max_gpu_hours gpu_budget", "budget.gpu_hours", ""),
    ("max_cost cost_budget budget_usd dollars", "budget.usd", ""),
    ("num_gpus n_gpus gpu use_gpu gpus_per_trial num_gpus_per_trial gpu_per_trial accelerator", "resources.gpus",
     "per trial"),
    ("num_cpus n_cpus cpu cpus_per_trial num_cpus_per_trial cpu_per_trial", "resources.cpus", "per trial"),
    ("num_workers dataloader_num_workers n_workers num_proc num_threads threads", "resources.cpus",
     "cores per trial, which are also its threads"),
    ("resources_per_trial resource scaling_config", "resources", "with `cpus` and `gpus` per trial"),
    ("max_concurrent_trials max_concurrent n_jobs parallel n_parallel num_parallel parallel_trials max_parallel_trials "
     "concurrency", "resources.concurrent", ""),
    ("no_cuda use_cpu cpu_only", "resources.device", "`cpu` or `auto`"),
    ("max_failures max_retries", "resources.retries", "of a trial whose machine died"),
    ("search_alg search_algorithm searcher sampler algorithm algo tuner strategy search_strategy method "
     "selection_method", "selector", "one of `auxtune selectors`"),
    ("random_state random_seed manual_seed rng_seed data_seed global_seed", "seed", ""),
    ("num_seeds n_seeds repeats n_repeats num_repeats n_runs num_runs", "confirm.seeds", "runs per arm"),
    ("baselines baseline", "confirm.controls", ""),
    ("num_groups n_groups n_models num_models max_models", "models", "with `objective: groups`"),
    # The encoder.
    ("model_name_or_path model_name pretrained pretrained_model pretrained_model_name pretrained_model_name_or_path "
     "base_model backbone encoder encoder_name hf_model model_id model_path model_type model.path model.checkpoint",
     "model.name", "a hub id, a folder, `package:NAME/FOLDER` or `tiny`"),
    ("tokenizer tokenizer_name tokenizer_name_or_path", "-", "remove it: the tokenizer is the one of `model.name`"),
    ("num_layers num_hidden_layers n_layers", "model.layers", "the first n, or null for all"),
    ("max_seq_length max_seq_len max_sequence_length max_len maxlen max_input_length max_source_length sequence_length "
     "seq_length seq_len model_max_length block_size cutoff_len", "model.max_length", "in tokens"),
    ("pooling_mode pooling_strategy pooler pool", "model.pooling", "`cls` or `mean`"),
    ("padding truncation pad_to_max_length", "-", "remove it: texts are cut at `model.max_length` and padded by batch"),
    # Tasks and their rows.
    ("target_task main_task primary_task", "primary", "a task's name"),
    ("auxiliary_tasks auxiliaries aux_tasks auxiliary", "tasks", "where all but `primary` are candidates"),
    ("dataset dataset_name datasets dataset_id hf_dataset dataset_path train_dataset task task_name data_files "
     "data_file train_file train_path train_data training_data file csv json jsonl parquet data_path data_dir data "
     "folder train_files filename file_path", "-",
     "rows are a task's: `tasks.TASK.path` for a file or folder, `tasks.TASK.files` for one file per split, "
     "`tasks.TASK.hub` for the Hugging Face hub"),
    ("validation_file val_file valid_file dev_file eval_file validation_files dev_path eval_dataset",
     "tasks.TASK.files.validation", "beside `train`"),
    ("test_file test_path test_files test_dataset", "tasks.TASK.files.test", "beside `train`"),
    ("dataset_config dataset_config_name config_name subset tasks.name", "tasks.TASK.config", ""),
    ("text_column text_columns text_column_name text_field text_key sentence_column input_column input_columns "
     "input_field sentence sentences sentence1 sentence1_key inputs input features feature_columns tasks.x",
     "tasks.TASK.text", "a list of one column, or of the two of a pair"),
    ("label_column label_columns label_column_name label_field label_key label_name target target_column targets "
     "output_column class_column tasks.y", "tasks.TASK.label", "a column's name"),
    ("token_column tokens_column words word_column", "tasks.TASK.tokens", "a column's name"),
    ("tag_column tags_column ner_tags pos_tags", "tasks.TASK.tags", "a column's name"),
    ("task_type problem_type tasks.type", "tasks.TASK.kind", "which else is read off the labels"),
    ("num_labels num_classes n_classes n_labels", "-",
     "remove it: labels are read off the data; `tasks.TASK.labels` names them in an order of your own"),
    ("label_list label_names class_names classes id2label label2id label_map", "tasks.TASK.labels",
     "a list of names in order"),
    ("max_train_samples max_samples max_rows n_rows nrows num_rows num_train_examples max_train_examples train_size",
     "tasks.TASK.rows", "the most rows to train on"),
    ("train_split", "tasks.TASK.split", ""),
    ("validation_split validation_split_percentage val_split eval_split dev_split validation_size val_size dev_size "
     "eval_size tasks.selection", "tasks.TASK.splits.validation", "a share below 1, a number of rows or a file"),
    ("test_split test_size tasks.report", "tasks.TASK.splits.test", "a share below 1, a number of rows or a file"),
    ("metric_for_best_model eval_metric metric_name metrics scoring compute_metrics evaluation_metric monitor",
     "tasks.TASK.metric", "the main one first"),
    ("greater_is_better direction top.mode maximize minimize higher_is_better", "-",
     "remove it: each metric knows whether more of it is better"),
    # Where results go.
    ("output_dir out_dir output_path output save_dir save_path results_dir result_dir storage_path local_dir log_dir "
     "logging_dir work_dir workdir checkpoint_dir default_root_dir", "storage", "the folder of all studies"),
    ("run_name study_name exp_name top.name", "study", ""),
    ("report_to tracking_uri mlflow_tracking_uri mlflow_uri mlflow logger loggers tracker tracker_uri", "tracking.uri",
     "of MLflow"),
    ("experiment_name mlflow_experiment mlflow_experiment_name project project_name wandb_project",
     "tracking.experiment", ""),
    ("wandb wandb_mode tensorboard comet", "-", "remove it: runs are kept in MLflow, at `tracking.uri`"),
    ("push_to_hub hub_token hub_model_id hub_strategy", "-",
     "remove it: `auxtune export` saves the answer as a model, which you can upload"),
)  # fmt: skip


def normalise_key(name: str) -> str:
    """A key without case, underscores and hyphens: the form in which keys are compared."""
    return re.sub(r"[\W_]+", "", name).lower()


@cache
def index_foreign_keys() -> Mapping[str, Counterpart]:
    """Other tools' keys as ``section.plainname``; the section is empty for those that mean the same everywhere."""
    found: dict[str, Counterpart] = {}
    for names, keys, note in _ROWS:
        for name in names.split():
            section, _, last = name.rpartition(".")
            counterpart = Counterpart(() if keys == "-" else tuple(keys.split()), note)
            if found.setdefault(f"{section}.{normalise_key(last)}", counterpart) != counterpart:
                raise ValueError(f"{name} has two counterparts")
    return found


def find_counterpart(section: str, name: str) -> Counterpart | None:
    """Our counterpart of another tool's key ``name`` found in ``section`` (``top``: outside of all sections)."""
    table = index_foreign_keys()
    return table.get(f"{section}.{normalise_key(name)}") or table.get(f".{normalise_key(name)}")


_SLIP = 0.7  # how alike a misspelt key is to one beside it
_FAR_SLIP = 0.85  # and to one that belongs elsewhere: there are many of these


def explain_unknown_key(path: KeyPath, value: Any) -> Iterator[tuple[KeyPath, str]]:
    """Messages about the unknown key at ``path``, and about keys inside its value that have a meaning here."""
    known = list(resolve_schema(find_key(path[:-1])[1]).get("properties", ()))
    hint = guess_key(path, known)
    yield path, f"unknown key; {hint or 'known are ' + ', '.join(known)}"
    if isinstance(value, Mapping):
        for key, inside in value.items():
            within = (*path, str(key))
            if inner := guess_key(within, []):
                yield within, f"unknown key; {inner}"
            elif isinstance(inside, Mapping):
                yield from list(explain_unknown_key(within, inside))[1:]


def guess_key(path: KeyPath, known: list[str]) -> str | None:
    """A suggestion for the key at ``path``, where ``known`` keys are allowed; ``None`` if nothing resembles it."""
    name, task = str(path[-1]), str(path[1]) if path[0] == "tasks" and len(path) > 2 else "NAME"
    same = [key for key in known if normalise_key(key) == normalise_key(name)]
    foreign = find_counterpart(str(path[0]) if len(path) > 1 else "top", name)
    elsewhere = index_own_keys().get(normalise_key(name), ())
    if same:
        return f"did you mean `{same[0]}`?"
    if foreign is not None:
        return foreign.hint(task)
    if elsewhere:
        return _suggest_keys(elsewhere, task)
    if slip := find_closest(name, known, _SLIP):
        return f"did you mean `{slip}`?"
    return _guess_far_key(normalise_key(name), task)


def _guess_far_key(name: str, task: str) -> str | None:
    """A suggestion from all sections and tools. Not for short names, which resemble others by chance."""
    foreign = {key[1:]: counterpart for key, counterpart in index_foreign_keys().items() if key.startswith(".")}
    found = find_closest(name, [*index_own_keys(), *foreign], _FAR_SLIP) if len(name) > 6 else None
    if found is None:
        return None
    return _suggest_keys(index_own_keys()[found], task) if found in index_own_keys() else foreign[found].hint(task)


def _suggest_keys(keys: tuple[str, ...], task: str) -> str:
    return f"did you mean {' or '.join(f'`{key}`' for key in keys).replace('TASK', task)}?"


@cache
def index_own_keys() -> Mapping[str, tuple[str, ...]]:
    """All keys of the study file, dotted, by their normalised last part."""
    found: dict[str, tuple[str, ...]] = {}
    for dotted in _walk_keys(build_study_schema(), ""):
        name = normalise_key(dotted.rpartition(".")[2])
        found[name] = (*found.get(name, ()), dotted)
    return found


def _walk_keys(section: Schema, prefix: str) -> Iterator[str]:
    for key, node in resolve_schema(section).get("properties", {}).items():
        yield f"{prefix}{key}"
        yield from _walk_keys(node, f"{prefix}{key}.")
        entries = resolve_schema(node).get("additionalProperties")
        if isinstance(entries, Mapping):
            yield from _walk_keys(entries, f"{prefix}{key}.TASK.")
