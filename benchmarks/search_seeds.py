"""How often does a selector find the truth about the built-in tasks? Ten searches with ten seeds, real training.

    python benchmarks/search_seeds.py --selector thompson --out benchmarks/results/thompson_seeds.json
    python benchmarks/search_seeds.py --selector autosem --out benchmarks/results/autosem_seeds.json

Each search is a whole study of its own, ``examples/quickstart.yaml`` with another selector and seed, and with confirm
cut down to two runs of the selection: its accuracy on the report split is ``value``. The truth is the recorded table
of every subset (``examples/tables/builtin``, three runs each): ``equal`` is what the chosen tasks come to with equal
shares there, ``regret`` how far the best subset is above ``value``.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from auxtune.orchestrator import Study

Row = dict[str, Any]


def main() -> None:
    """Run the searches and write and print what they chose."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--selector", default="thompson", help="a name, or a mapping as in a study file")
    parser.add_argument("--seeds", type=int, default=10, help="searches, with seeds 0, 1, …")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="a key of the study, as in run")
    parser.add_argument("--out", type=Path, help="where to write the rows, as JSON")
    arguments = parser.parse_args()
    truth = recorded_truth()
    rows: list[Row] = []
    for seed in range(arguments.seeds):
        rows.append({"seed": seed, **search(seed, arguments.selector, arguments.overrides)})
        rows[-1] |= judged(rows[-1], truth)
        print(json.dumps(rows[-1]), flush=True)
        if arguments.out:
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            arguments.out.write_text(json.dumps(rows, indent=1) + "\n")
    summarise(rows, truth)


def search(seed: int, selector: str, overrides: Sequence[str]) -> Row:
    """One search: what it chose in what shares, its accuracy, how many trials and seconds it took."""
    study = str(files("auxtune.examples") / "quickstart.yaml")
    with tempfile.TemporaryDirectory() as home:
        places = [f"storage={home}/studies", f"tracking.uri=sqlite:///{home}/mlflow.db"]
        short = [f"seed={seed}", "confirm.seeds=2", "confirm.controls=[]"]
        # An option such as rounds belongs to the quickstart's own selector.
        chosen = [] if selector == "thompson" else [f"selector={selector}"]
        began = time.monotonic()
        result = Study.from_yaml(study, [*places, *short, *chosen, *overrides]).run()
        seconds = time.monotonic() - began
    answer, primary = result.selection, result.selection["primary"]
    return {
        "chosen": [task for task in answer["weights"] if task != primary],
        "weights": answer["weights"],
        "value": answer["report"][primary]["accuracy"],
        "trials": answer["cost"]["phases"]["search"]["trials"],
        "cpu_hours": answer["cost"]["phases"]["search"]["cpu_hours"],
        "seconds": round(seconds, 1),
    }


def recorded_truth() -> Row:
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


def judged(row: Row, truth: Row) -> Mapping[str, float]:
    """What the chosen tasks come to with equal shares, and how far the best subset is above what was chosen."""
    equal = truth["means"][frozenset([truth["primary"], *row["chosen"]])]
    return {"equal": equal, "regret": truth["best"] - row["value"]}


def summarise(rows: Sequence[Row], truth: Row) -> None:
    """Print means over the searches with 95 % intervals (1.96 standard errors), and how often each task was chosen."""
    for key in ("value", "equal", "regret", "trials", "seconds"):
        print(f"{key}: {_mean([row[key] for row in rows])}")
    print(f"value - equal: {_mean([row['value'] - row['equal'] for row in rows])}")
    print(f"single task {truth['single']:.4f}, all tasks {truth['all']:.4f}, best subset {truth['best']:.4f}")
    for task in truth["tasks"]:
        print(f"{task}: chosen in {sum(task in row['chosen'] for row in rows)} of {len(rows)}")


def _mean(values: Sequence[float]) -> str:
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):.4f} ± {1.96 * error:.4f}"


if __name__ == "__main__":
    main()
