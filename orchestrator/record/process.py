"""Which process a process id really means: ids are given anew, the moment at which a process began is not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_PROC = Path("/proc")


def process_start(pid: int) -> str | None:
    """When the process began, as text that no other process of this id ever has; ``None``: not there, or unknown.

    A process that has ended and is only waited for by its parent (a zombie) is not there any more.
    """
    return _linux_start(pid) if (_PROC / "self" / "stat").exists() else _posix_start(pid)


def _linux_start(pid: int) -> str | None:
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        boot = (_PROC / "sys" / "kernel" / "random" / "boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    # The name, in parentheses, may hold anything; after it the fields are numbered from 3, see proc_pid_stat(5).
    fields = stat.rpartition(")")[2].split()
    state, ticks = fields[0], fields[19]
    return None if state in "ZX" else f"{ticks} ticks after boot {boot}"


def _posix_start(pid: int) -> str | None:
    # Two processes of different language or time zone must read the same text.
    plain = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    command = ["ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)]
    try:
        asked = subprocess.run(command, env=plain, capture_output=True, text=True, check=False)
    except OSError:  # no ps here
        return None
    state, _, began = asked.stdout.strip().partition(" ")
    return None if not began or state.startswith("Z") else began.strip()
