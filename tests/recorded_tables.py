"""Small recorded tables with a known truth, written to a folder."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ABCD = ("a", "b", "c", "d")


def write_table(
    folder: Path, kind: str, tasks: Sequence[str], rows: Iterable[Mapping[str, Any]], **header: Any
) -> Path:
    """A table of ``kind``; columns are those of the first row."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {"format": 1, "kind": kind, "metric": "loss", "mode": "min", "tasks": list(tasks), **header}
    (folder / "table.json").write_text(json.dumps(told))
    write_rows(folder / "rows.csv", rows)
    return folder


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """A CSV file; columns are those of the first row."""
    listed = list(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, listed[0].keys())
        writer.writeheader()
        writer.writerows(listed)


def groups_rows(
    tasks: Sequence[str] = ABCD, seed: int = 0, seeds: int = 1, noise: float = 0.05
) -> list[dict[str, Any]]:
    """All groups of ``tasks``: a random loss for each member, on validation, test and early with noise of its own."""
    rng = np.random.default_rng(seed)
    rows = []
    for size in range(1, len(tasks) + 1):
        for group in itertools.combinations(tasks, size):
            for target, number in itertools.product(group, range(seeds)):
                truth = rng.uniform(1, 2)
                for split in ("validation", "test", "early"):
                    value = round(truth + noise * rng.normal() + (split == "early"), 6)
                    rows.append(
                        {
                            "tasks": "+".join(group),
                            "target": target,
                            "split": split,
                            "value": value,
                            "cost": 1,
                            "network": "full",
                            "seed": number,
                        }
                    )
    return rows


def half_size(rows: Sequence[Mapping[str, Any]], worse: float = 0.1) -> list[dict[str, Any]]:
    """Every single task once more in a smaller network, a little worse and for half the cost."""
    single = [row for row in rows if "+" not in row["tasks"]]
    return [{**row, "network": "half", "cost": 0.5, "value": row["value"] + worse} for row in single]


def mixtures_rows(tasks: Sequence[str] = ABCD, train: int = 60, test: int = 30, seed: int = 0) -> list[dict[str, Any]]:
    """Mixtures whose loss is log-linear in the shares: the first task helps and the second hurts."""
    rng = np.random.default_rng(seed)
    slopes = np.array([-1.0, 1.0, *np.zeros(len(tasks) - 2)])
    rows = []
    for split, count in (("train", train), ("test", test)):
        for shares in rng.dirichlet(np.ones(len(tasks)), count):
            loss = 1 + np.exp(shares @ slopes) + 0.01 * rng.normal()
            named = {f"w:{task}": share for task, share in zip(tasks, shares, strict=True)}
            rows.append({"split": split, **named, "y:overall": loss, "y:a": loss + shares[0]})
    return rows


def transfer_rows(tasks: Sequence[str], helper: str, seeds: int = 2, seed: int = 0) -> list[dict[str, Any]]:
    """Every source to every target: ``helper`` helps all, the others next to nothing, later ones a little more."""
    rng = np.random.default_rng(seed)
    return [
        {
            "source": source,
            "target": target,
            "seed": number,
            "value": 0.6
            + 0.2 * (source == helper)
            + 0.02 * tasks.index(source or tasks[0]) / len(tasks)
            + 0.001 * rng.normal(),
        }
        for target in tasks
        for source in ("", *(task for task in tasks if task != target))
        for number in range(seeds)
    ]
