"""Cuts probe, validation and test out of a task's files.

``test`` is the labelled test file, else the whole validation file, else a fifth of the only file,
200 to 2,000 rows and at most half. ``validation`` is the validation file if that is not the test split, else cut
from train; ``probe`` is always cut. These two take a tenth of train each, 200 to 2,000 rows, together at most
a quarter of train, which takes precedence.

A cut takes rows in the order of their input's hash, so it depends only on the task's own rows: not on a seed, the
order of the file, or the other tasks of a study. It keeps the shares of the classes, or of the fifths of the values;
token and multi-label tasks are cut without regard to labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from auxtune.trials.data import Kind
from auxtune.trials.data.examples import Examples
from auxtune.trials.data.sources import TaskSource
from auxtune.trials.errors import DataError, join_names, suggest_name

HELD_OUT = ("test", "validation", "probe")  # in the order in which they are cut
FEWEST, MOST = 200, 2000  # rows of a cut
COPIED = 10  # a part that keeps less than a tenth beside test is its copy
Size: TypeAlias = float | int  # a share of train, or a number of its rows


def divide_rows(
    files: Mapping[str, Examples], given: Mapping[str, Examples], sizes: Mapping[str, Size], kind: Kind
) -> dict[str, Examples]:
    """The four splits of a task from its ``train``, ``validation`` and ``test`` rows.

    A part in ``given`` has rows of its own; a part in ``sizes`` is cut from train in that size; the others
    follow the rule, by which a validation file that ``test`` does not need is ``validation``. Raises
    ``DataError`` if a part would have no rows.
    """
    parts = dict(given)
    asked = {*given, *sizes}
    tested = [files[name] for name in ("test", "validation") if name in files]
    if "test" not in asked and tested:
        parts["test"] = tested[0]
    if "validation" not in asked and "validation" in files and parts.get("test") is not files["validation"]:
        parts["validation"] = files["validation"]
    train = files["train"]
    counts = count_cuts(len(train), [part for part in HELD_OUT if part not in parts], sizes)
    groups = group_rows(train, kind)
    left = np.arange(len(train))
    for part, count in counts.items():
        taken = take_rows(count, train.keys[left], groups[left])
        parts[part] = train.at(left[taken])
        left = np.delete(left, taken)
    return {"train": train.at(left), **parts}


def name_origins(parts: Mapping[str, Examples], sources: Sequence[tuple[str, Examples]]) -> dict[str, str]:
    """Held-out part -> the file that it consists of, or the share of the training file that was cut for it.

    ``sources`` are the files' names and rows, the training file's first.
    """
    origins = {}
    train, trained = sources[0]
    for part in HELD_OUT:
        share = f"{100 * len(parts[part]) / len(trained):.2g} % of {train}"
        origins[part] = next((name for name, rows in sources if rows is parts[part]), share)
    return origins


def count_cuts(rows: int, cut: Sequence[str], sizes: Mapping[str, Size]) -> dict[str, int]:
    """How many of train's ``rows`` each part in ``cut`` takes. Raises ``DataError`` if one would be empty."""
    counts: dict[str, int] = {}
    if "test" in cut:
        counts["test"] = _resolve_count(sizes.get("test"), rows, min(_clamp_count(0.2, rows), rows // 2))
    left = rows - sum(counts.values())
    inner = [part for part in cut if part != "test"]
    for part in inner:
        counts[part] = _resolve_count(sizes.get(part), left, min(_clamp_count(0.1, left), left // 4 // len(inner)))
    empty = [part for part, count in counts.items() if count < 1]
    if empty:
        raise DataError(
            [
                f"{join_names(empty)} would have no rows: {rows} training rows are too few to cut from; "
                "add rows, or name a file under `splits`"
            ]
        )
    if sum(counts.values()) >= rows:
        asked = join_names(f"{part} {count}" for part, count in counts.items())
        raise DataError([f"splits: {asked} leave nothing of {rows} training rows; ask for less"])
    return counts


def drop_test_rows(splits: Mapping[str, Examples]) -> tuple[dict[str, Examples], dict[str, int]]:
    """The splits with no validation or probe row whose input ``test`` has, and how many rows each of them lost.

    ``test`` thus holds only inputs that the search never saw, even if files overlap or a file has a row twice. Raises
    ``DataError`` if next to nothing would be left: then one part is a copy of the other.
    """
    left, lost = dict(splits), dict[str, int]()
    messages: list[str] = []
    tested = splits["test"].keys
    for part in ("validation", "probe"):
        rows = splits[part]
        fresh = np.flatnonzero(~np.isin(rows.keys, tested))
        if len(fresh) * COPIED < len(rows):
            messages.append(
                f"{len(rows) - len(fresh)} of {len(rows)} {part} rows have an input that occurs in the {len(tested)} "
                "test rows, so the answer would be confirmed on rows that the search chose by; give files with "
                f"different rows, or say under `splits` where {part} and test come from"
            )
        if len(fresh) < len(rows):
            left[part], lost[part] = rows.at(fresh), len(rows) - len(fresh)
    # If training itself is a copy of test, that is the better message; it is raised when training rows are dropped.
    if messages and not np.isin(splits["train"].keys, tested).all():
        raise DataError(messages)
    return left, lost


def check_sizes(source: TaskSource) -> None:
    """Raise ``DataError`` unless ``splits`` and ``rows`` are legal."""
    messages = []
    for part, size in source.splits.items():
        if part not in HELD_OUT:
            messages.append(
                f"splits: `{part}` is not one of {join_names(HELD_OUT)}{suggest_name(part, HELD_OUT)}; "
                "`rows` limits the training rows"
            )
        elif not isinstance(size, Path) and not (0 < size < 1 or (isinstance(size, int) and size > 0)):
            messages.append(
                f"splits.{part}: expected a share between 0 and 1, a number of rows or a file, found {size}"
            )
    if source.rows is not None and source.rows < 1:
        messages.append(f"rows: expected at least 1, found {source.rows}")
    if messages:
        raise DataError(messages)


def group_rows(examples: Examples, kind: Kind) -> np.ndarray:
    """Each row's group, whose share a cut keeps, (rows,) int64: class, fifth of the values, or one for all."""
    if kind in ("token", "multi_label"):
        return np.zeros(len(examples), np.int64)
    labels = np.array(examples.labels)
    if kind == "classification":
        return labels
    return np.searchsorted(np.quantile(labels, [0.2, 0.4, 0.6, 0.8]), labels, side="right")


def take_rows(count: int, keys: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Indices, ascending, of ``count`` rows: each group's share (largest remainder) of its smallest keys."""
    sizes = np.bincount(groups)
    share, remainder = np.divmod(count * sizes, len(groups))
    more = np.argsort(-remainder, kind="stable")[: count - share.sum()]
    share[more] += 1
    order = np.lexsort((keys, groups))
    rank = np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # within the row's group
    return np.sort(order[rank < share[groups[order]]])


def _resolve_count(size: Size | None, rows: int, default: int) -> int:
    if size is None:
        return default
    return size if isinstance(size, int) else round(size * rows)


def _clamp_count(share: float, rows: int) -> int:
    return min(max(round(share * rows), FEWEST), MOST)
