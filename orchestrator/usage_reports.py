"""Tells Ray and MLflow to report nothing of their use to their makers, unless the environment wants it.

Called when ``auxtune.orchestrator`` is imported, so before they are: in the command line, in Python, in a submitted
job. Processes that are started from here inherit it, MLflow's server and Ray's workers among them. What Hugging Face's
libraries are told is in ``auxtune.trials``, for these are used without the orchestrator, too.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from auxtune.trials import NO, is_reporting_wanted

_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # a record of client calls, and of clicks on the server's page
    "RAY_USAGE_STATS_ENABLED": "0",  # an hourly report of a cluster's hardware and libraries
}


def turn_off_usage_reports(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set what is not set, unless ``DO_NOT_TRACK=0`` allows all libraries to report.

    ``DO_NOT_TRACK`` is set as well, for what else a study loads; but not where MLflow was allowed to report by its own
    variable, for MLflow would heed this one first. It knows only ``true``.
    """
    if is_reporting_wanted(environment):
        return
    for name, quiet in _QUIET.items():
        environment.setdefault(name, quiet)
    if environment["MLFLOW_DISABLE_TELEMETRY"].strip().lower() not in NO:
        environment.setdefault("DO_NOT_TRACK", "true")
