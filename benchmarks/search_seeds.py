"""How often does a selector find the truth about the built-in tasks? Several searches with several seeds, for real.

    python benchmarks/search_seeds.py --selector thompson --out benchmarks/results/thompson_seeds.json
    python benchmarks/search_seeds.py --selector gradts_trial --selector tag --seeds 5 --storage runs --out rows.json

Each search is a whole study of its own, ``examples/quickstart.yaml`` with another selector and seed, and with confirm
cut down to two runs of the selection: its accuracy on the report split is ``value``. The searches of one seed share a
storage, as studies do, so that what one selector has measured serves the next: ``reused`` and ``cpu_hours_reused`` say
how much, and with what was paid they are what the selector would have cost alone. The truth is the recorded table of
every subset (``examples/tables/builtin``, three runs each): ``equal`` is what the chosen tasks come to with equal
shares there, ``regret`` how far the best subset is above ``value``. Run again, it goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
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
    parser.add_argument("--selector", action="append", help="a name, or a mapping as in a study file; several in turn")
    parser.add_argument("--seeds", type=int, default=10, help="searches, with seeds 0, 1, …")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="a key of the study, as in run")
    parser.add_argument("--storage", type=Path, help="folder of the studies; by default one that is deleted afterwards")
    parser.add_argument("--out", type=Path, help="where to write the rows, as JSON")
    arguments = parser.parse_args()
    truth = recorded_truth()
    rows: list[Row] = json.loads(arguments.out.read_text()) if arguments.out and arguments.out.exists() else []
    with tempfile.TemporaryDirectory() as temporary:
        storage = arguments.storage or Path(temporary)
        for seed in range(arguments.seeds):
            for selector in arguments.selector or ["thompson"]:
                if any((row["selector"], row["seed"]) == (selector, seed) for row in rows):
                    continue
                found = search(storage / f"seed{seed}", seed, selector, arguments.overrides)
                rows.append({"selector": selector, "seed": seed, **found, **judged(found, truth)})
                print(json.dumps(rows[-1]), flush=True)
                if arguments.out:
                    arguments.out.parent.mkdir(parents=True, exist_ok=True)
                    arguments.out.write_text(json.dumps(rows, indent=1) + "\n")
    for selector in dict.fromkeys(row["selector"] for row in rows):
        summarise(selector, [row for row in rows if row["selector"] == selector], truth)
    print(f"single task {truth['single']:.4f}, all tasks {truth['all']:.4f}, best subset {truth['best']:.4f}")


def search(home: Path, seed: int, selector: str, overrides: Sequence[str]) -> Row:
    """One search: what it chose in what shares, its accuracy, how many trials and seconds it took."""
    study = str(files("auxtune.examples") / "quickstart.yaml")
    name = re.sub(r"[^a-z0-9_]+", "-", selector.lower()).strip("-")[:80]
    places = [f"study={name}", f"storage={home.resolve()}", f"tracking.uri=sqlite:///{home.resolve()}/mlflow.db"]
    short = [f"seed={seed}", "confirm.seeds=2", "confirm.controls=[]"]
    # An option such as rounds belongs to the quickstart's own selector.
    chosen = [] if selector == "thompson" else [f"selector={selector}"]
    home.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    result = Study.from_yaml(study, [*places, *short, *chosen, *overrides]).run()
    seconds = time.monotonic() - began
    answer, primary = result.selection, result.selection["primary"]
    paid, reused = [answer["cost"]["phases"][phase] for phase in ("probe", "search")], answer["cost"]["reused"]
    return {
        "chosen": [task for task in answer["weights"] if task != primary],
        "weights": answer["weights"],
        "value": answer["report"][primary]["accuracy"],
        "trials": sum(part["trials"] for part in paid),
        "reused": reused["trials"],
        "cpu_hours": sum(part["cpu_hours"] for part in paid),
        "cpu_hours_reused": reused["cpu_hours"],
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


def summarise(selector: str, rows: Sequence[Row], truth: Row) -> None:
    """Print means over the searches with 95 % intervals (1.96 standard errors), and how often each task was chosen."""
    print(f"{selector}: {len(rows)} searches")
    for key in ("value", "equal", "regret", "trials", "reused", "cpu_hours", "cpu_hours_reused", "seconds"):
        print(f"  {key}: {_mean([row[key] for row in rows])}")
    print(f"  value - equal: {_mean([row['value'] - row['equal'] for row in rows])}")
    chosen = (f"{task} {sum(task in row['chosen'] for row in rows)}" for task in truth["tasks"])
    print(f"  chosen: {', '.join(chosen)} of {len(rows)}")


def _mean(values: Sequence[float]) -> str:
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):.4f} ± {1.96 * error:.4f}"


if __name__ == "__main__":
    main()
