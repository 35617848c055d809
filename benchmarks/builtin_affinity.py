"""Writes ``examples/tables/builtin/affinity.csv``: what selectors that measure have measured of the built-in tasks.

    python benchmarks/search_seeds.py --seeds 5 --storage runs --selector gradts_threshold --selector tag \\
        --selector representation_gradient --selector covariance_similarity
    python benchmarks/builtin_affinity.py --storage runs

Reads the evidence that those studies left, of every seed, and makes of it the numbers that the selectors go by, for
every ordered pair of tasks, not only for those with the primary: ``gradts`` (Kendall's tau of head profiles),
``representation`` (the least linear CKA over the layers, without bias), ``gradient`` (mean cosine at the common point),
``covariance`` and ``covariance_normalised`` (of token embeddings), ``tag`` (look-ahead, with the held-out diagonal) and
``tag_cosine``. ``seconds`` of a method's rows of one seed add up to what its evidence took: the runs, the measuring.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TypeAlias

import numpy as np

from auxtune.orchestrator.record.events import Opened, Told
from auxtune.orchestrator.record.evidence import Entry, EvidenceStore
from auxtune.orchestrator.record.ledger import read_events
from auxtune.selectors.covariance import normalised, similarity
from auxtune.selectors.head_profiles import profiles, tau
from auxtune.selectors.similarity import gradient_cosines, layer_cka

Arrays: TypeAlias = Mapping[str, np.ndarray]
Table: TypeAlias = tuple[str, np.ndarray, bool, float]  # method, [recipient, source], with the diagonal, seconds

OUT = Path(str(files("auxtune.examples"))) / "tables" / "builtin" / "affinity.csv"


def main() -> None:
    """Read the evidence of every seed and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", type=Path, required=True, help="that of search_seeds.py")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    with arguments.out.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["method", "recipient", "source", "seed", "value", "seconds"])
        for home in sorted(arguments.storage.glob("seed*")):
            seed = int(home.name.removeprefix("seed"))
            tasks, found = evidence_of(home)
            for method, values, diagonal, seconds in tables(tasks, found, EvidenceStore(home)):
                pairs = [(i, j) for i, j in itertools.product(range(len(tasks)), repeat=2) if diagonal or i != j]
                for i, j in pairs:
                    row = (method, tasks[i], tasks[j], seed, f"{values[i, j]:.6g}", f"{seconds / len(pairs):.4g}")
                    writer.writerow(row)


def evidence_of(storage: Path) -> tuple[list[str], dict[tuple[str, str], str]]:
    """The tasks, and the key of each (probe, task) that the studies of one storage measured; twins are left out."""
    tasks: list[str] = []
    found: dict[tuple[str, str], str] = {}
    for study in sorted(path for path in storage.iterdir() if (path / "ledger").is_dir()):
        proposed = {}
        for event in read_events(study / "ledger"):
            if isinstance(event, Opened):
                tasks = list(event.problem.names)
            elif event.event == "proposed":
                proposed[event.id] = event.proposal
            elif isinstance(event, Told) and proposed[event.id].shuffled is None:
                for probe, key in event.outcome.evidence.items():
                    found[probe, "+".join(proposed[event.id].tasks)] = key
    return tasks, found


def tables(tasks: Sequence[str], found: Mapping[tuple[str, str], str], store: EvidenceStore) -> Iterator[Table]:
    """Every method's numbers of all pairs, and what they took."""

    def read(probe: str) -> list[Arrays]:
        return [store.arrays(found[probe, task]) for task in tasks]

    def took(probe: str) -> float:
        return seconds(store, [found[probe, task] for task in tasks])

    heads = [profiles(arrays["importance"], "l2") for arrays in read("head_importance")]
    yield "gradts", np.array([[tau(a, b) for b in heads] for a in heads]), False, took("head_importance")
    layers = layer_cka([arrays["hidden"] for arrays in read("hidden_states")])
    assert layers is not None, "the shared texts are too few"
    said = layers[~np.isnan(layers).all(axis=(1, 2))]
    yield "representation", said.min(axis=0), False, took("hidden_states")
    cosines, _ = gradient_cosines([arrays["projections"] for arrays in read("gradients")])
    yield "gradient", cosines.mean(axis=0), False, took("gradients")
    moments = [arrays["covariance"] for arrays in read("covariance")]
    for method, score in (("covariance", similarity), ("covariance_normalised", normalised)):
        yield method, np.array([[score(a, b) for b in moments] for a in moments]), False, took("covariance")
    joint = found["lookahead", "+".join(tasks)]
    for method, array in (("tag", "affinity"), ("tag_cosine", "cosine")):
        yield method, store.arrays(joint)[array], array == "affinity", seconds(store, [joint])


def seconds(store: EvidenceStore, keys: Sequence[str]) -> float:
    """What the evidence under ``keys`` took: the measuring, and the runs it was measured on."""
    entries = [entry for key in keys if (entry := store.find(key)) is not None]
    runs: list[Entry] = [run for key in {entry.run for entry in entries} if (run := store.find(key)) is not None]
    return sum(entry.cost.wall_seconds for entry in (*entries, *runs))


if __name__ == "__main__":
    main()
