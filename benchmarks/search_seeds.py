"""How often does a selector find the truth about the built-in tasks? Searches with several seeds, real training.

    python benchmarks/search_seeds.py --selector gp_mixing --out benchmarks/results/gp_mixing_seeds.json
    python benchmarks/search_seeds.py --seeds 5 --selector gradts_threshold --selector tag --storage DIR --out FILE

Each search is a whole study of its own, ``examples/quickstart.yaml`` with another selector and seed, and with confirm
cut down to two runs of the selection: its accuracy on the test split is ``value``. The truth is the recorded table
of every subset (``examples/tables/builtin``): ``equal`` is the value there of the chosen tasks in
equal shares, ``regret`` how far the best subset is above ``value``.

All selectors search with one seed before the next, in that seed's own storage, where they share their measurements, as
a user's studies would. ``trials`` and ``cpu_hours`` are what a search paid for, with probes but without confirm;
``reused`` trials were told from the evidence cache, and ``cpu_hours_reused`` is the original cost of all that was taken
from there. A run that existed and only had to be measured again is a trial paid for, with its training reused. Hours
paid and reused add up to the same whichever selector came first. ``seconds`` is how long the study's sessions were
open, confirm included, and ``belief`` what the selector believed, without its tables of pairs.

Rows are written after each study, and those that are in the file are kept: an interrupted run can be continued. Remove
the file to measure again. With ``--storage`` a study that was cut short continues too, and its measurements stay for
the next.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from scipy import stats

from auxtune.orchestrator import Study
from auxtune.orchestrator.session.session import Result

Row = dict[str, Any]


def main() -> None:
    """Run the searches and write and print what they chose."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--selector", action="append", help="a name, or a mapping as in a study file; may be repeated")
    parser.add_argument("--seeds", type=int, default=10, help="searches by each selector, with seeds 0, 1, …")
    parser.add_argument("--storage", type=Path, help="a folder to keep the studies in; not given: none is kept")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="a key of the study, as in run")
    parser.add_argument("--out", type=Path, help="where to write the rows, as JSON")
    arguments = parser.parse_args()
    selectors = arguments.selector or ["thompson"]
    truth = recorded_truth()
    rows: list[Row] = json.loads(arguments.out.read_text()) if arguments.out and arguments.out.exists() else []
    for seed in range(arguments.seeds):
        done = {row["selector"] for row in rows if row["seed"] == seed}
        with storage_of(seed, arguments.storage) as home:
            for selector in selectors:
                if selector in done:
                    continue
                row = found(run_search(seed, selector, home, arguments.overrides))
                rows.append({"selector": selector, "seed": seed, **row, **judged(row, truth)})
                print(json.dumps(rows[-1]), flush=True)
                if arguments.out:
                    arguments.out.parent.mkdir(parents=True, exist_ok=True)
                    arguments.out.write_text(json.dumps(rows, indent=1) + "\n")
    summarise(rows, truth)


@contextmanager
def storage_of(seed: int, storage: Path | None) -> Iterator[Path]:
    """The folder for the studies of one seed: in ``storage``, or one that is removed when they are done."""
    if storage is not None:
        yield storage.resolve() / f"seed{seed}"
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def run_search(seed: int, selector: str, home: Path, overrides: Sequence[str]) -> Result:
    """The result of one study, run to its end unless it is in ``home`` already."""
    home.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^a-z0-9_]+", "-", selector.lower()).strip("-")[:80]
    places = [f"study={name}", f"storage={home}", f"tracking.uri=sqlite:///{home}/mlflow.db"]
    short = [f"seed={seed}", "confirm.seeds=2", "confirm.controls=[]"]
    named = "{name: thompson, rounds: 100, round_steps: 10, seeds: 2}" if selector == "thompson" else selector
    chosen = [f"selector={named}"]
    quickstart = str(files("auxtune.examples") / "quickstart.yaml")
    return Study.from_yaml(quickstart, [*places, *short, *chosen, *overrides]).run()


def found(result: Result) -> Row:
    """The tasks that a search chose, their shares, its accuracy, and its cost, paid and reused."""
    answer, primary = result.selection, result.selection["primary"]
    phases, reused = answer["cost"]["phases"], answer["cost"]["reused"]
    belief = answer["belief"].items()
    return {
        "chosen": [task for task in answer["weights"] if task != primary],
        "weights": answer["weights"],
        "value": answer["report"][primary]["accuracy"],
        "trials": sum(phases[phase]["trials"] for phase in ("measure", "search")),
        "cpu_hours": sum(phases[phase]["cpu_hours"] for phase in ("measure", "search")),
        "reused": reused["trials"],
        "cpu_hours_reused": reused["cpu_hours"],
        "seconds": round(answer["cost"]["wall_hours"] * 3600, 1),
        "belief": {k: v for k, v in belief if not (isinstance(v, dict) and "recipient_by_source" in v)},
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
    # Tasks in order of how well they do alone with the primary, the best first.
    tasks = sorted(largest - {primary}, key=lambda task: -means[frozenset([primary, task])])
    return {
        "means": means,
        "primary": primary,
        "tasks": tasks,
        "single": means[frozenset([primary])],
        "all": means[largest],
        "best": max(means.values()),
    }


def judged(row: Row, truth: Row) -> Mapping[str, float]:
    """The value of the chosen tasks in equal shares, and how far the best subset is above the chosen one."""
    equal = truth["means"][frozenset([truth["primary"], *row["chosen"]])]
    return {"equal": equal, "regret": truth["best"] - row["value"]}


def summarise(rows: Sequence[Row], truth: Row) -> None:
    """Print a table in Markdown, a row per selector: how often it chose each task, and means over its searches.

    Accuracies are in percent with 95 % intervals (Student's t). Trials and CPU seconds are paid + reused.
    """
    columns = ["selector", "searches", "accuracy", "in equal shares", *truth["tasks"], "trials", "CPU seconds"]
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for selector in dict.fromkeys(row["selector"] for row in rows):
        those = [row for row in rows if row["selector"] == selector]
        counts = [sum(task in row["chosen"] for row in those) for task in truth["tasks"]]
        accuracy, equal = (_percent([row[key] for row in those]) for key in ("value", "equal"))
        trials, reused_trials = (_mean(those, key) for key in ("trials", "reused"))
        hours, reused_hours = (_mean(those, key) for key in ("cpu_hours", "cpu_hours_reused"))
        costs = [f"{trials:.3g} + {reused_trials:.3g}", f"{3600 * hours:.0f} + {3600 * reused_hours:.0f}"]
        print(f"| {' | '.join([f'`{selector}`', str(len(those)), accuracy, equal, *map(str, counts), *costs])} |")
    single, every, best = (_percent([truth[key]]) for key in ("single", "all", "best"))
    print(f"\nsingle task {single}, all tasks {every}, best subset {best}")


def _mean(rows: Sequence[Row], key: str) -> float:
    return statistics.mean(row[key] for row in rows)


def _percent(shares: Sequence[float]) -> str:
    count, mean = len(shares), f"{statistics.mean(shares):.1%}".replace("%", " %")
    if count == 1:
        return mean
    return f"{mean} ± {100 * stats.t.ppf(0.975, count - 1) * statistics.stdev(shares) / count**0.5:.1f}"


if __name__ == "__main__":
    main()
