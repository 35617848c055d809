"""Predictions as lines of a file: JSON lines for all tasks, csv for those that a table can hold."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from io import StringIO
from typing import Any

from auxtune.orchestrator.errors import AuxtuneError
from auxtune.trials.loaded_model import Prediction
from auxtune.trials.model_folder import SavedTask


def format_json_lines(predictions: Iterable[Prediction], probabilities: bool) -> Iterator[str]:
    """An object per row: ``prediction`` and, if asked for, ``probabilities``."""
    for one in predictions:
        row: dict[str, Any] = {"prediction": one.value}
        if probabilities:
            row["probabilities"] = one.probabilities
        yield json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def format_csv_lines(task: SavedTask, predictions: Iterable[Prediction], probabilities: bool) -> Iterator[str]:
    """The names of the columns, then a row each: ``prediction``, or for each label of a multi-label task 0 and 1.

    With ``probabilities`` each label has its own in a column ``probability LABEL``. Raises ``AuxtuneError`` for a token
    task, whose lists no cell can hold.
    """
    if task.kind == "token":
        raise AuxtuneError("a token task answers with a list for each row, which csv cannot hold; say --format jsonl")
    several = task.kind == "multi_label"
    extra = [f"probability {label}" for label in task.labels] if probabilities else []
    yield _format_csv_line([*(task.labels if several else ["prediction"]), *extra])
    for one in predictions:
        cells: list[Any] = [one.value]
        if several and isinstance(one.value, tuple):
            cells = [int(label in one.value) for label in task.labels]
        if probabilities and one.probabilities is not None and not isinstance(one.probabilities, tuple):
            cells += [f"{share:.6g}" for share in one.probabilities.values()]
        yield _format_csv_line(cells)


def _format_csv_line(cells: list[Any]) -> str:
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
