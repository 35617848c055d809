"""What the factors of svd_reweighting do: sentences of the built-in language with five labels each, with and without.

    python benchmarks/loss_factors.py --folder runs/loss_factors --out benchmarks/results/loss_factors.json

Writes the labelled sentences and a study file into --folder, runs the study, and records the factors and the lifts of
its answer. The control all_tasks is the same training without factors.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from provenance import provenance

from auxtune.orchestrator.study import Study
from auxtune.trials.builtin import LONGEST, SHORTEST, generate_language, generate_sentences

ROWS = {"train": 400, "validation": 400, "test": 2000}
LABELS = ("mood", "stars", "river", "pace", "coin")
STUDY = """\
study: loss-factors
primary: mood
tasks:
{tasks}
model: {{name: tiny, max_length: 32, pooling: mean}}
training: {{steps: 400, batch_size: 32, learning_rate: 2.0e-3, evaluate_every: 100}}
selector: svd_reweighting
confirm: {{seeds: {seeds}, controls: [single_task, all_tasks]}}
budget: {{trials: {trials}}}
resources: {{cpus: 1, gpus: 0, concurrent: 1}}
storage: {folder}/studies
tracking: {{uri: "sqlite:///{folder}/mlflow.db"}}
seed: 0
"""


def main() -> None:
    """Write data and study, run it, and write its results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="for data, study and its results")
    parser.add_argument("--seeds", type=int, default=4, help="of confirm")
    parser.add_argument("--out", type=Path, required=True, help="the result file")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder)
    answer = Study.from_yaml(write_study(folder, arguments.seeds)).run().selection
    weights = answer["weights"]
    found = {
        **provenance(range(arguments.seeds), ("numpy", "torch")),
        "factors": {task: round(share * len(weights), 3) for task, share in weights.items()},
        "lift": answer["lift"],
        "report": answer["report"],
    }
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({key: found[key] for key in ("factors", "lift", "report")}, indent=1))


def write_rows(folder: Path) -> None:
    """A csv file for each split: a sentence and all its labels in a row."""
    rows = labelled()
    for part, count in ROWS.items():
        with (folder / f"{part}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ("sentence", *LABELS), lineterminator="\n")
            writer.writeheader()
            writer.writerows(islice(rows, count))


def labelled() -> Iterator[dict[str, Any]]:
    """Sentences that have a mood and a river, labelled by lightness, wetness, length and the toss of a coin."""
    language, rng = generate_language(), np.random.default_rng(7)
    for sentence in generate_sentences(language, rng, 0.65, SHORTEST, LONGEST):
        light, wet = (int(sentence.values(of).sum()) for of in (language.light, language.wet))
        balance = -light if sentence.denied else light
        if balance and wet:
            yield {
                "sentence": " ".join(sentence.words),
                "mood": "light" if balance > 0 else "dark",
                "stars": max(-1.0, min(1.0, balance / 4)) + 0.001 * rng.normal(),  # never a whole number
                "river": "river" if wet > 0 else "hill",
                "pace": "slow" if (sentence.content >= 0).sum() * 2 > SHORTEST + LONGEST else "quick",
                "coin": "heads" if rng.random() < 0.5 else "tails",
            }


def write_study(folder: Path, seeds: int) -> Path:
    """The study file over the rows in ``folder``."""
    files = ", ".join(f"{part}: {part}.csv" for part in ROWS)
    tasks = "\n".join(f"  {name}: {{files: {{{files}}}, text: [sentence], label: {name}}}" for name in LABELS)
    path = folder / "study.yaml"
    path.write_text(STUDY.format(tasks=tasks, seeds=seeds, trials=3 * seeds + len(LABELS), folder=folder))
    return path


if __name__ == "__main__":
    main()
