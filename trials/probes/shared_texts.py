"""Temporary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from auxtune.trials.encoded import EncodedTask


def shared_texts(tasks: Mapping[str, EncodedTask], rows: int = 512) -> EncodedTask:
    """T."""
    raise NotImplementedError


def save_texts(folder: Path, texts: EncodedTask) -> None:
    """T."""


def load_texts(folder: Path) -> EncodedTask:
    """T."""
    raise NotImplementedError
