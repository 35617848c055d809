"""From a task's rows to checked examples in four splits; ``trials/tokens.py`` and ``batches.py`` come after it.

The files in the order in which rows pass them:

    sources   where a task's rows come from, and its tables: rows as named columns
    rows      rows of csv, tsv, JSON lines and parquet, one at a time
    cells     the value of one cell, the same from every format; classes that were probably not intended
    schema    which columns are text and label, the kind, the classes, the metrics
    examples  texts and labels as checked values
    splits    train, probe, validation and test, cut where a file is missing
    tasks     all tasks of a study, freed of leakage
"""

from __future__ import annotations

from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["classification", "regression", "token", "multi_label"]
SPLITS = ("train", "probe", "validation", "test")
IGNORED = -100  # label of a token that is not scored
