"""Collects the results of finished studies of one question, for the scoreboard.

    python benchmarks/collect_studies.py STUDY_DIR … --question "…" --out benchmarks/results/studies_NAME.json

Reads ledgers and ``selection.json`` and trains nothing. For each study: its selector and seed, what it chose, its score
and its lift over each control on the test split, and the CPU and GPU hours of measure and search, paid and taken from
the evidence cache. ``begun`` is the day of its first session.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from provenance import provenance

from auxtune.orchestrator import Study
from auxtune.orchestrator.record.accounts import read_accounts


def main() -> None:
    """Write the results of the studies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+", type=Path, metavar="STUDY_DIR")
    parser.add_argument("--question", required=True, help="what they all asked")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rows = [collected(folder) for folder in arguments.studies]
    found = {"question": arguments.question, **provenance({row["seed"] for row in rows}, ("torch",)), "studies": rows}
    arguments.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def collected(folder: Path) -> dict[str, Any]:
    """One study's answer and price."""
    answer = json.loads((folder / "selection.json").read_text(encoding="utf-8"))
    accounts, options = read_accounts(folder), Study.from_folder(folder).file.options
    cost, asked = answer["cost"], options.selector
    searched = [cost["phases"][phase] for phase in ("measure", "search")]
    return {
        "selector": asked.name,
        "options": asked.options,
        "seed": options.seed,
        "begun": time.strftime("%Y-%m-%d", time.gmtime(accounts.sessions[0].opened.time)),
        "weights": answer["weights"],
        "instances": {task: kept["kept"] for task, kept in (answer["instances"] or {}).items()} or None,
        "report": answer["report"],
        "lift": answer["lift"],
        "trials": sum(phase["trials"] for phase in searched),
        "cpu_hours": round(sum(phase["cpu_hours"] for phase in searched), 4),
        "gpu_hours": round(sum(phase["gpu_hours"] for phase in searched), 4),
        "cpu_hours_reused": round(cost["reused"]["cpu_hours"], 4),
    }


if __name__ == "__main__":
    main()
