"""Labels of rows as checked values: a class, a value, a tag for each word, or a yes or no for each label.

A parser makes a label of a cell, and raises ``ValueError`` saying what is wrong with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from auxtune.trials.cells import label_name, number
from auxtune.trials.problems import listed
from auxtune.trials.schema import Schema
from auxtune.trials.tables import Table

# A class, a value, a tag id per word, or for each label of a multi-label task 1 where the row has it, else 0.
Label: TypeAlias = int | float | tuple[int, ...]
LARGEST = float(np.finfo(np.float32).max)
FLAGS = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}


def label_parser(table: Table, schema: Schema) -> Callable[[Any], Label]:
    """What reads the cells of the label column, or of each of several."""
    if schema.kind == "regression":
        return partial(_value, untyped=table.untyped)
    if schema.kind == "token":
        return partial(_tags, ids=schema.ids, labels=schema.labels)
    if schema.kind == "multi_label":
        return _flag if len(schema.label) > 1 else partial(_flags, ids=schema.ids, labels=schema.labels)
    return partial(_class, ids=schema.ids, labels=schema.labels)


def _value(cell: Any, untyped: bool) -> float:
    """Rounded to float32, what training uses, so that every file format gives the same value."""
    value = number(cell, untyped)
    if value is None:
        raise ValueError(f"expected a number, found {cell!r:.80}")
    if not math.isfinite(value) or abs(value) > LARGEST:
        raise ValueError(f"expected a finite number, found {value}")
    return float(np.float32(value))


def _class(cell: Any, ids: Mapping[str, int], labels: tuple[str, ...]) -> int:
    if isinstance(cell, list):
        raise ValueError(f"expected one label, found the list {cell!r:.80}")
    name = label_name(cell)
    if name is None:
        raise ValueError("the label is missing")
    if name not in ids:
        raise ValueError(f"{cell!r:.80} is not one of the labels {listed(labels)}; "
                         "correct it, or name all labels under `labels`")
    return ids[name]


def _tags(cell: Any, ids: Mapping[str, int], labels: tuple[str, ...]) -> tuple[int, ...]:
    if not isinstance(cell, list):
        raise ValueError(f"expected a list of tags, found {cell!r:.80}; csv and tsv cannot hold lists")
    return tuple(_class(tag, ids, labels) for tag in cell)


def _flags(cell: Any, ids: Mapping[str, int], labels: tuple[str, ...]) -> tuple[int, ...]:
    """A list of labels as a 0 or 1 for each label."""
    if not isinstance(cell, list):
        raise ValueError(f"expected a list of labels, empty where there is none, found {cell!r:.80}; csv and tsv "
                         "cannot hold lists: name a column of 0 and 1 for each label, as `label: [column, column]`")
    had = [_class(each, ids, labels) for each in cell]
    if len(set(had)) < len(had):                       # what a list of 0 and 1 in the order of the labels looks like
        raise ValueError(f"expected a list of different labels, found {cell!r:.80}; 0 and 1 belong in a column "
                         "for each label, as `label: [column, column]`")
    return tuple(int(each in had) for each in range(len(labels)))


def _flag(cell: Any) -> int:
    name = None if isinstance(cell, list) else label_name(cell)
    if cell is None or cell == "":
        raise ValueError("the label is missing; expected 0 or 1")
    if name is None or name.lower() not in FLAGS:
        raise ValueError(f"expected 0 or 1, or false or true, found {cell!r:.80}")
    return FLAGS[name.lower()]
