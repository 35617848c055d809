"""The findings of ``auxtune doctor``: each with the reason why it matters and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: with ``error`` a study would fail, cost too much or be open to strangers.

    ``rule`` is a short name that stays the same. ``place`` is ``FILE:LINE``, a file, a node's address or a part of the
    cluster.
    """

    rule: str
    place: str
    what: str
    why: str
    remedy: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        return f"{self.severity}: {self.place}: {self.what}\n  {self.why}\n  remedy: {self.remedy}"
