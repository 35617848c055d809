"""Trains one multi-task model: tasks, encoders, the training loop and what it measures; and loads it again.

Importing it also tells Hugging Face's libraries not to report their use, before any of them is imported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auxtune.trials.loaded_model import load_model

__all__ = ["load_model"]

QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",  # all of them: the caller, in the headers of each request
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",  # datasets: a request to S3 for every data set that is loaded
}
_NO = ("0", "false", "no", "off", "")


def turn_off_usage_reports(
    quiet: Mapping[str, str], environment: MutableMapping[str, str] = os.environ, heeding: str | None = None
) -> None:
    """Set those variables of ``quiet`` that are not set, unless ``DO_NOT_TRACK=0`` allows all libraries to report.

    ``heeding`` is that of a library which heeds ``DO_NOT_TRACK`` before its own variable. With it, ``DO_NOT_TRACK`` is
    set as well, for other libraries that a study loads; but not where this one's own variable allows it to report.
    """
    if environment.get("DO_NOT_TRACK", "true").strip().lower() in _NO:
        return
    for name, value in quiet.items():
        environment.setdefault(name, value)
    if heeding is not None and environment[heeding].strip().lower() not in _NO:
        environment.setdefault("DO_NOT_TRACK", "true")


def __getattr__(name: str) -> Any:
    """``load_model``, imported at first use: it needs torch, which the metrics do not."""
    if name == "load_model":
        from auxtune.trials.loaded_model import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


turn_off_usage_reports(QUIET)  # before the first import of a library that would report
