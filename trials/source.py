"""Where a task's rows come from and how to read them, as plain frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from auxtune.trials.encoded import Kind


@dataclass(frozen=True)
class TaskSource:
    """One task of a study. Exactly one of ``path``, ``files``, ``hub`` and ``builtin`` is set.

    ``path`` is a folder of jsonl with meta.json, a saved ``datasets`` folder, or one file; ``files`` maps train,
    validation and test to files. ``text`` names one or two text columns, ``label`` the label column, or a column of 0
    and 1 for each label of a multi-label task; a token task has ``tokens`` and ``tags`` instead. ``split`` names the
    hub's split to train on. ``rows`` limits the training rows; ``splits`` overrides a part by a share in (0, 1), a
    number of rows or a file. Empty means: read it off the data. Rows without text or label are an error, or with
    ``missing`` set to ``drop`` left out.
    """

    name: str
    path: Path | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    hub: str | None = None
    builtin: str | None = None
    config: str | None = None
    revision: str | None = None
    split: str | None = None
    text: tuple[str, ...] = ()
    label: str | tuple[str, ...] | None = None
    tokens: str | None = None
    tags: str | None = None
    kind: Kind | None = None
    labels: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    rows: int | None = None
    splits: Mapping[str, float | int | Path] = field(default_factory=dict)
    missing: Literal["error", "drop"] = "error"
