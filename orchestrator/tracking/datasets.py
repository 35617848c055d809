"""A study's tasks as MLflow datasets, by which runs can be searched and their data looked up.

The digest is that of the ledger's fingerprint: of the rows that are left after all splits and drops.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag

from auxtune.orchestrator.study_file.paths import list_task_sources
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.trials.data.sources import TaskSource

CONTEXT = "mlflow.data.context"


def describe_datasets(
    study: StudyFile, rows: Mapping[str, Mapping[str, int]], fingerprint: Mapping[str, str]
) -> dict[str, Dataset]:
    """Task -> its dataset, with the number of rows of each split; ``fingerprint`` is that of a session."""
    found = {}
    for source in list_task_sources(study):
        kind, place = _describe_place(source)
        found[source.name] = Dataset(
            name=source.name,
            digest=fingerprint[f"tasks.{source.name}"],
            source_type=kind,
            source=json.dumps(place),
            profile=json.dumps(dict(rows[source.name])),
        )
    return found


def build_inputs(datasets: Mapping[str, Dataset], context: str) -> list[DatasetInput]:
    """The datasets as inputs of a run, in a ``context`` such as ``training``."""
    return [DatasetInput(dataset, [InputTag(CONTEXT, context)]) for dataset in datasets.values()]


def _describe_place(source: TaskSource) -> tuple[str, dict[str, Any]]:
    """MLflow's word for where rows come from, and the place in the form that it has for that."""
    if source.hub is not None:
        place = {"path": source.hub, "config_name": source.config, "split": source.split, "revision": source.revision}
        return "hugging_face", {key: value for key, value in place.items() if value is not None}
    if source.builtin is not None:
        return "builtin", {"builtin": source.builtin}
    if source.path is not None:
        return "local", {"uri": str(source.path)}
    files = {part: str(file) for part, file in source.files.items()}
    return "local", {"uri": files["train"], "files": files}
