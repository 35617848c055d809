"""Trains one multi-task model: tasks, encoders, the training loop and what it measures; and loads it again."""

from typing import TYPE_CHECKING, Any

from auxtune.trials.usage_reports import turn_off_usage_reports

if TYPE_CHECKING:
    from auxtune.trials.loaded_model import load_model

__all__ = ["load_model"]
turn_off_usage_reports()  # before the first import of what would report


def __getattr__(name: str) -> Any:
    """``load_model``, imported when it is asked for: it needs torch, and the metrics do not."""
    if name == "load_model":
        from auxtune.trials.loaded_model import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
