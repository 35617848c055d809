"""The same rows in every form that a task is read from."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow
from pyarrow import parquet

from auxtune.trials.data.sources import TaskSource
from auxtune.trials.data.tasks import Task, load_tasks

Row = Mapping[str, Any]


def write_jsonl(path: Path, rows: Sequence[Row]) -> Path:
    """A JSON object per line; a NaN is written as Python writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_separated(path: Path, rows: Sequence[Row]) -> Path:
    """csv or tsv, by the extension; ``None`` is an empty cell."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="," if path.suffix == ".csv" else "\t")
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_parquet(path: Path, rows: Sequence[Row]) -> Path:
    """Columns of the types that pyarrow infers."""
    parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), path)
    return path


def write_saved(path: Path, rows: Sequence[Row]) -> Path:
    """A dataset that ``save_to_disk`` wrote."""
    datasets.Dataset.from_list([dict(row) for row in rows]).save_to_disk(str(path))
    return path


FILES: Mapping[str, Callable[[Path, Sequence[Row]], Path]] = {
    "csv": write_separated,
    "tsv": write_separated,
    "jsonl": write_jsonl,
    "parquet": write_parquet,
}
FORMATS = (*FILES, "saved")
TYPED = ("jsonl", "parquet", "saved")  # those that hold lists, and numbers as numbers


def task_of(folder: Path, form: str, parts: Mapping[str, Sequence[Row]], **source: Any) -> Task:
    """The task ``one``, a file per part in one of ``FORMATS``, with columns ``text`` and ``label`` by default."""
    folder.mkdir(exist_ok=True)
    if form == "saved":
        splits = {part: datasets.Dataset.from_list([dict(row) for row in rows]) for part, rows in parts.items()}
        datasets.DatasetDict(splits).save_to_disk(str(folder / "saved"))
        where: dict[str, Any] = {"path": folder / "saved"}
    else:
        where = {"files": {part: FILES[form](folder / f"{part}.{form}", rows) for part, rows in parts.items()}}
    columns = {} if "tokens" in source else {"text": ("text",), "label": "label"}
    return load_tasks([TaskSource("one", **(where | columns | source))])["one"]


def labelled(labels: Sequence[Any], start: str = "text") -> list[Row]:
    """A row with a text of its own for each label."""
    return [{"text": f"{start} {number}", "label": label} for number, label in enumerate(labels)]
