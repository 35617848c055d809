"""Tells Hugging Face's libraries to report nothing of their use, unless the environment wants it.

Called when ``auxtune.trials`` is imported, so before any of them is.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

_QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",  # all of them: who asks, in the headers of each request
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",  # datasets: a request to S3 for every data set that is loaded
}
NO = ("0", "false", "no", "off", "")


def turn_off_usage_reports(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set what is not set, unless ``DO_NOT_TRACK=0`` allows all libraries to report."""
    if not reports_are_wanted(environment):
        for name, quiet in _QUIET.items():
            environment.setdefault(name, quiet)


def reports_are_wanted(environment: MutableMapping[str, str]) -> bool:
    """Whether ``DO_NOT_TRACK``, which is meant for all libraries, says that they may report."""
    return environment.get("DO_NOT_TRACK", "true").strip().lower() in NO
