"""Runs studies: Ray Tune, MLflow, study files and the command line."""

from typing import TYPE_CHECKING, Any

from auxtune.orchestrator.study import Study

if TYPE_CHECKING:
    from auxtune.orchestrator.simulation.simulate import simulate

__all__ = ["Study", "simulate"]


def __getattr__(name: str) -> Any:
    """``simulate``, imported when it is asked for: tables need pandas, and most commands do not."""
    if name == "simulate":
        from auxtune.orchestrator.simulation.simulate import simulate

        return simulate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
