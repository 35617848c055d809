"""Runs studies: Ray Tune, MLflow, study files and the command line.

Importing it tells Ray and MLflow to send no usage reports to their makers, unless the environment wants them to. That
must come before either is imported: in the command line, in Python, in a submitted job. Processes started from here
inherit the setting, MLflow's server and Ray's workers among them. Hugging Face's libraries are told by
``auxtune.trials``, because they are also used without the orchestrator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from auxtune.orchestrator.study import Study
from auxtune.trials import turn_off_usage_reports

if TYPE_CHECKING:
    from auxtune.orchestrator.simulation.advisor import MixtureAdvisor
    from auxtune.orchestrator.simulation.simulate import simulate

__all__ = ["MixtureAdvisor", "Study", "simulate"]

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # no other word; a record of client calls, and of clicks on the server's page
    "RAY_USAGE_STATS_ENABLED": "0",  # an hourly report of a cluster's hardware and libraries
}
HEEDING = "MLFLOW_DISABLE_TELEMETRY"  # MLflow heeds `DO_NOT_TRACK` before it

turn_off_usage_reports(QUIET, heeding=HEEDING)  # before the first import of a library that would report


def __getattr__(name: str) -> Any:
    """Imported when they are asked for: tables need pandas, and most commands do not."""
    if name == "simulate":
        from auxtune.orchestrator.simulation.simulate import simulate

        return simulate
    if name == "MixtureAdvisor":
        from auxtune.orchestrator.simulation.advisor import MixtureAdvisor

        return MixtureAdvisor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
