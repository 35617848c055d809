"""What the mirror is given when a session ends: how it ended, and all that the study's run is to keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Ending:
    """``status`` is MLflow's word, ``FINISHED``, ``FAILED`` or ``KILLED``.

    ``selection`` is the content of ``selection.json`` and ``note`` what the run says of it in Markdown, both empty
    where there is no answer. ``files`` are kept under their names, ``drawings`` (path in the run -> SVG) under theirs.
    """

    status: str
    selection: Mapping[str, object] = field(default_factory=dict)
    note: str = ""
    files: Sequence[Path] = ()
    drawings: Mapping[str, str] = field(default_factory=dict)
