"""``smoke.json`` in a study's folder: what parts of each task's training took, and of what that is true.

Figures of another model, data, device or machine say nothing, so whoever reads them compares ``true_of`` first. The
file is a convenience: it is written anew by the next smoke test, and a study runs without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from auxtune.orchestrator.storage.placing import write_whole
from auxtune.trials.result import FailureReason, SmokeFigures

FILE = "smoke.json"


@dataclass(frozen=True)
class SmokedTask:
    """One task's figures, or ``why`` it failed, with a ``message`` for people."""

    figures: SmokeFigures | None
    why: FailureReason | None = None
    message: str | None = None


@dataclass(frozen=True)
class SmokeRecord:
    """A whole smoke test. ``true_of`` maps what the figures depend on to its digest or name."""

    true_of: Mapping[str, str]
    tasks: Mapping[str, SmokedTask]
    format: Literal[1] = 1  # raised where a reader would misunderstand it

    def differs_in(self, now: Mapping[str, str]) -> tuple[str, ...]:
        """The keys in which this is not true of ``now``."""
        return tuple(key for key in sorted(self.true_of.keys() | now.keys()) if self.true_of.get(key) != now.get(key))


class DamagedSmokeError(ValueError):
    """There is a ``smoke.json``, but not one that a smoke test of this version wrote."""


_record = TypeAdapter(SmokeRecord)


def write_smoke(folder: Path, record: SmokeRecord) -> Path:
    """Write ``folder/smoke.json``, whole or not at all, and return its path."""
    path = folder / FILE
    write_whole(path, lambda file: file.write(_record.dump_json(record, indent=1) + b"\n"))
    return path


def read_smoke(folder: Path) -> SmokeRecord | None:
    """The last smoke test of the study in ``folder``; ``None`` without one. Raises ``DamagedSmokeError``."""
    path = folder / FILE
    try:
        record = _record.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        reason = f"{error.error_count()} mistakes" if isinstance(error, ValidationError) else error.strerror
        raise DamagedSmokeError(f"{path}: not a readable smoke test ({reason})") from error
    if wrong := [name for name, task in record.tasks.items() if task.figures and not _possible(task.figures)]:
        raise DamagedSmokeError(f"{path}: not a readable smoke test (impossible figures of {', '.join(wrong)})")
    return record


def _possible(figures: SmokeFigures) -> bool:
    seconds = (figures.fastest, figures.seconds_per_step, figures.slowest, figures.seconds_per_evaluation)
    return all(isfinite(value) and value > 0 for value in seconds) and figures.evaluated_rows > 0
