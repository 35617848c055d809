"""Measures every pair of the built-in tasks by every method and writes examples/tables/builtin/affinity.csv.

    python benchmarks/builtin_affinity.py --storage DIR

The recipe is that of examples/quickstart.yaml, with seeds 0 to 4. For each seed the studies of ``search_seeds.py`` with
the selectors of ``METHODS`` are run to their end in one storage; studies that ``search_seeds.py --storage DIR`` left
there are used and not trained again. Then each method's statistic is computed from the evidence that the ledgers name,
for every ordered pair and each task with itself: ``tag`` measures a task with itself on held-out rows, the covariance
score is below 1 there, and the others are 1.

``seconds`` are wall seconds of one thread: all that the evidence took, training included, divided evenly over the pairs
it serves. A task's own run, and what was measured of it, serves the 2n - 1 pairs that hold the task; a joint run serves
all n². So the rows of one method and seed add up to what that method's evidence took. Methods that measure the same
runs each name the full price: rows of different methods do not add up.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from search_seeds import run_search, storage_of

from auxtune.orchestrator.record.accounts import Accounts, read_accounts
from auxtune.orchestrator.record.results import EvidenceStore, StoredEvidence
from auxtune.orchestrator.session.session import Result
from auxtune.orchestrator.study_file.reading import read_study
from auxtune.selectors.kit.head_profiles import build_profiles, compute_taus
from auxtune.selectors.kit.similarity import (
    compute_cosine,
    compute_gradient_cosines,
    compute_layer_cka,
    compute_similarity,
)
from auxtune.trials.builtin import BUILTIN, hash_builtin

Arrays: TypeAlias = Mapping[str, np.ndarray]
Row = dict[str, Any]

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "examples" / "tables" / "builtin"
COLUMNS = ("method", "recipient", "source", "seed", "value", "seconds")
TASKS = tuple(BUILTIN)
JOINT = "lookahead"  # the probe of all tasks together; others are of each alone


def main() -> None:
    """Run what is missing and write the rows, and describe them in table.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="runs of everything, with seeds 0, 1, …")
    parser.add_argument("--storage", type=Path, help="where search_seeds.py left its studies; not given: none is kept")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="a key of the study, as in run")
    parser.add_argument("--table", type=Path, default=TABLE, help="the folder of table.json")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for seed in range(arguments.seeds):
        with storage_of(seed, arguments.storage) as home:
            selectors = dict.fromkeys(selector for selector, _, _ in METHODS.values())
            results = {selector: run_search(seed, selector, home, arguments.overrides) for selector in selectors}
            rows += [{**row, "seed": seed} for row in pairs(results)]
        print(f"seed {seed}: {len(rows)} rows", flush=True)
    with (arguments.table / "affinity.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    describe(arguments.table / "table.json", arguments.seeds, arguments.overrides)


def pairs(results: Mapping[str, Result]) -> list[Row]:
    """All methods' rows of one seed, from the studies of their selectors."""
    rows = []
    for method, (selector, probe, statistic) in METHODS.items():
        result = results[selector]
        store, keys = EvidenceStore(result.folder.parent), evidence_keys(result.accounts, probe)
        evidence = StoredEvidence(store)
        values = statistic([evidence[key] for key in keys])
        if not np.isfinite(values).all():
            raise ValueError(f"{result.folder}: {method} is not known of every pair: {values.tolist()}")
        seconds = shared(store, keys, result.folder.parent)
        rows += [
            {
                "method": method,
                "recipient": recipient,
                "source": source,
                "value": float(f"{values[r, s]:.6g}"),
                "seconds": round(float(seconds[r, s]), 4),
            }
            for r, recipient in enumerate(TASKS)
            for s, source in enumerate(TASKS)
        ]
    return rows


def evidence_keys(accounts: Accounts, probe: str) -> list[str]:
    """The keys of ``probe`` of the joint run, or of each task's own run; label-shuffled twins are left out."""
    told = {
        trial.proposal.tasks: trial.told.outcome.evidence[probe]
        for trial in accounts.of_selector
        if trial.told is not None and trial.proposal.shuffled is None and probe in trial.told.outcome.evidence
    }
    return [told[tasks] for tasks in ([TASKS] if probe == JOINT else [(task,) for task in TASKS])]


def shared(store: EvidenceStore, keys: Sequence[str], studies: Path) -> np.ndarray:
    """Each pair's part of the time that the evidence under ``keys`` took, (tasks, tasks) in wall seconds."""
    count = len(TASKS)
    if len(keys) == 1:
        return np.full((count, count), joint_seconds(store, keys[0], studies) / count**2)
    each = np.array([own_seconds(store, key) for key in keys]) / (2 * count - 1)
    parts: np.ndarray = each[:, None] + each
    np.fill_diagonal(parts, each)
    return parts


def own_seconds(store: EvidenceStore, key: str) -> float:
    """The seconds that a task's own run and measuring it took."""
    measured = store.find(key)
    run = store.find(measured.run) if measured is not None else None
    if measured is None or run is None:
        raise ValueError(f"{store.root}: {key} or its run is damaged; remove the folder and run again")
    return measured.cost.wall_seconds + run.cost.wall_seconds


def joint_seconds(store: EvidenceStore, key: str, studies: Path) -> float:
    """The seconds of the trial that trained all tasks and probed meanwhile: probing is part of its training time."""
    measured = store.find(key)
    if measured is None:
        raise ValueError(f"{store.root / key}: damaged; remove the folder and run again")
    told = read_accounts(studies / measured.study.partition(" ")[0]).trials[measured.trial].told
    if told is None:
        raise ValueError(f"{store.root / key}: its study {measured.study} was cut short there; run it to its end")
    return told.cost.wall_seconds


def tau_of_heads(runs: Sequence[Arrays]) -> np.ndarray:
    """Kendall's tau of head profiles, both directions alike."""
    found = build_profiles(np.array([run["importance"] for run in runs]), "l2")
    return np.array([compute_taus(profile, found) for profile in found])


def least_cka(runs: Sequence[Arrays]) -> np.ndarray:
    """The least over layers of the unbiased CKA of hidden states."""
    layers = compute_layer_cka([run["hidden"] for run in runs]) if alike(runs, "texts") else None
    if layers is None:
        raise ValueError("hidden states of at least 200 texts, the same for all tasks, are needed")
    # A layer that is the same for all texts says nothing.
    return layers[~np.isnan(layers).all(axis=(1, 2))].min(axis=0)


def mean_cosine(runs: Sequence[Arrays]) -> np.ndarray:
    """The mean over batches of the cosine of gradients at the common point."""
    if not alike(runs, "point"):
        raise ValueError("gradients must be taken at one point by all tasks")
    return compute_gradient_cosines([run["projections"] for run in runs])[0].mean(axis=0)


def alike(runs: Sequence[Arrays], name: str) -> bool:
    """Whether all runs have the same ``name``."""
    return len({str(run[name]) for run in runs}) == 1


def each_pair(compare: Callable[[np.ndarray, np.ndarray], float]) -> Callable[[Sequence[Arrays]], np.ndarray]:
    """``compare`` of the covariances of every two runs."""

    def statistic(runs: Sequence[Arrays]) -> np.ndarray:
        found = [run["covariance"] for run in runs]
        return np.array([[compare(one, other) for other in found] for one in found])

    return statistic


def looked_up(array: str) -> Callable[[Sequence[Arrays]], np.ndarray]:
    """An array of the joint run, its tasks in our order."""

    def statistic(runs: Sequence[Arrays]) -> np.ndarray:
        names = [str(task) for task in runs[0]["tasks"]]
        places = [names.index(task) for task in TASKS]
        return runs[0][array][np.ix_(places, places)]

    return statistic


# method -> the selector whose study measures it, the probe, and the statistic of its arrays
METHODS: dict[str, tuple[str, str, Callable[[Sequence[Arrays]], np.ndarray]]] = {
    "gradts": ("gradts_threshold", "head_importance", tau_of_heads),
    "representation": ("representation_gradient", "hidden_states", least_cka),
    "gradient": ("representation_gradient", "gradients", mean_cosine),
    "covariance": ("covariance_similarity", "covariance", each_pair(compute_similarity)),
    "covariance_normalised": ("covariance_similarity", "covariance", each_pair(compute_cosine)),
    "tag": ("{name: tag, order: exact}", JOINT, looked_up("affinity")),
    "tag_cosine": ("{name: tag, order: exact}", JOINT, looked_up("cosine")),
    "tag_first": ("{name: tag, order: first}", JOINT, looked_up("affinity")),
}


def describe(path: Path, seeds: int, overrides: Sequence[str]) -> None:
    """Describe affinity.csv in table.json, whose other content stays."""
    training = read_study(ROOT / "examples" / "quickstart.yaml", overrides).options.training
    table = json.loads(path.read_text())
    table["affinity"] = {
        "methods": {method: selector for method, (selector, _, _) in METHODS.items()},
        "seeds": list(range(seeds)),
        "seconds": "what a method's evidence took, evenly over the pairs it serves (benchmarks/builtin_affinity.py)",
        "training": training.model_dump(mode="json"),
        "data": hash_builtin(),
        "versions": {name: version(name) for name in ("auxtune", "torch", "numpy")},
    }
    path.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
