"""Paths in the command lines that are shown, so that they can be typed as they stand."""

from __future__ import annotations

import shlex
from pathlib import Path


def quote_path(path: str | Path) -> str:
    """A path as a shell takes it.

    >>> typed("studies/first"), typed("my studies/what?")
    ('studies/first', "'my studies/what?'")
    """
    return shlex.quote(str(path))
