"""How often does a selector find the truth about the built-in tasks? Ten searches with ten seeds, real training.

    python benchmarks/search_seeds.py --seeds 10 --out benchmarks/results/thompson_seeds.json

Each search is a whole study of its own under ``auxtune`` with confirm cut down to one trial, so what is measured is the
search. The truth is the recorded table of every subset (``examples/tables/builtin``).
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import tempfile
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

from auxtune.orchestrator import Study


def main() -> None:
    """Run the searches and write and print what they chose."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="searches, with seeds 0, 1, …")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="a key of the study, as in run")
    parser.add_argument("--out", type=Path, help="where to write the rows, as JSON")
    arguments = parser.parse_args()
    truth = recorded_truth()
    rows = []
    for seed in range(arguments.seeds):
        rows.append(search(seed, arguments.overrides) | {"seed": seed})
        rows[-1] |= judged(rows[-1]["chosen"], truth)
        print(json.dumps(rows[-1]), flush=True)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n")
    for key in ("value", "regret", "seconds"):
        print(f"{key}: mean {statistics.mean(row[key] for row in rows):.4f}")
    print(f"single task {truth['single']:.4f}, all tasks {truth['all']:.4f}, best subset {truth['best']:.4f}")
    for task in truth["tasks"]:
        print(f"{task}: chosen in {sum(task in row['chosen'] for row in rows)} of {len(rows)}")


def search(seed: int, overrides: list[str]) -> dict[str, Any]:
    """One search: what it chose, what the selector believed, and how long it took."""
    study = str(files("auxtune.examples") / "quickstart.yaml")
    with tempfile.TemporaryDirectory() as home:
        places = [f"storage={home}/studies", f"tracking.uri=sqlite:///{home}/mlflow.db"]
        short = [f"seed={seed}", "confirm.seeds=1", "confirm.controls=[]"]
        began = time.monotonic()
        result = Study.from_yaml(study, [*places, *short, *overrides]).run()
        seconds = time.monotonic() - began
    selection = result.selection
    chosen = [task for task in selection["weights"] if task != selection["primary"]]
    return {"chosen": chosen, "belief": selection["belief"], "seconds": round(seconds, 1)}


def recorded_truth() -> dict[str, Any]:
    """Mean test value over seeds of every subset of the built-in tasks."""
    folder = files("auxtune.examples") / "tables" / "builtin"
    values: dict[frozenset[str], list[float]] = {}
    with (folder / "rows.csv").open() as file:
        for row in csv.DictReader(file):
            if row["split"] == "test":
                values.setdefault(frozenset(row["tasks"].split("+")), []).append(float(row["value"]))
    means = {tasks: statistics.mean(each) for tasks, each in values.items()}
    largest, (primary,) = max(means, key=len), min(means, key=len)
    return {
        "means": means,
        "primary": primary,
        "tasks": sorted(largest - {primary}),
        "single": means[frozenset([primary])],
        "all": means[largest],
        "best": max(means.values()),
    }


def judged(chosen: list[str], truth: dict[str, Any]) -> dict[str, float]:
    """The recorded value of what was chosen, and how far it is from the best subset's."""
    value = truth["means"][frozenset([truth["primary"], *chosen])]
    return {"value": value, "regret": truth["best"] - value}


if __name__ == "__main__":
    main()
