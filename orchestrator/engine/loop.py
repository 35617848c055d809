"""Ray's settings, and Tune over a searcher until it has nothing left or is ended."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # they load torch and what reads data
    from auxtune.trials.encoder import BaseEncoder
    from auxtune.trials.tokens import EncodedTask

# Read by Ray when it is imported or when the Tuner is built; a user's own settings win.
_RAY_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the ledger and MLflow are the record
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial may have no score yet
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # both signals are handled here
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # our own lines say what failed
    "TUNE_WARN_THRESHOLD_S": "10",
    "RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE": "1",  # Tune never retries; the agenda does
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # with verbose=0, not a line of Ray's own
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN")
_ALWAYS_MORE = 10_000  # trials that Tune may ask for ahead: the searcher says how many


def set_ray_defaults() -> None:
    """Make Ray's settings, before Ray is imported for the first time."""
    for key, value in _RAY_SETTINGS.items():
        os.environ.setdefault(key, value)


def run_tuner(
    searcher: Any,
    scheduler: Any,
    callbacks: Sequence[Any],
    tasks: Mapping[str, EncodedTask],
    base: BaseEncoder,
    scratch: Path,
) -> None:
    """Run Tune over ``searcher`` until it says that it is finished, or a callback ends it.

    Each trial gets what its assignment says. ``scheduler`` may stop trials early. Data and base weights go through
    Ray's object store once. ``scratch`` is a folder of this machine that is never read back: kept in an object store,
    Tune would end with the first of its own files that cannot be written there. Raises what the searcher raised.
    """
    import ray
    from ray import tune
    from ray.tune.search import ConcurrencyLimiter

    from auxtune.orchestrator.engine.search import NoProgress
    from auxtune.orchestrator.engine.trainable import StudyTrainable
    from auxtune.orchestrator.engine.tune_changes import changed_tune

    withhold_credentials()

    # They would say between our lines that "Trials did not complete", which these have already reported, and, with a
    # traceback, that Tune's own state cannot be written to a full disk, where it is never read back.
    for loud in ("ray.tune.tune", "ray.tune.execution.experiment_state"):
        logging.getLogger(loud).setLevel(logging.CRITICAL)
    trainable = tune.with_resources(
        tune.with_parameters(StudyTrainable, tasks=ray.put(dict(tasks)), base=ray.put(base)),
        lambda config: tune.PlacementGroupFactory([dict(config["assignment"].wanted)]),
    )
    tune_config = tune.TuneConfig(
        search_alg=ConcurrencyLimiter(searcher, max_concurrent=_ALWAYS_MORE),
        scheduler=scheduler,
        num_samples=-1,
        reuse_actors=True,
        trial_dirname_creator=lambda trial: str(trial.trial_id),
    )
    run_config = _build_run_config([*callbacks, NoProgress()], scratch)
    with changed_tune():
        tune.Tuner(trainable, tune_config=tune_config, run_config=run_config).fit()


def withhold_credentials() -> None:
    """Keep Tune from handing secrets to workers in a runtime environment, which Ray logs as it stands.

    Workers have the environment of their node: here this process's, on a cluster that in which its Ray was started.
    """
    from ray.tune.execution import class_cache

    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(_CREDENTIALS)


def _build_run_config(callbacks: Sequence[Any], scratch: Path) -> Any:
    """Tune's own files go to ``scratch``; it neither retries, saves checkpoints nor prints."""
    from ray import tune

    return tune.RunConfig(
        name=scratch.name,
        storage_path=str(scratch.parent),
        callbacks=list(callbacks),
        failure_config=tune.FailureConfig(max_failures=0),
        checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        verbose=0,
    )
