"""What the mirror is given when a session ends: how it ended, and all that the study's run is to keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from auxtune.orchestrator.answer.answer import Answer

Reason: TypeAlias = Literal["done", "interrupted", "failed"]


@dataclass(frozen=True)
class Ending:
    """``reason`` is the session's, ``done``, ``interrupted`` or ``failed``.

    Where there is no ``answer``, ``note``, what the run says of it in Markdown, is empty. ``files`` are kept under
    their names, ``drawings`` (path in the run -> SVG) under theirs.
    """

    reason: Reason
    answer: Answer | None = None
    note: str = ""
    files: Sequence[Path] = ()
    drawings: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """The same in MLflow's words."""
        return {"done": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}[self.reason]
