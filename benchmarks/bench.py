"""Runs the rows of docs/performance.md and writes the page: ``make bench ROWS="a d"``, or all of them.

    python benchmarks/bench.py a d        measure these rows, then write the page
    python benchmarks/bench.py --page     only write it, from the newest result of every row
    python benchmarks/bench.py --check    exit 1 if the page does not say what the results do

A row is a claim: what auxtune does, what a user would otherwise take, and the ratio that was promised. Its script runs
both sides in turns, and writes a file under benchmarks/results, which holds command, commit, machine and load. Rows of
one script are measured together. What was interrupted is run again; rows whose file is there are, too, where asked for.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
PAGE = ROOT / "docs" / "performance.md"
_BEGIN, _END = "<!-- rows: written by `make bench` -->", "<!-- end of rows -->"
Found = dict[str, Any]


@dataclass(frozen=True)
class Claim:
    """A row of the page; ``read`` takes from the result file what was measured, in words."""

    what: str
    against: str
    promised: str
    command: tuple[str, ...]
    result: str
    read: Callable[[Any], str]


def read_ratio(*keys: str) -> Callable[[Found], str]:
    """Reads a ratio with its least and most, under ``keys``."""

    def read(found: Found) -> str:
        for key in keys:
            found = found[key]
        return f"{found['ratio']:g} ({found['least']:g} to {found['most']:g})"

    return read


def read_speed(other: str) -> Callable[[Found], str]:
    """Reads the speed beside another arm, and what the scores differ."""

    def read(found: Found) -> str:
        score = found["score_beside"][other]
        ratio = read_ratio("speed_beside", other)(found)
        return f"{ratio}; score {score['difference']:+.3f} ± {score['standard_error']:.3f}"

    return read


def read_importance(found: list[Found]) -> str:
    """Reads the ratio of each form, and the largest error."""
    forms = ", ".join(f"{row['form']} {row['ratio']:g}" for row in found)
    return f"{forms}; error {max(row['largest_relative_difference'] for row in found):.0e}"


def read_proposals(found: Found) -> str:
    """Reads the slowest proposals of the largest searches that were timed."""
    largest = [row for row in found["rows"] if row["trials"] >= 200 and row["tasks"] in (20, 50)]
    return "; ".join(f"{row['trials']} trials of {row['tasks']} tasks {row['slowest']:g} s" for row in largest)


def read_start(found: Found) -> str:
    """Reads seconds and processor seconds to the first step of either case, and those of the checkout before."""
    parts = []
    for case in ("builtin", "csv"):
        if case in found:
            summary = found[case]["summary"]
            wall, cpu = summary["seconds"], summary["cpu_seconds"]
            before = f", before {wall['before']['median']:g} s" if "before" in wall else ""
            parts.append(f"{case} {wall['after']['median']:g} s{before} ({cpu['after']['median']:g} of a processor)")
    return "; ".join(parts)


OVERHEAD = ("trial_overhead.py", "trial_overhead.json")
SPEED = ("training_speed.py", "training_speed.json")
CLAIMS: dict[str, Claim] = {
    "a": Claim(
        "overhead of a trial: ledger durable, MLflow written",
        "plain Ray Tune, defaults",
        "≤ 0.03",
        (OVERHEAD[0],),
        OVERHEAD[1],
        read_ratio("ratio_to_plain"),
    ),
    "b": Claim(
        "the same",
        "Ray Tune at its best: reused actors, no loggers",
        "≤ 1.0",
        (OVERHEAD[0],),
        OVERHEAD[1],
        read_ratio("ratio_to_reused"),
    ),
    "d": Claim(
        "rows trained per second, six GLUE tasks, small MiniLM",
        "the Trainer of transformers, defaults",
        "≥ 4.0",
        (SPEED[0],),
        SPEED[1],
        read_speed("trainer"),
    ),
    "e": Claim(
        "the same",
        "the Trainer with `group_by_length`",
        "≥ 1.4",
        (SPEED[0],),
        SPEED[1],
        read_speed("trainer_grouped"),
    ),
    "f": Claim(
        "from the command to the first step: built-in tasks, cold; four CSV files with a pretrained encoder",
        "before",
        "≤ 10 s; ≤ 12 s",
        ("first_step.py",),
        "first_step.json",
        read_start,
    ),
    "g": Claim(
        "importance of attention heads, rows kept apart in a batch",
        "a row, a forward and a backward pass",
        "≥ 3.0, error ≤ 1e-5",
        ("head_importance.py",),
        "head_importance.json",
        read_importance,
    ),
    "k": Claim(
        "slowest proposal of `auto`",
        "–",
        "≤ 1 s at 200 trials of 20 tasks",
        ("proposal_seconds.py", "--proposals", "10"),
        "proposal_seconds.json",
        read_proposals,
    ),
}


def main() -> None:
    """Measure the rows asked for, and write or check the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"some of {', '.join(CLAIMS)}; default: all")
    parser.add_argument("--page", action="store_true", help="measure nothing")
    parser.add_argument("--check", action="store_true", help="measure nothing, and compare the page")
    asked = parser.parse_args()
    if unknown := set(asked.rows) - set(CLAIMS):
        parser.error(f"expected rows of {', '.join(CLAIMS)}, found {', '.join(sorted(unknown))}")
    if not asked.page and not asked.check:
        commands = dict.fromkeys((CLAIMS[row].command, CLAIMS[row].result) for row in asked.rows or CLAIMS)
        for command, result in commands:
            run = [
                sys.executable,
                str(Path(__file__).parent / command[0]),
                *command[1:],
                "--out",
                str(RESULTS / result),
            ]
            subprocess.run(run, check=True, cwd=ROOT)
    page = PAGE.read_text(encoding="utf-8")
    rows = "\n".join([_BEGIN, "", *format_rows(), "", _END])
    current = re.sub(f"{re.escape(_BEGIN)}.*{re.escape(_END)}", lambda _: rows, page, flags=re.DOTALL)
    if not asked.check:
        PAGE.write_text(current, encoding="utf-8")
    elif current != page:
        sys.exit(f"{PAGE.relative_to(ROOT)} does not say what the result files do; run `make bench` with `--page`")


def format_rows() -> list[str]:
    """The table, in Markdown."""
    lines = ["| row | against | promised | measured | commit |", "|---|---|---|---|---|"]
    for name, claim in CLAIMS.items():
        file = RESULTS / claim.result
        found = json.loads(file.read_text()) if file.exists() else None
        measured = "not measured yet" if found is None else claim.read(found)
        commit = found.get("commit", "–") if isinstance(found, dict) else "–"
        lines.append(f"| {name}. {claim.what} | {claim.against} | {claim.promised} | {measured} | {commit} |")
    return lines


if __name__ == "__main__":
    main()
