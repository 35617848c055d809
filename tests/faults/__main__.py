"""Inject faults and print the table: ``make faults ROWS="kill-1 ledger"``, or all of them.

A result file for each row is written under build/faults, so that a run that was stopped goes on; rows with a file are
not run again unless ``--again`` asks for it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from faults import drivers, ledgers, services, stores, trainings
from faults.rows import Fault, Ground
from small_study import ENVIRONMENT

FAULTS: dict[str, Fault] = {
    fault.name: fault for part in (drivers, ledgers, services, trainings, stores) for fault in part.FAULTS
}
ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Run the rows asked for, and print the table of all that were run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"some of {', '.join(FAULTS)}; default: all")
    parser.add_argument("--times", type=int, help="how often, in place of each row's own number")
    parser.add_argument("--seed", type=int, default=0, help="of the random instants and places")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "faults", help="where result files are")
    parser.add_argument("--again", action="store_true", help="run rows again that have a result file")
    arguments = parser.parse_args()
    if unknown := set(arguments.rows) - set(FAULTS):
        parser.error(f"expected rows of {', '.join(FAULTS)}, found {', '.join(sorted(unknown))}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    ENVIRONMENT.update(os.environ)  # commands are forked from a process that has imported all they need but Ray
    for name in arguments.rows or FAULTS:
        file = arguments.out / f"{name}.json"
        if arguments.again or not file.exists():
            row = run_row(FAULTS[name], arguments.times or FAULTS[name].times, arguments.seed)
            file.write_text(json.dumps(row, indent=2) + "\n")
            print(format_row(row), flush=True)
    rows = [
        json.loads((arguments.out / f"{name}.json").read_text())
        for name in FAULTS
        if (arguments.out / f"{name}.json").exists()
    ]
    print("\n".join(["", *format_table(rows)]))
    if any(row["wrong"] or row["lost"] or row["doubled"] for row in rows):
        raise SystemExit(1)


def run_row(fault: Fault, times: int, seed: int) -> dict[str, Any]:
    """The result of one row."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"faults-{fault.name}-") as home:
        count = fault.run(Ground(Path(home), seed), times)
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=7"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "row": fault.name,
        "fault": fault.what,
        "promise": fault.promise,
        "times": count.times,
        "lost": count.lost,
        "doubled": count.doubled,
        "outcomes": dict(count.outcomes),
        "wrong": count.wrong,
        "seed": seed,
        "seconds": round(time.monotonic() - began, 1),
        "commit": commit,
    }


def format_table(rows: list[dict[str, Any]]) -> list[str]:
    """The rows as a table in Markdown."""
    return ["| fault | times tried | lost | double | outcome |", "|---|--:|--:|--:|---|", *map(format_row, rows)]


def format_row(row: dict[str, Any]) -> str:
    """One line of the table; what should not have happened stands in it."""
    outcome = "; ".join(f"{what} ({times})" for what, times in row["outcomes"].items())
    wrong = f" **but {len(row['wrong'])} wrong: {row['wrong'][0]}**" if row["wrong"] else ""
    return f"| {row['fault']} | {row['times']} | {row['lost']} | {row['doubled']} | {outcome}{wrong} |"


if __name__ == "__main__":
    main()
