"""What a task's columns mean: its text, its label, its kind, its classes and its metrics.

The study takes precedence over meta.json, which takes precedence over a guess from the training rows: text or declared
classes mean classification, integers too (noted on the task), fractions mean regression, lists of labels and several
label columns mean multi-label.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import NoneType
from typing import Any, get_args

from auxtune.trials.data import Kind
from auxtune.trials.data.cells import (
    NOT_SCORED,
    SURROGATE,
    Occurrences,
    canonicalise,
    count_names,
    find_class_warnings,
    find_ids_among_names,
    find_spelling_warnings,
    is_missing,
    is_nan_text,
    is_whole_number,
    parse_number,
)
from auxtune.trials.data.sources import Table, TaskSource, TaskTables
from auxtune.trials.errors import DataError, ErrorCollector, join_names, report_rows, suggest_name
from auxtune.trials.metrics import METRICS, find_metric, list_third_party_names, resolve_alias
from auxtune.trials.spans import find_non_bio_tags

KINDS: tuple[Kind, ...] = get_args(Kind)
MARKS = frozenset((-1.0, -9.0, -99.0, -100.0, -999.0, -9999.0))  # these stand for a missing value in many files
INTEGER = re.compile(r"[+-]?\d+")


@dataclass(frozen=True)
class Schema:
    """How to read every file of a task.

    ``text`` names one or two text columns, or the column of words of a token task; ``label`` the column of the label,
    the tags or the list of labels, or a column of 0 and 1 for each label. ``labels`` are the classes, tags or labels in
    the order of their ids, empty for regression; ``is_ordered`` says that this order was declared. If no value of a
    regression is below 0 in training, -1 ``hides`` one. ``warnings`` are about doubtful classes.
    """

    kind: Kind
    text: tuple[str, ...]
    label: tuple[str, ...]
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    is_ordered: bool = False
    hides: bool = False

    @property
    def pair(self) -> bool:
        """Whether an input is two sentences."""
        return len(self.text) == 2

    @cached_property
    def ids(self) -> Mapping[str, int]:
        """A label's id by its name, by the one spelling of a number, and by the id itself.

        A number is an id only if the order of the labels is declared and no label is named by a number.
        """
        ids = {label: index for index, label in enumerate(self.labels)}
        for index, label in enumerate(self.labels):
            ids.setdefault(canonicalise(label), index)
        if not self.is_ordered or any(is_whole_number(label) for label in self.labels):
            return ids
        return ids | {str(index): index for index in range(len(self.labels))}


def read_schema(source: TaskSource, found: TaskTables) -> Schema:
    """Decide the whole schema from the study file, meta.json and the training rows. Raises ``DataError``."""
    train = found.tables["train"]
    if not len(train):
        raise DataError([f"{train.place}: there are no rows"])
    declared = _add_meta(source, found)
    text, label, is_token = _choose_columns(declared, train)
    notes: tuple[str, ...] = ()
    if is_token:
        kind: Kind = "token"
    elif len(label) > 1:
        kind = "multi_label"
    elif declared.kind is not None:
        kind = declared.kind
    else:
        kind, notes = _guess_kind(train, label[0], bool(declared.labels))
    is_ordered = bool(declared.labels) or label[0] in train.classes
    # Several label columns are named after their labels; regressions have no names.
    names = {} if kind == "regression" or len(label) > 1 else count_names(train.columns[label[0]])
    labels = () if kind == "regression" else _choose_labels(train, label, declared.labels, names)
    metrics = tuple(dict.fromkeys(map(resolve_alias, declared.metrics))) or METRICS[kind][:1]
    errors = ErrorCollector()
    errors.problems += _find_wrong_labels(train, kind, label, labels, declared.labels)
    errors.problems += _find_wrong_metrics(kind, metrics, labels)
    if not is_ordered:
        errors.problems += report_rows(train.place, label[0], find_ids_among_names(names))
    errors.raise_any()
    warnings = _warn_of_classes(names, len(train), kind, is_ordered, declared.kind is not None)
    hides = False
    if kind == "regression":
        hides, warnings = _find_hidden_values(train, label[0])
    said = tuple(f"column `{label[0]}`: {warning}" for warning in warnings)
    table_notes = tuple(note for table in found.tables.values() for note in table.notes)
    return Schema(kind, text, label, labels, metrics, found.notes + table_notes + notes, said, is_ordered, hides)


def _warn_of_classes(
    names: Mapping[str, Occurrences], rows: int, kind: Kind, is_ordered: bool, is_kind_said: bool
) -> list[str]:
    """Warnings about the names in the training rows; for declared ones only about their spelling."""
    shown = {name: found for name, found in names.items() if canonicalise(name) != NOT_SCORED}
    if is_ordered:
        return find_spelling_warnings(shown) if kind != "regression" else []
    return find_class_warnings(shown, rows, kind == "classification", is_kind_said)


def _find_hidden_values(train: Table, column: str) -> tuple[bool, list[str]]:
    """Whether -1 cannot be a value, as none is below 0, and a warning about a mark among values."""
    values = [(row, parse_number(cell, train.untyped)) for row, cell in enumerate(train.columns[column], start=1)]
    below = [(row, value) for row, value in values if value is not None and value < 0]
    marks = {value for _, value in below}
    if marks and len(marks) == 1 and marks <= MARKS and any(value and value % 1 for _, value in values):
        row, mark = below[0]
        return False, [
            f"row {row}: {mark:g} ({len(below)} rows) is the only value below 0; if it marks rows without a "
            "label, leave their cells empty and say `missing: drop`"
        ]
    return not below, []


def _find_wrong_labels(
    train: Table, kind: Kind, columns: tuple[str, ...], labels: tuple[str, ...], declared: tuple[str, ...]
) -> list[str]:
    wrong = []
    if kind == "regression" and declared:
        wrong.append(f"a regression has no labels, found {join_names(declared)}")
    if len(columns) > 1 and declared and declared != columns:
        wrong.append(
            f"labels: the columns under `label` name the labels, {join_names(columns)}; remove {join_names(declared)}"
        )
    if kind != "regression" and len(labels) < 2:
        wrong.append(
            f"{train.place}, column `{columns[0]}`: expected at least two different labels, found {join_names(labels)}"
        )
    if len(set(labels)) < len(labels):
        wrong.append(f"labels: a name occurs twice in {join_names(labels)}")
    if NOT_SCORED in map(canonicalise, labels):
        wrong.append(f"labels: {NOT_SCORED} marks what is not scored and is no label; remove it")
    return wrong


def _find_wrong_metrics(kind: Kind, metrics: Sequence[str], labels: Sequence[str]) -> list[str]:
    try:
        known = (*METRICS[kind], *list_third_party_names())
        wrong = [
            f"metric: `{metric}` is not a metric of {kind} tasks; there are {', '.join(known)}"
            f"{suggest_name(metric, known)}"
            for metric in metrics
            if metric not in known
        ]
        asked = [find_metric(metric) for metric in metrics if metric in known]
    except (ImportError, ValueError) as error:  # another package's metric is invalid
        return [str(error)]
    wrong += [
        f"metric: `{metric.name}` is for {join_names(metric.kinds)} tasks, this is a {kind} task"
        for metric in asked
        if kind not in metric.kinds
    ]
    if kind == "token" and find_non_bio_tags(labels):
        wrong += [
            f"metric: `{metric.name}` needs BIO tags (O, B-NAME at the first word of a span and I-NAME at its "
            f"others), found {join_names(find_non_bio_tags(labels))}; ask for accuracy, f1, or change the tags"
            for metric in asked
            if metric.needs_spans
        ]
    return wrong


def _add_meta(source: TaskSource, found: TaskTables) -> TaskSource:
    """``source`` completed from meta.json where the study is silent. Raises ``DataError`` for values of other types."""
    kind, labels, metric, pair = (found.meta.get(key) for key in ("kind", "labels", "metric", "pair"))
    expected = {
        "kind": ("one of " + join_names(KINDS), kind is None or kind in KINDS),
        "labels": ("a list of names", labels is None or _is_all_names(labels)),
        "metric": ("names separated by commas", metric is None or isinstance(metric, str)),
        "pair": ("true or false", pair is None or isinstance(pair, bool)),
    }
    wrong = [
        f"{found.meta_place}: `{key}` must be {what}, found {found.meta[key]!r}"
        for key, (what, fine) in expected.items()
        if not fine
    ]
    if source.kind is not None and source.kind not in KINDS:
        wrong.append(f"kind must be one of {join_names(KINDS)}, found {source.kind!r}")
    if isinstance(source.label, tuple) and source.kind not in (None, "multi_label"):
        wrong.append(f"a list of columns under `label` makes a multi_label task; `kind` says {source.kind}")
    if wrong:
        raise DataError(wrong)
    asked: Kind | None = "multi_label" if isinstance(source.label, tuple) else source.kind
    if asked not in (None, kind):  # meta.json describes another kind and does not apply here
        kind, labels, metric = asked, None, None
    names = tuple(str(label) for label in labels or ())
    metrics = tuple(name.strip() for name in metric.split(",")) if metric else ()
    return replace(source, kind=kind, labels=source.labels or names, metrics=source.metrics or metrics, pair=pair)


def _is_all_names(labels: Any) -> bool:
    return isinstance(labels, list) and all(isinstance(label, (str, int)) for label in labels)


def _choose_columns(source: TaskSource, train: Table) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """The text columns, the label columns, and whether the task labels tokens."""
    marked = source.tokens is not None or source.tags is not None or source.kind == "token"
    is_token = marked or (source.kind is None and not source.text and "tokens" in train.columns)
    if is_token and (source.text or source.kind not in (None, "token")):
        raise DataError(["a token task has `tokens` and `tags`, any other `text` and `label`; found both"])
    if len(source.text) > 2:
        raise DataError([f"text: expected one or two columns, found {join_names(source.text)}"])
    if isinstance(source.label, tuple) and len(source.label) < 2:
        raise DataError(
            [
                f"label: expected a column for each of two or more labels, found {join_names(source.label)}; "
                "a single column, of classes or of lists, is written without brackets"
            ]
        )
    text: tuple[str, ...]
    label: tuple[str, ...]
    if is_token:
        text, label, keys = (source.tokens or "tokens",), (source.tags or "tags",), "`tokens` and `tags`"
    else:
        second = any(not is_missing(cell) for cell in train.columns.get("sentence2", ()))
        if second and source.pair is False and not source.text:
            raise DataError([f"{train.place}: `pair` is false but there is text in column `sentence2`"])
        text = source.text or (("sentence1", "sentence2") if second or source.pair else ("sentence1",))
        label = source.label if isinstance(source.label, tuple) else (source.label or "label",)
        keys = "`text` and `label`"
    unknown = [
        f"{train.place}: there is no column `{column}` among {join_names(train.columns)}"
        f"{suggest_name(column, train.columns)}; name the columns as {keys}"
        for column in (*text, *label)
        if column not in train.columns
    ]
    if unknown:
        raise DataError(unknown)
    if len({*text, *label}) < len(text) + len(label):
        raise DataError([f"a column is named twice: {join_names((*text, *label))}; name different columns as {keys}"])
    return text, label, is_token


def _guess_kind(train: Table, label: str, has_names: bool) -> tuple[Kind, tuple[str, ...]]:
    """The kind that the training labels suggest, with a note if integers could have meant either."""
    lists = [(row, cell) for row, cell in enumerate(train.columns[label], start=1) if isinstance(cell, list)]
    if lists:
        wrong = [
            (row, f"expected a list of labels, found {cell!r:.80}")
            for row, cell in lists
            if any(not isinstance(each, (str, int, NoneType)) for each in cell)
        ]
        if wrong:  # such as the numbers of an embedding
            raise DataError(report_rows(train.place, label, wrong))
        return "multi_label", ()
    if has_names or label in train.classes:
        return "classification", ()
    cells = [
        (row, cell)
        for row, cell in enumerate(train.columns[label], start=1)
        if not is_missing(cell) and not (isinstance(cell, str) and is_nan_text(cell))
    ]
    wrong = [
        (row, f"expected text or a number, found {type(cell).__name__}")
        for row, cell in cells
        if not isinstance(cell, (str, int, float))
    ]
    if wrong:
        raise DataError(report_rows(train.place, label, wrong))
    numbers = _parse_numbers(cells, train.untyped)
    if any(value is None for value in numbers):
        wrong = _find_mixed(cells, numbers, train.untyped)
        if wrong:
            raise DataError(report_rows(train.place, label, wrong))
        return "classification", ()
    if any(not math.isfinite(value) or value % 1 for value in numbers if value is not None):
        return "regression", ()
    note = f"column `{label}` holds integers: read as classes; `kind: regression` makes them values"
    return "classification", (note,)


def _parse_numbers(cells: Sequence[tuple[int, Any]], untyped: bool) -> list[float | None]:
    """Each cell as a number, or ``None``; labels repeat, and each is parsed once."""
    distinct = {(type(cell), cell): cell for _, cell in cells}
    known = {key: parse_number(cell, untyped) for key, cell in distinct.items()}
    return [known[type(cell), cell] for _, cell in cells]


def _find_mixed(
    cells: Sequence[tuple[int, Any]], numbers: Sequence[float | None], untyped: bool
) -> list[tuple[int, str]]:
    """(row, what is wrong) for cells that are not numbers among fractions, and for typed numbers among text.

    ``numbers`` are the cells that are numbers in a table that is ``untyped`` or not; text counts as well when
    fractions are told from names.
    """
    values = numbers if untyped else _parse_numbers(cells, untyped=True)
    texts = [each for each, value in zip(cells, values, strict=True) if value is None]
    are_fractions = any(value % 1 for value in values if value is not None and math.isfinite(value))
    typed = [] if untyped else [each for each, value in zip(cells, numbers, strict=True) if value is not None]
    many = len(cells) - len(texts)
    if 0 < len(texts) < many and (are_fractions or typed):
        return [
            (
                row,
                f"expected a number, as {many} rows have, found {cell!r:.80}; correct it, leave the cell "
                "empty and say `missing: drop`, or say `kind: classification`",
            )
            for row, cell in texts
        ]
    return [(row, f"found the number {cell} where other rows have text") for row, cell in typed]


def _choose_labels(
    train: Table, columns: tuple[str, ...], declared: tuple[str, ...], found: Mapping[str, Occurrences]
) -> tuple[str, ...]:
    """The names of several columns, else declared ones, else those that occur in training, integers in their order.

    Missing labels written as text, marks of words that are not scored, and invalid text are not names. All spellings of
    one number are one name.
    """
    if len(columns) > 1:
        return columns
    if declared or columns[0] in train.classes:
        return declared or train.classes[columns[0]]
    names = {
        name
        for name in found
        if not is_nan_text(name) and canonicalise(name) != NOT_SCORED and not SURROGATE.search(name)
    }
    if len({canonicalise(name) for name in names}) < len(names):
        names = {canonicalise(name) for name in names}
    if all(INTEGER.fullmatch(name) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))
