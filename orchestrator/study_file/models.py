"""The study file's keys: every one with its type, its default and what it means.

These models are the only place where keys are defined. The table in the documentation, the JSON schema and the
messages about mistakes are made from them (``keys``). Rules over more than one key are in ``rules``; the keys of a task
are in ``task_models``.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from auxtune.orchestrator.storage.stores import check_storage
from auxtune.orchestrator.study_file.task_models import Section, TaskOptions, Text
from auxtune.orchestrator.uri_secrets import hide_secrets
from auxtune.trials.recipe import LONGEST_INPUT, ModelOptions, Recipe, is_packaged, split_package_name

Control = Literal[
    "single_task",
    "all_tasks",
    "random_subset",
    "same_tasks_equal",
    "size_sqrt",
    "size_proportional",
    "equal_cost_random",
]
CONTROLS: tuple[Control, ...] = ("single_task", "all_tasks", "random_subset", "same_tasks_equal")  # by default

KeyPath: TypeAlias = tuple[str | int, ...]  # the way to a key: ("tasks", "rte", "rows")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


def _check_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(
            "expected a name of at most 100 letters, digits, `_`, `-` and `.` that starts with neither `-` nor `.`, "
            f"found {text!r}; names become folders and MLflow names"
        )
    return text


def _check_sampling(rule: str) -> str:
    if not re.fullmatch(r"equal|proportional|size\^\d+(\.\d+)?", rule):
        raise ValueError(f"expected equal, proportional or size^α with a number for α, found {rule!r}")
    return rule


def _check_children(rule: str) -> str:
    if not re.fullmatch(r"all|none|best [1-9]\d*", rule):
        raise ValueError(f"expected all, none or best N with a whole number for N, found {rule!r}")
    return rule


def _check_model_name(name: str) -> str:
    if is_packaged(name):
        split_package_name(name)
    return name


def check_tracking(uri: str) -> str:
    """The tracking URI as it came.

    Raises ``ValueError`` for what MLflow takes for a folder, and for a password that would end the part it stands in:
    its rest would be shown as if it were a path.
    """
    if "://" not in uri or uri.startswith("file:"):
        raise ValueError(
            f"expected a URI such as sqlite:///mlflow.db or http://host:5000, found {hide_secrets(uri)!r}; "
            "MLflow no longer keeps runs in plain folders"
        )
    if not uri.startswith("sqlite:") and "@" in uri.replace(urlsplit(uri).netloc, "", 1):
        raise ValueError(
            f"expected a name and password without / ? # in them, found {hide_secrets(uri)!r}; write these as "
            "%2F %3F %23, or set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    return uri


Name: TypeAlias = Annotated[str, AfterValidator(_check_name)]
DEFAULT_SELECTOR = "auto"


def parse_selector(value: Any) -> Any:
    """``SelectorOptions`` of what a file writes: a name, a mapping of `name` and options, or a list of stages.

    Raises ``ValueError`` for anything else.
    """
    if isinstance(value, list) and value and not any(isinstance(stage, list) for stage in value):
        stages = tuple(parse_selector(stage) for stage in value)
        return {"name": " + ".join(str(stage["name"]) for stage in stages), "stages": stages}
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, dict) and "name" in value:
        return {"name": value["name"], "options": {key: value[key] for key in value if key != "name"}}
    raise ValueError("expected a selector's name, a mapping with `name` and its options, or a list of such stages")


class EarlierOptions(Section):
    """One source of what is known from before: a recorded table, or runs that were made anywhere."""

    table: Text | None = Field(default=None, description="The folder of a recorded table of the kind `transfer`.")
    csv: Text | None = Field(default=None, description="A file of runs in the format of `auxtune suggest`.")
    target: Text | None = Field(default=None, description="Its column `y:NAME`; needed where there are several.")
    mode: Literal["max", "min"] = Field(default="max", description="What is better of the target.")


def parse_earlier(value: Any) -> Any:
    """``EarlierOptions`` of what a file writes: a folder, or a list of folders and mappings; nothing of null.

    Raises ``ValueError`` for anything else.
    """
    entries = value if isinstance(value, list) else [] if value is None else [value]
    if isinstance(value, dict) or not all(isinstance(entry, str | dict) for entry in entries):
        raise ValueError("expected the folder of a table, or a list of such folders and of mappings as {csv: FILE}")
    return tuple({"table": entry} if isinstance(entry, str) else entry for entry in entries)


class EncoderOptions(Section):
    """The encoder that all tasks share."""

    name: Annotated[str, AfterValidator(_check_model_name)] = Field(
        default=ModelOptions.name,
        min_length=1,
        description="A hub id, a folder (relative to the study file), `package:NAME/FOLDER` (a folder inside an "
        "installed Python package), or `tiny`: a small BERT trained from scratch.",
    )
    layers: Annotated[int, Field(ge=1)] | None = Field(
        default=ModelOptions.layers, description="Keep only the first n layers."
    )
    max_length: int = Field(
        default=ModelOptions.max_length,
        ge=4,
        le=LONGEST_INPUT,
        description="Longest input in tokens; the rest is cut off.",
    )
    pooling: Literal["cls", "mean"] = Field(
        default=ModelOptions.pooling,
        description="One vector per sentence: the first token's, or the mean of all. Of a causal decoder, such as "
        "GPT-2 or Llama, `cls` is the last token's: its first has seen nothing else.",
    )
    trust_remote_code: bool = Field(
        default=ModelOptions.trust_remote_code,
        description="Run Python code that a hub repository brings along. Only for authors you trust.",
    )
    alignment: Literal["none", "covariance"] = Field(
        default=ModelOptions.alignment,
        description="`covariance` multiplies each task's embeddings by a matrix of its own, at first the identity, "
        "that is trained with the rest; under `training.schedule: transfer` those of the primary alone.",
    )


class TrainingOptions(Section):
    """How every trial is trained; search and controls get the same."""

    steps: int = Field(default=Recipe.steps, ge=1, description="Optimisation steps of a trial, over all its tasks.")
    epochs: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="In place of `steps`: how often a trial passes over the primary's training rows, at its share of "
        "the steps. Beside auxiliaries that takes more steps than alone, unless `match: steps` is given.",
    )
    batch_size: int = Field(default=Recipe.batch_size, ge=1, description="Rows per batch.")
    accumulate: int = Field(default=Recipe.accumulate, ge=1, description="Batches added up for one optimisation step.")
    learning_rate: float = Field(default=Recipe.learning_rate, gt=0, description="Highest learning rate of AdamW.")
    warmup: float = Field(
        default=Recipe.warmup, ge=0, le=1, description="Share of the steps with a rising learning rate."
    )
    weight_decay: float = Field(default=Recipe.weight_decay, ge=0, description="AdamW's decoupled weight decay.")
    clip: Annotated[float, Field(gt=0)] | None = Field(
        default=Recipe.clip, description="Largest gradient norm; `null` does not clip."
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default=Recipe.precision,
        description="`auto` is bfloat16 where the device has instructions for it, on a CPU for an encoder of more than "
        "a million weights, else float32.",
    )
    sampling: Annotated[str, AfterValidator(_check_sampling)] = Field(
        default="equal",
        description="How a set of tasks shares the steps: `equal`, `proportional` to training rows, or `size^α`.",
    )
    cycle: Annotated[int, Field(ge=0, le=1000)] | None = Field(
        default=None,
        description="Longest cycle of whole steps per task that stands for the shares; `null` is the larger of 20 "
        "and twice the tasks. 0 draws each step's task at random by share.",
    )
    schedule: Literal["joint", "transfer"] = Field(
        default="joint",
        description="`transfer` trains the auxiliaries for their share of the steps and then the primary alone, with a "
        "learning rate that rises and falls once more. What steers or measures a run always trains jointly.",
    )
    match: Literal["steps", "primary_examples"] = Field(
        default="steps",
        description="What all arms have in common: all steps, or the steps on the primary, as always with `epochs` "
        "unless this is given.",
    )
    early_stopping: Literal["asha"] | None = Field(
        default=None,
        description="`asha` stops trials of the search that are not among the best quarter of those that came as far. "
        "Saves steps and costs exactness: a stopped trial has no score, and a resumed study may stop others.",
    )
    evaluate_every: int = Field(
        default=Recipe.evaluate_every, ge=1, description="Steps between evaluations; the best weights count."
    )
    checkpoint_every: float = Field(
        default=Recipe.checkpoint_every, gt=0, description="Seconds between checkpoints at the most."
    )


class StageOptions(Section):
    """A selector's name and its own options."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class SelectorOptions(StageOptions):
    """The study's selector; or its stages, and then the name joins theirs."""

    stages: tuple[StageOptions, ...] = ()


class ConfirmOptions(Section):
    """The comparison at the end, on the test split, with fresh seeds."""

    seeds: int = Field(default=4, ge=1, description="Runs per arm. Fewer than 3 give no interval.")
    controls: tuple[Control, ...] = Field(
        default=CONTROLS,
        description="What the selection is compared with. Each costs one run per seed, for `objective: groups` one per "
        "model and seed; what trains the same as the selection costs nothing. `equal_cost_random`, random mixtures "
        "searched at the price of the search, also costs as much as the search.",
    )
    leave_one_out: bool = Field(
        default=False,
        description="Also train the selection without each of its auxiliaries in turn: what each contributes. Each "
        "costs one run per seed.",
    )


class BudgetOptions(Section):
    """What the study may take, confirm included. At least one limit; the first one reached ends the search."""

    trials: Annotated[int, Field(ge=1)] | None = Field(default=None, description="Trials.")
    gpu_hours: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="GPUs allocated × hours, over all trials."
    )
    usd: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="US dollars: allocated time × `prices`, which it needs."
    )
    wall_hours: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Hours that the study runs, over all its sessions."
    )


class ResourceOptions(Section):
    """What each trial gets, and how many run at once."""

    cpus: float = Field(default=1, gt=0, description="CPU cores per trial, which are also its threads.")
    gpus: Literal["auto"] | Annotated[float, Field(ge=0)] = Field(
        default="auto",
        description="GPUs per trial: a part of one, which other trials then share, or whole ones. `auto` is 1 where "
        "there is a GPU, or the cluster would start one, else 0.",
    )
    probe_gpus: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="GPUs of a trial that measures evidence; `null` is what other trials get."
    )
    device: Literal["auto", "cpu"] = Field(
        default=Recipe.device,
        description="`cpu` leaves the GPUs that trials are given unused: to rehearse a study on nodes that only claim "
        "to have some.",
    )
    custom: dict[Text, Annotated[float, Field(gt=0)]] = Field(
        default={},
        description="Amounts per trial of resources that nodes of a cluster have under names of their own, such as "
        "`{spot: 0.01}`. Without a cluster they are not looked at.",
    )
    concurrent: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        default="auto", description="Trials at once; `auto` is as many as fit, also when nodes come or go."
    )
    trial_minutes: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Time limit of one attempt; beyond it the trial has failed."
    )
    retries: int = Field(default=3, ge=0, description="New attempts at a trial whose process or machine died.")


class PriceOptions(Section):
    """What an hour costs in US dollars. Without prices, money is unknown."""

    gpu_hour: Annotated[float, Field(ge=0)] | None = Field(default=None, description="One GPU for one hour.")
    cpu_hour: Annotated[float, Field(ge=0)] | None = Field(default=None, description="One CPU core for one hour.")
    nodes: dict[Text, Annotated[float, Field(ge=0)]] = Field(
        default={},
        description="One node of a cluster for one hour, by its type, such as `{gpu_spot: 0.45, head: 0.38}`; nodes "
        "without a type are of the type `head` or `worker`. For `cluster_usd` alone.",
    )


class TrackingOptions(Section):
    """Where MLflow keeps the runs."""

    uri: Annotated[str, AfterValidator(check_tracking)] | None = Field(
        default=None,
        description="MLflow's tracking URI; a relative SQLite file is relative to the working directory. Where it is "
        "not given, the environment's `MLFLOW_TRACKING_URI`, else `sqlite:///mlflow.db`.",
    )
    experiment: Name = Field(default="auxtune", description="The MLflow experiment.")
    children: Annotated[str, AfterValidator(_check_children)] = Field(
        default="all", description="Which trials get a run of their own: `all`, `best N` or `none`."
    )


_FOLDER = {"type": "string", "minLength": 1}
_EARLIER = {"anyOf": [_FOLDER, EarlierOptions.model_json_schema()]}
_STAGE = [{"type": "string"}, {"type": "object", "required": ["name"]}]


class StudyOptions(Section):
    """One question: which tasks to train together, by which model and selector, within which budget."""

    study: Name = Field(description="The study's name: its folder in the storage and its run in MLflow.")
    primary: str | None = Field(default=None, description="The task to win. This or `objective`.")
    objective: Literal["groups"] | None = Field(
        default=None,
        description="`groups`: every task counts, and they may be split over several models. For selectors that group.",
    )
    models: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="With `objective: groups`, the most models that may be served; each trains `training.steps` steps.",
    )
    tasks: dict[Name, TaskOptions] = Field(min_length=1, description="The tasks, each under its name.")
    model: EncoderOptions = EncoderOptions()
    training: TrainingOptions = TrainingOptions()
    selector: Annotated[
        SelectorOptions,
        BeforeValidator(parse_selector),
        WithJsonSchema({"anyOf": [*_STAGE, {"type": "array", "items": {"anyOf": _STAGE}}]}),
    ] = Field(
        default=SelectorOptions(name=DEFAULT_SELECTOR),
        json_schema_extra={"default": DEFAULT_SELECTOR},
        description="What decides which trials to run: a name, `{name: …, option: …}`, or a list of stages, each on "
        "the tasks that the one before it chose. See the selectors.",
    )
    earlier: Annotated[
        tuple[EarlierOptions, ...],
        BeforeValidator(parse_earlier),
        WithJsonSchema({"anyOf": [_FOLDER, {"type": "array", "items": _EARLIER}, {"type": "null"}]}),
    ] = Field(
        default=(),
        json_schema_extra={"default": None},
        description="What is known from before, for selectors that learn from it: the folder of a recorded table of "
        "the kind `transfer`, or a list of such folders and of `{csv: FILE, target: NAME, mode: min}`, runs made "
        "anywhere in the format of `auxtune suggest`, for `auto`. `target` is needed where the file has several, and "
        "`mode` is `max` unless given. Paths are relative to the study file.",
    )
    search_score: Literal["metric", "loss"] = Field(
        default="metric",
        description="What selectors and early stopping are told of a trial, higher is better: the main `metric` on the "
        "validation split, or `loss`, which is minus the mean loss per scored label there (of several tasks: each "
        "divided by that of a constant prediction). Rounds inside a run are told likewise, of the probe split. The "
        "best weights are picked by the metric, and the answer is confirmed by it.",
    )
    search_seeds: int = Field(
        default=1,
        ge=1,
        description="Searches, each with a seed of its own. The one with the best score answers and is confirmed; how "
        "many chose each task is its `stability`.",
    )
    confirm: ConfirmOptions = ConfirmOptions()
    budget: BudgetOptions
    resources: ResourceOptions = ResourceOptions()
    prices: PriceOptions = PriceOptions()
    storage: Annotated[str, AfterValidator(check_storage)] = Field(
        default="./studies",
        min_length=1,
        description="Folder of the studies, relative to the working directory; or `s3://BUCKET/FOLDER`, "
        "`gs://BUCKET/FOLDER`, with credentials from the environment.",
    )
    tracking: TrackingOptions = TrackingOptions()
    stop_after_failures: int = Field(
        default=5, ge=1, description="Failed trials in a row at which the study stops, with exit code 3."
    )
    seed: int = Field(default=0, ge=0, description="Every random choice of the study follows from it.")
