"""The studies whose ledgers are kept as fixtures: one for each selector, and a few for what no selector brings about.

They are as small as they can be and still have something to fold: 160 rows a task, thirty steps a trial.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from recorded_tables import transfer_rows, write_table

_STUDY = """\
# {about}
study: {name}
{question}
tasks:
{tasks}
model: {{name: tiny, max_length: 16, pooling: mean}}
training: {training}
selector: {selector}
confirm: {confirm}
budget: {{trials: {trials}}}
resources: {{cpus: 1, gpus: 0, concurrent: {concurrent}}}
prices: {{cpu_hour: 0.04}}
storage: storage
tracking: {{uri: "sqlite:///mlflow.db", experiment: golden, children: none}}
seed: {seed}
{more}"""
_SPLITS = "rows: 160, splits: {probe: 40, validation: 40, test: 60}"
_BUILTIN = "\n".join(f"  {task}: {{builtin: {task}, {_SPLITS}}}" for task in ("mood", "stars", "tint", "slang"))
_COLUMNS = "\n".join(
    f"  {column}: {{path: shared.csv, text: [text], label: {column}, {_SPLITS.removeprefix('rows: 160, ')}}}"
    for column in ("good", "better", "other")
)
_GROUPS = "objective: groups\nmodels: 2"
_ALL = "{seeds: 2, controls: [all_tasks]}"  # of groups, single_task takes a model for each task


@dataclass(frozen=True)
class Made:
    """What is special of one study."""

    selector: str
    about: str = ""
    question: str = "primary: mood"
    tasks: str = _BUILTIN
    training: str = "{steps: 30, batch_size: 16, learning_rate: 5.0e-3, evaluate_every: 10}"
    confirm: str = "{seeds: 2, controls: [single_task]}"
    trials: int = 60
    concurrent: int = 1
    more: str = ""
    seed: int | None = None
    fails: bool = False


STUDIES: dict[str, Made] = {
    "single_task": Made("single_task"),
    "all_tasks": Made("all_tasks"),
    "random_subset": Made(
        "{name: random_subset, trials: 4}",
        about="Three seeds give intervals, and each auxiliary is left out in turn.",
        confirm="{seeds: 3, controls: [single_task, all_tasks, random_subset], leave_one_out: true}",
    ),
    "size_proportional": Made("size_proportional"),
    "size_sqrt": Made("size_sqrt"),
    "auto": Made("auto", about="The default; it may end by itself.", trials=12),
    "random_mixture": Made("{name: random_mixture, trials: 5}"),
    "random_groups": Made(
        "{name: random_groups, groupings: 2}",
        question=_GROUPS,
        confirm="{seeds: 2, controls: [single_task]}",
    ),
    "thompson": Made("{name: thompson, rounds: 6, round_steps: 5, seeds: 2}", about="Steered inside its runs."),
    "thompson_trials": Made("{name: thompson, mode: trials, rounds: 5}", about="Each pull is a trial."),
    "gp_mixing": Made("{name: gp_mixing, samples: 6, startup: 3}"),
    "autosem": Made("{name: autosem, rounds: 6, round_steps: 5, seeds: 1, samples: 4, startup: 2}"),
    "mixture_regression": Made("{name: mixture_regression, samples: 10, verify: 1, rounds: 1}"),
    "gradts_threshold": Made("{name: gradts_threshold, twins: 2}", seed=7),
    "gradts_trial": Made(
        "{name: gradts_trial, ahead: 1}", about="Told of the loss in place of the metric.", more="search_score: loss\n"
    ),
    "gradts_instance": Made("{name: gradts_instance, threshold: [0.0, 0.2]}"),
    "covariance_similarity": Made("{name: covariance_similarity, trained: false}"),
    "svd_reweighting": Made("svd_reweighting", question="primary: good", tasks=_COLUMNS),
    "representation_gradient": Made("{name: representation_gradient, batches: 2}", question=_GROUPS, confirm=_ALL),
    "tag": Made("{name: tag, probe_every: 5}", question=_GROUPS, confirm=_ALL),
    "exhaustive": Made("exhaustive"),
    "hoa": Made("hoa", question=_GROUPS, confirm=_ALL, about="Two trials at once.", concurrent=2),
    "grad_tag": Made("{name: grad_tag, rows: 20, projection: 10, subsets: 20}", question=_GROUPS, confirm=_ALL),
    "linear_surrogate": Made(
        "{name: linear_surrogate, size: 1, subsets: 4, verify: 2}", about="Two trials at once.", concurrent=2
    ),
    "transfer_prior": Made("{name: transfer_prior, keep: 2, try_top: 1}", more="earlier: log\n"),
    "pipeline": Made(
        "[{name: gradts_threshold, threshold: 0.0}, {name: gp_mixing, samples: 4, startup: 2}]",
        about="A pipeline, which takes what gradts_threshold measured.",
        seed=7,
    ),
    "two_searches": Made("{name: random_subset, trials: 2}", about="Two searches.", more="search_seeds: 2\n"),
    "stopped_early": Made(
        "{name: random_subset, trials: 6}",
        about="Some of its trials are stopped early.",
        training="{steps: 30, batch_size: 16, learning_rate: 5.0e-3, evaluate_every: 5, early_stopping: asha}",
    ),
    "failed": Made(
        "{name: random_subset, trials: 4}",
        about="No trial can succeed.",
        training="{steps: 30, batch_size: 16, learning_rate: 1.0e+30, evaluate_every: 10}",
        more="stop_after_failures: 2\n",
        fails=True,
    ),
    "equal_cost_random": Made(
        "{name: random_subset, trials: 3}",
        about="Compared with random mixtures that cost as much as the search.",
        confirm="{seeds: 2, controls: [single_task, equal_cost_random]}",
    ),
    "gp_mixing_2": Made("{name: gp_mixing, samples: 7, startup: 3}", about="Version 2 of gp_mixing."),
    "autosem_2": Made(
        "{name: autosem, rounds: 6, round_steps: 5, seeds: 1, samples: 5, startup: 2}", about="Version 2 of autosem."
    ),
    "mixture_regression_2": Made(
        "{name: mixture_regression, samples: 10, verify: 1, rounds: 1, max_epochs: 2}",
        about="Version 2 of mixture_regression, which limits how often rows are repeated.",
    ),
    "auto_groups": Made(
        "auto", question=_GROUPS, confirm=_ALL, about="Without a primary it searches groups.", trials=16, seed=140
    ),
}
# Made by the first version of their selectors, which is no more.
KEPT = ("gp_mixing", "autosem", "mixture_regression", "pipeline")


def study_text(name: str) -> str:
    """The study file. Each has a seed of its own, so that none takes another's evidence but where that is wanted."""
    made = STUDIES[name]
    return _STUDY.format(
        name=name,
        about=made.about or f"The selector {name}.",
        question=made.question,
        tasks=made.tasks,
        training=made.training,
        selector=made.selector,
        confirm=made.confirm,
        trials=made.trials,
        concurrent=made.concurrent,
        seed=100 + list(STUDIES).index(name) if made.seed is None else made.seed,
        more=made.more,
    )


def write_inputs(folder: Path) -> None:
    """The files that studies name: a table with several columns of labels, and what earlier studies found."""
    rng = np.random.default_rng(0)
    with (folder / "shared.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "good", "better", "other"])
        for number in range(600):
            words = rng.integers(40, size=6)
            text = " ".join(f"w{word}" for word in words)
            writer.writerow(
                [f"{text} n{number}", *(int((words < bound).sum() > 2) for bound in (20, 16)), int(words[0] % 2)]
            )
    tasks = ("mood", "stars", "tint", "slang", *(f"other{number}" for number in range(6)))
    write_table(folder / "log", "transfer", tasks, transfer_rows(tasks, "stars"), mode="max")
