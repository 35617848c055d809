"""Where a figure comes from: the command, the commit, the machine and the versions, for the head of a result file."""

from __future__ import annotations

import os
import platform
import resource
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def provenance(seeds: Iterable[int], packages: Iterable[str] = ("numpy", "scipy", "scikit-learn")) -> dict[str, Any]:
    """What one must know about a run to repeat it.

    ``commit`` ends in ``+`` if the checkout held changes of more than results and pages. Of folders elsewhere on the
    machine only the name is given.
    """
    own = Path(sys.argv[0]).resolve()
    script = own.relative_to(ROOT) if own.is_relative_to(ROOT) else own.name
    return {
        "command": shlex.join(["python", str(script), *map(_without_home, sys.argv[1:])]),
        "commit": _commit(),
        "machine": {
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "architecture": platform.machine(),
            "python": platform.python_version(),
            **{package: version(package) for package in packages},
        },
        "seeds": list(seeds),
    }


def summarise_ratios(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """How often as large one side's figures are as the other's, turn by turn: median, least and most."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    found = {"ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
    return {name: round(value, 3) for name, value in found.items()}


def peak_memory_mb() -> float:
    """The most memory that this process has held, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def _without_home(argument: str) -> str:
    return Path(argument).name if Path(argument).is_absolute() else argument


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", ".", ":!benchmarks/results", ":!docs")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
