"""Does the metric or the loss on the validation split rank trainings better, by what other seeds reach on test rows?

    python benchmarks/search_score.py --study examples/quickstart.yaml --seeds 4 \
        --out benchmarks/results/search_score_builtin.json
    python benchmarks/search_score.py --study examples/reviews.yaml --seeds 3 --share 0.5 \
        --set model.max_length=48 --set training.batch_size=16 --set training.steps=60 \
        --set training.evaluate_every=20 --set training.learning_rate=2e-4 \
        --out benchmarks/results/search_score_reviews.json

Arms are the primary alone, with each auxiliary in some proportions, and with several at once. Each is trained with
some seeds; of every run the metric and the loss of its best weights on the validation split are kept (and the lowest
loss seen), and the metric on the test split. A seed's scores of all arms, as a search sees them, are then compared with
the results of the *other* seeds on the test split: Spearman's correlation, and the result of the arm with the best
score. Runs that are in the file are kept; with --seconds the script ends after so long, and the same command continues.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from provenance import provenance
from scipy.stats import spearmanr

from auxtune.orchestrator.planning.slots import describe_this_machine
from auxtune.orchestrator.session.prepare import Prepared, prepare
from auxtune.orchestrator.study_file.reading import read_study
from auxtune.selectors.protocol import Proposal
from auxtune.trials.training import TrainingRun

SHARES = [0.7, 0.3]  # of the primary, beside one auxiliary
SCORES = ("metric", "loss", "lowest_loss")


def main() -> None:
    """Train what is missing, and write runs and correlations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, help="a study file with a primary")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="change a key of it")
    parser.add_argument("--seeds", type=int, default=5, help="runs of every arm")
    parser.add_argument("--share", type=float, action="append", help="the primary's, beside one auxiliary: 0.7 and 0.3")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no run after so long")
    parser.add_argument("--out", type=Path, required=True, help="the result file")
    arguments = parser.parse_args()
    places = [f"storage={tempfile.mkdtemp()}"]
    prepared = prepare(read_study(Path(arguments.study), [*places, *arguments.overrides]), describe_this_machine())
    runs = json.loads(arguments.out.read_text())["runs"] if arguments.out.exists() else []
    end = time.monotonic() + arguments.seconds
    for weights, seed in missing(prepared, runs, arguments.seeds, arguments.share or SHARES):
        if time.monotonic() > end:
            break
        runs.append(train(prepared, weights, seed))
        write(arguments.out, runs, arguments.seeds)
    print(json.dumps(summary(runs), indent=1))


def arms(names: Sequence[str], primary: str, shares: Sequence[float]) -> Iterator[dict[str, float]]:
    """The primary alone, with one auxiliary, with two halves of the auxiliaries, and with all."""
    others = [name for name in names if name != primary]
    yield {primary: 1.0}
    for name in others:
        for share in shares:
            yield {primary: share, name: 1 - share}
    for several in (others[: len(others) // 2], others[len(others) // 2 :], others):
        yield {primary: 0.4, **{name: 0.6 / len(several) for name in several}}


def missing(
    prepared: Prepared, runs: Sequence[Mapping[str, Any]], seeds: int, shares: Sequence[float]
) -> Iterator[tuple[dict[str, float], int]]:
    """Arms and seeds that have not been trained, all arms of a seed before the next seed."""
    done = {(json.dumps(run["weights"]), run["seed"]) for run in runs}
    primary = prepared.context.problem.require_primary()
    for seed in range(seeds):
        for weights in arms(prepared.context.problem.names, primary, shares):
            if (json.dumps(weights), seed) not in done:
                yield weights, seed


def train(prepared: Prepared, weights: Mapping[str, float], seed: int) -> dict[str, Any]:
    """One training: what a search could be told about it, and its result."""
    primary = prepared.context.problem.require_primary()
    asked = Proposal(tuple(weights), dict(weights), seed=2000 + seed)
    translator = prepared.context.translator
    recipe = translator.recipe(translator.execute(asked), "confirm")
    tasks = {task: prepared.tasks[task] for task in recipe.tasks}
    with tempfile.TemporaryDirectory() as folder:
        run = TrainingRun(recipe, tasks, prepared.base, Path(folder))
        while not run.finished:
            run.advance()
        report = run.result()
        lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    main_metric = prepared.tasks[primary].metrics[0]
    return {
        "weights": dict(weights),
        "seed": seed,
        "seconds": round(report.cost.cpu_seconds, 2),
        "metric": report.validation[primary][main_metric],
        "loss": report.losses[primary],
        "lowest_loss": min(line["validation_loss"][primary] for line in lines),
        "report": report.test[primary][main_metric],
    }


def summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The worth of each score, over the seeds with which every arm was trained: means with standard errors."""
    names = list(dict.fromkeys(json.dumps(run["weights"]) for run in runs))
    table = {(json.dumps(run["weights"]), run["seed"]): run for run in runs}
    seeds = [s for s in sorted({run["seed"] for run in runs}) if all((name, s) in table for name in names)]
    if len(seeds) < 2:
        return {"arms": len(names), "seeds": len(seeds)}
    told = {
        score: (1 if score == "metric" else -1)
        * np.array([[table[name, seed][score] for name in names] for seed in seeds])
        for score in SCORES
    }
    reached = np.array([[table[name, seed]["report"] for name in names] for seed in seeds])
    held = {score: _judged(values, reached) for score, values in told.items()}
    best = float(reached.mean(axis=0).max())
    return {"arms": len(names), "seeds": len(seeds), "report_of_the_best_arm": round(best, 4), **held}


def _judged(values: np.ndarray, reached: np.ndarray) -> dict[str, Any]:
    """A score's worth by seed; both (seeds, arms)."""
    correlations, chosen = [], []
    for seed, row in enumerate(values):
        others = np.delete(reached, seed, axis=0).mean(axis=0)
        correlations.append(float(spearmanr(row, others).statistic))
        chosen.append(float(others[row == row.max()].mean()))  # any of equals might be chosen
    return {
        "spearman": _mean(correlations),
        "spearman_by_seed": [round(value, 3) for value in correlations],
        "report_of_the_chosen_arm": _mean(chosen),
    }


def _mean(values: Sequence[float]) -> dict[str, float]:
    error = float(np.std(values, ddof=1) / np.sqrt(len(values)))
    return {"mean": round(float(np.mean(values)), 4), "standard_error": round(error, 4)}


def write(path: Path, runs: Sequence[Mapping[str, Any]], seeds: int) -> None:
    """The result file, whole."""
    content = {**provenance(range(seeds), ("numpy", "scipy", "torch", "transformers")), "summary": summary(runs)}
    path.write_text(json.dumps({**content, "runs": list(runs)}, indent=1) + "\n")


if __name__ == "__main__":
    main()
