"""Runs studies: Ray Tune, MLflow, study files and the command line.

Importing it tells Ray and MLflow to send no usage reports to their makers, unless the environment wants them to. That
must come before either is imported: in the command line, in Python, in a submitted job. Processes started from here
inherit the setting, MLflow's server and Ray's workers among them. Hugging Face's libraries are told by
``auxtune.trials``, because they are also used without the orchestrator.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from auxtune.orchestrator.study import Study
from auxtune.trials import NO, is_reporting_wanted

if TYPE_CHECKING:
    from auxtune.orchestrator.simulation.advisor import MixtureAdvisor
    from auxtune.orchestrator.simulation.simulate import simulate

__all__ = ["MixtureAdvisor", "Study", "simulate"]

_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # a record of client calls, and of clicks on the server's page
    "RAY_USAGE_STATS_ENABLED": "0",  # an hourly report of a cluster's hardware and libraries
}


def turn_off_usage_reports(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the variables that are not set, unless ``DO_NOT_TRACK=0`` allows all libraries to report.

    ``DO_NOT_TRACK`` is set as well, for other libraries that a study loads; but not where MLflow's own variable allows
    it to report, because MLflow would heed this one first. It knows only ``true``.
    """
    if is_reporting_wanted(environment):
        return
    for name, quiet in _QUIET.items():
        environment.setdefault(name, quiet)
    if environment["MLFLOW_DISABLE_TELEMETRY"].strip().lower() not in NO:
        environment.setdefault("DO_NOT_TRACK", "true")


turn_off_usage_reports()  # before the first import of a library that would report


def __getattr__(name: str) -> Any:
    """Imported when they are asked for: tables need pandas, and most commands do not."""
    if name == "simulate":
        from auxtune.orchestrator.simulation.simulate import simulate

        return simulate
    if name == "MixtureAdvisor":
        from auxtune.orchestrator.simulation.advisor import MixtureAdvisor

        return MixtureAdvisor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
