"""How much a process grew while something ran, as the kernel counted it.

Linux keeps each process's highest resident size and lets it forget it, so that a later peak can be told from an
earlier one. Elsewhere growth is unknown: ``getrusage`` knows one peak for a process's whole life.
"""

from __future__ import annotations

import contextlib
import gc
import re
from pathlib import Path

_PROC = Path("/proc/self")


class MemoryGrowth:
    """From construction on, watches how far the process grows beyond what it held then."""

    def __init__(self) -> None:
        gc.collect()  # what a previous run left is not counted as the next one's
        with contextlib.suppress(OSError):  # no Linux, or a container that forbids it
            (_PROC / "clear_refs").write_text("5")
        self._held, self._highest = _read_resident("VmRSS"), _read_resident("VmHWM")

    def peak_bytes(self) -> int | None:
        """Bytes of the peak beyond what was held at the start; unknown where no new peak was seen."""
        highest = _read_resident("VmHWM")
        if highest is None or self._held is None or self._highest is None or highest <= self._highest:
            return None
        return highest - self._held


def _read_resident(key: str) -> int | None:
    """A size in bytes from the kernel's account of this process."""
    try:
        found = re.search(rf"^{key}:\s+(\d+) kB$", (_PROC / "status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
