"""Trains every subset of the built-in tasks and writes the recorded table in examples/tables/builtin.

    python benchmarks/builtin_table.py --workers 2

``rows.csv`` holds every subset in equal shares, ``harmful.csv`` what some shares of a harmful task do beside the
primary and beside the primary with all that help. Existing rows are kept, so an interrupted run can be continued. About
ten minutes on two cores. The recipe is that of examples/quickstart.yaml, so the table is the truth about that study.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
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
PRIMARY, HELPFUL, HARMFUL = "mood", ("tint", "stars", "rival"), ("river", "pace", "slang")
SHARES = {PRIMARY: (0.3, 0.6), "+".join((PRIMARY, *HELPFUL)): (0.1, 0.2)}  # of a harmful task, beside these
SHARE_SEEDS = 8  # a harm of a few points needs more than a subset's five
RESULTS = ("split", "value", "cost", "seed", "seconds")


@dataclass(frozen=True)
class Training:
    """One training: where its rows go, and what they say of it there."""

    file: str
    described: Mapping[str, str]
    weights: Mapping[str, float]
    seed: int

    @property
    def key(self) -> tuple[str, ...]:
        """What no other training of the file has."""
        return (self.file, *self.described.values(), str(self.seed))


def main() -> None:
    """Train what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--seeds", type=int, default=5, help="runs of every subset")
    arguments = parser.parse_args()
    TABLE.mkdir(parents=True, exist_ok=True)
    describe()
    done = set(recorded())
    todo = [one for one in (*subsets(arguments.seeds), *harmful_shares()) if one.key not in done]
    with ProcessPoolExecutor(arguments.workers) as pool:
        jobs = {pool.submit(train, one.weights, one.seed): one for one in todo}
        for number, job in enumerate(as_completed(jobs), start=1):
            record(jobs[job], job.result())
            print(f"{number}/{len(jobs)} {' '.join(jobs[job].key)} {job.result()}", flush=True)


def subsets(seeds: int) -> Iterator[Training]:
    """The primary with every set of candidates, equal shares."""
    others = [name for name in BUILTIN if name != PRIMARY]
    for size in range(len(others) + 1):
        for chosen in combinations(others, size):
            tasks = (PRIMARY, *chosen)
            for seed in range(seeds):
                described = {"tasks": "+".join(tasks), "target": PRIMARY}
                yield Training("rows.csv", described, {task: 1 / len(tasks) for task in tasks}, seed)


def harmful_shares() -> Iterator[Training]:
    """A harmful task by its share, beside others in equal shares, and these without it."""
    for beside, shares in SHARES.items():
        tasks = beside.split("+")
        for harmful in HARMFUL:
            for share in (0.0, *shares) if harmful == HARMFUL[0] else shares:
                weights = {task: (1 - share) / len(tasks) for task in tasks} | ({harmful: share} if share else {})
                described = {"beside": beside, "harmful": harmful if share else "", "share": str(share)}
                for seed in range(SHARE_SEEDS):
                    yield Training("harmful.csv", described, weights, seed)


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


def recorded() -> Iterator[tuple[str, ...]]:
    """The keys of the trainings that are in the files."""
    for path in (TABLE / "rows.csv", TABLE / "harmful.csv"):
        if path.exists():
            with path.open(newline="") as file:
                for row in csv.DictReader(file):
                    described = (row[name] for name in row if name not in RESULTS)
                    yield (path.name, *described, row["seed"])


def record(training: Training, result: Mapping[str, Any]) -> None:
    """Append the rows of one training."""
    path = TABLE / training.file
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, (*training.described, *RESULTS), extrasaction="ignore", lineterminator="\n")
        if fresh:
            writer.writeheader()
        for split in ("validation", "test"):
            writer.writerow({**training.described, **result, "split": split, "value": result[split], "cost": 1})


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
