"""Trains one multi-task model: tasks, encoders, the training loop and what it measures; and loads it again.

Importing it also tells Hugging Face's libraries not to report their use, before any of them is imported.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auxtune.trials.loaded_model import load_model

__all__ = ["load_model"]

_QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",  # all of them: the caller, in the headers of each request
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",  # datasets: a request to S3 for every data set that is loaded
}
NO = ("0", "false", "no", "off", "")


def turn_off_usage_reports(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the variables that are not set, unless ``DO_NOT_TRACK=0`` allows all libraries to report."""
    if not is_reporting_wanted(environment):
        for name, quiet in _QUIET.items():
            environment.setdefault(name, quiet)


def is_reporting_wanted(environment: MutableMapping[str, str]) -> bool:
    """Whether ``DO_NOT_TRACK``, which addresses all libraries, allows them to report."""
    return environment.get("DO_NOT_TRACK", "true").strip().lower() in NO


def __getattr__(name: str) -> Any:
    """``load_model``, imported at first use: it needs torch, which the metrics do not."""
    if name == "load_model":
        from auxtune.trials.loaded_model import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


turn_off_usage_reports()  # before the first import of a library that would report
