"""Paths in the command lines that are shown, so that they can be typed as they stand."""

from __future__ import annotations

import shlex

from auxtune.orchestrator.storage.protocol import StoredPath


def quote_path(path: str | StoredPath) -> str:
    """A path as a shell takes it.

    >>> quote_path("studies/first"), quote_path("my studies/what?")
    ('studies/first', "'my studies/what?'")
    """
    return shlex.quote(str(path))
