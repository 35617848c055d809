"""Trains every subset of the built-in tasks and writes the recorded table in examples/tables/builtin.

    python benchmarks/builtin_table.py --workers 2

Existing rows are kept, so an interrupted run can be continued. About ten minutes on two cores. The recipe is that of
examples/quickstart.yaml, so the table is the truth about that study.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from auxtune.orchestrator.planning.slots import describe_this_machine
from auxtune.orchestrator.session.prepare import Prepared, prepare
from auxtune.orchestrator.study_file.reading import read_study
from auxtune.selectors.protocol import Proposal
from auxtune.trials.builtin import BUILTIN, hash_builtin
from auxtune.trials.training import TrainingRun

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "examples" / "tables" / "builtin"
COLUMNS = ("tasks", "target", "split", "value", "cost", "seed", "seconds")
PRIMARY, HARMFUL = "mood", "slang"
SHARES = (0.0, 0.3, 0.5, 0.7, 0.9)  # of the harmful task, beside the primary
SHARE_SEEDS = 8  # a harm of a few points needs more than a subset's three


def main() -> None:
    """Train what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--seeds", type=int, default=3, help="runs of every subset")
    arguments = parser.parse_args()
    TABLE.mkdir(parents=True, exist_ok=True)
    describe()
    todo = [*subsets(arguments.seeds), *harmful_shares()]
    done = set(recorded())
    with ProcessPoolExecutor(arguments.workers) as pool:
        jobs = {pool.submit(train, weights, seed): name for name, weights, seed in todo if (name, seed) not in done}
        for number, job in enumerate(as_completed(jobs), start=1):
            record(jobs[job], job.result())
            print(f"{number}/{len(jobs)} {jobs[job]} {job.result()}", flush=True)


def subsets(seeds: int) -> Iterator[tuple[str, Mapping[str, float], int]]:
    """The primary with every set of candidates, equal shares."""
    others = [name for name in BUILTIN if name != PRIMARY]
    for size in range(len(others) + 1):
        for chosen in combinations(others, size):
            tasks = (PRIMARY, *chosen)
            for seed in range(seeds):
                yield "+".join(tasks), {task: 1 / len(tasks) for task in tasks}, seed


def harmful_shares() -> Iterator[tuple[str, Mapping[str, float], int]]:
    """The primary with more and more of the harmful task."""
    for share in SHARES:
        weights = {PRIMARY: 1 - share, HARMFUL: share} if share else {PRIMARY: 1.0}
        for seed in range(SHARE_SEEDS):
            yield f"{HARMFUL} {share}", weights, seed


@cache
def study() -> Prepared:
    """The quickstart's data and recipe, once per process."""
    places = [f"storage={tempfile.mkdtemp()}"]
    return prepare(read_study(ROOT / "examples" / "quickstart.yaml", places), describe_this_machine())


def train(weights: Mapping[str, float], seed: int) -> dict[str, Any]:
    """One training: accuracy on validation and test, and its seconds."""
    prepared = study()
    proposal = prepared.context.translator.execute(Proposal(tuple(weights), dict(weights), seed=1000 + seed))
    recipe = prepared.context.translator.recipe(proposal, "confirm")
    tasks = {task: prepared.tasks[task] for task in recipe.tasks}
    with tempfile.TemporaryDirectory() as folder:
        run = TrainingRun(recipe, tasks, prepared.base, Path(folder))
        while not run.finished:
            run.advance()
        report = run.result()
    values = {"validation": report.score, "test": report.test[PRIMARY]["accuracy"]}
    return {"seed": seed, "seconds": round(report.cost.wall_seconds, 2), **values}


def recorded() -> Iterator[tuple[str, int]]:
    """The subsets or shares, and seeds, that are in the files."""
    for path, key in ((TABLE / "rows.csv", "tasks"), (TABLE / "harmful.csv", "share")):
        if path.exists():
            with path.open(newline="") as file:
                yield from ((row[key], int(row["seed"])) for row in csv.DictReader(file))


def record(name: str, result: Mapping[str, Any]) -> None:
    """Append the rows of one training."""
    harmful = name.startswith(f"{HARMFUL} ")
    path = TABLE / ("harmful.csv" if harmful else "rows.csv")
    columns = ("share", "split", "value", "seed", "seconds") if harmful else COLUMNS
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        if fresh:
            writer.writeheader()
        for split in ("validation", "test"):
            row = {"tasks": name, "share": name, "target": PRIMARY, "split": split, "cost": 1}
            writer.writerow(row | {"value": result[split], "seed": result["seed"], "seconds": result["seconds"]})


def describe() -> None:
    """Write table.json: the format, how the rows were trained, and which data they are true of.

    The description that ``builtin_affinity.py`` wrote there of its own file stays.
    """
    training = study().context.options.training.model_dump(mode="json")
    table = {
        "format": 1,
        "kind": "groups",
        "metric": "accuracy",
        "mode": "max",
        "tasks": list(BUILTIN),
        "primary_rows": study().context.options.tasks[PRIMARY].rows,
        "training": training,
        "data": hash_builtin(),
        "versions": {name: version(name) for name in ("auxtune", "torch", "numpy")},
    }
    path = TABLE / "table.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    if "affinity" in before:
        table["affinity"] = before["affinity"]
    path.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
