"""Runs studies: Ray Tune, MLflow, study files and the command line."""

from typing import TYPE_CHECKING, Any

from auxtune.orchestrator.study import Study
from auxtune.orchestrator.usage_reports import turn_off_usage_reports

if TYPE_CHECKING:
    from auxtune.orchestrator.simulation.simulate import simulate

__all__ = ["Study", "simulate"]
turn_off_usage_reports()  # before the first import of what would report


def __getattr__(name: str) -> Any:
    """``simulate``, imported when it is asked for: tables need pandas, and most commands do not."""
    if name == "simulate":
        from auxtune.orchestrator.simulation.simulate import simulate

        return simulate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
