"""Where a task's rows come from, and its tables: files, saved or hub splits, or built-in rows.

Reading is separate from understanding: nothing here knows which column is the label (``schema``).

A table is rows as named columns. Only columns that a study names are read: those of parquet and of datasets become
Python values one by one, when they are first used, and a byte that is not UTF-8 is reported with the cell that holds
it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from auxtune.trials.data import IGNORED, Kind
from auxtune.trials.data.rows import (
    SEPARATORS,
    Row,
    check_file,
    convert_to_python_cells,
    read_parquet_batches,
    read_parquet_shape,
    read_rows,
)
from auxtune.trials.errors import DataError, ErrorCollector, join_names, report_rows, suggest_name
from auxtune.trials.plain_json import parse_json

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

FILES = ("train", "validation", "test")


@dataclass(frozen=True)
class TaskSource:
    """One task of a study, from one of ``path``, ``files``, ``hub`` and ``builtin``; empty fields are guessed."""

    name: str
    path: Path | None = None  # a folder of jsonl with meta.json, a saved ``datasets`` folder, or one file
    files: Mapping[str, Path] = field(default_factory=dict)  # of train, validation and test
    hub: str | None = None  # a dataset's name on the Hugging Face hub
    builtin: str | None = None
    config: str | None = None  # the hub dataset's configuration
    revision: str | None = None  # and its commit, tag or branch
    split: str | None = None  # the hub's split to train on
    text: tuple[str, ...] = ()  # one or two text columns
    label: str | tuple[str, ...] | None = None  # the label column, or a column of 0 and 1 for each of several labels
    tokens: str | None = None  # of a token task, in place of ``text``
    tags: str | None = None  # and of ``label``
    kind: Kind | None = None
    labels: tuple[str, ...] = ()  # in the order of their ids
    metrics: tuple[str, ...] = ()  # the first is the main one
    pair: bool | None = None  # whether an input is two sentences, as meta.json says
    rows: int | None = None  # the most to train on
    splits: Mapping[str, float | int | Path] = field(default_factory=dict)  # by a share in (0, 1), a number, or a file
    missing: Literal["error", "drop"] = "error"  # what happens to rows without text or label


@dataclass(frozen=True)
class Table:
    """Rows as columns of equal length; a cell that a row lacks is ``None``."""

    place: str  # where the rows come from, for messages
    columns: Mapping[str, Sequence[Any]]
    # A column's class names in the order of their ids, if the file declares them; such a column holds names, and
    # ``None`` for an unlabelled row.
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    untyped: bool = False  # all cells are text, as in csv
    rows: int | None = None  # their number, if columns are loaded on demand
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ())) if self.rows is None else self.rows


@dataclass(frozen=True)
class TaskTables:
    """A task's tables, ``train`` and, if the source has them, ``validation`` and ``test``."""

    tables: Mapping[str, Table]
    meta: Mapping[str, Any] = field(default_factory=dict)  # the content of meta.json, if the source has one
    meta_place: str = ""  # its name in messages
    notes: tuple[str, ...] = ()


def read_tables(source: TaskSource) -> TaskTables:
    """Read the tables that ``source`` names. Raises ``DataError`` if one is missing or cannot be read."""
    given = [key for key in ("path", "files", "hub", "builtin") if getattr(source, key)]
    if len(given) != 1:
        raise DataError([f"expected exactly one of path, files, hub and builtin, found {join_names(given)}"])
    if source.builtin is not None:
        return _read_builtin(source.builtin)
    if source.hub is not None:
        return _read_hub(source, source.hub)
    if source.path is None:
        return TaskTables(_read_files(source.files))
    if source.path.is_dir():
        saved = any((source.path / name).is_file() for name in ("dataset_dict.json", "state.json"))
        return _read_saved(source, source.path) if saved else _read_folder(source.path)
    return TaskTables(_read_files({"train": source.path}))


def _read_files(files: Mapping[str, Path]) -> dict[str, Table]:
    errors = ErrorCollector()
    errors.problems += [
        f"files: `{part}` is not one of {join_names(FILES)}{suggest_name(part, FILES)}"
        for part in files
        if part not in FILES
    ]
    if "train" not in files:
        errors.problems.append(f"files: there is no `train` among {join_names(files)}")
    tables = {}
    for part, path in files.items():
        with errors.collect():
            tables[part] = read_table(path)
    errors.raise_any()
    return tables


def _read_folder(folder: Path) -> TaskTables:
    files = {part: folder / f"{part}.jsonl" for part in FILES}
    given = {part: path for part, path in files.items() if path.is_file() or part == "train"}
    errors = ErrorCollector()
    with errors.collect():
        tables = _read_files(given)
    with errors.collect():
        meta = _read_meta(folder / "meta.json")
    errors.raise_any()
    return TaskTables(tables, meta, str(folder / "meta.json"))


def _read_meta(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        example = '{"kind": "classification", "labels": ["no", "yes"], "metric": "accuracy", "pair": false}'
        raise DataError([f"{path}: there is no such file; write {example}, or name the files under `files`"])
    try:
        meta = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError([f"{path}: not JSON: {error}"]) from error
    if not isinstance(meta, dict):
        raise DataError([f"{path}: expected a JSON object, found {type(meta).__name__}"])
    return meta


def _read_saved(source: TaskSource, folder: Path) -> TaskTables:
    import datasets

    try:
        saved = datasets.load_from_disk(str(folder))
    except Exception as error:  # Arrow, JSON and feature errors have no common class
        reason = f"{type(error).__name__}: {error}"
        raise DataError([f"{folder}: not a saved dataset that can be read: {reason}"]) from error
    return _name_splits(source, str(folder), saved)


def _read_hub(source: TaskSource, name: str) -> TaskTables:
    import datasets

    from auxtune.trials.hub import explain_refusal, find_commit, use_cache_if_offline

    place = name if source.config is None else f"{name}/{source.config}"
    use_cache_if_offline(name)
    try:
        loaded = datasets.load_dataset(name, source.config, revision=source.revision)
    except Exception as error:  # network, name and format errors have no common class
        raise DataError([f"{place}: cannot be loaded: {type(error).__name__}: {explain_refusal(error)}"]) from error
    tables = _name_splits(source, place, loaded)
    splits = loaded.values() if isinstance(loaded, dict) else [loaded]
    files = [Path(file["filename"]) for split in splits for file in split.cache_files]
    commit = find_commit(name, source.revision, files)
    return replace(tables, notes=(*tables.notes, f"{place} is of the commit {commit}")) if commit else tables


def _name_splits(source: TaskSource, place: str, loaded: DatasetDict | Dataset) -> TaskTables:
    """The splits named train (or ``source.split``), validation and test; a lone nameless split is train."""
    splits = loaded if isinstance(loaded, dict) else {source.split or "train": loaded}
    train = source.split or "train"
    if train not in splits:
        raise DataError(
            [
                f"{place}: there is no split `{train}` among {join_names(splits)}"
                f"{suggest_name(train, splits)}; name the one to train on as `split`"
            ]
        )
    names = {"train": train} | {part: part for part in FILES[1:] if part in splits and part != train}
    unused = [name for name in splits if name not in names.values()]
    tables = {part: _build_dataset_table(f"{place}, split {name}", splits[name]) for part, name in names.items()}
    return TaskTables(tables, notes=(f"splits not used: {join_names(unused)}",) if unused else ())


def _read_builtin(name: str) -> TaskTables:
    from auxtune.trials.builtin import BUILTIN, describe_builtin, generate_builtin_rows

    if name not in BUILTIN:
        raise DataError(
            [
                f"builtin: there is no built-in task `{name}`{suggest_name(name, BUILTIN)}; "
                f"there are {join_names(BUILTIN)}"
            ]
        )
    rows = generate_builtin_rows(name)
    tables = {part: _build_table(f"builtin {name}, {part}", rows[part]) for part in rows}
    return TaskTables(tables, describe_builtin(name), f"builtin {name}")


def read_table(path: Path) -> Table:
    """The rows of one file, read by its extension. Raises ``DataError`` naming the file and the bad rows."""
    check_file(path)
    ending = path.suffix.lower()
    if ending == ".parquet":
        names, rows = read_parquet_shape(path)

        def load(column: str) -> Sequence[Any]:
            return [cell for (cells,) in read_parquet_batches(path, [column]) for cell in cells]

        return Table(str(path), _LoadedOnDemand(names, load), rows=rows)
    bad: list[tuple[int, str]] = []
    notes: list[str] = []
    table = _build_table(str(path), _take_sound_rows(read_rows(path, "row", notes.append), bad))
    if bad:
        raise DataError(report_rows(str(path), None, bad))
    return replace(table, untyped=ending in SEPARATORS, notes=tuple(notes))


def _take_sound_rows(rows: Iterable[Row], bad: list[tuple[int, str]]) -> Iterator[Mapping[str, Any]]:
    """The cells of rows without a fault; the others' numbers and faults go to ``bad``."""
    for row in rows:
        if row.fault:
            bad.append((row.number, row.fault))
        else:
            yield row.cells


def _build_table(place: str, rows: Iterable[Mapping[str, Any]]) -> Table:
    """Rows as mappings; the columns are all the keys that occur, in the order of first occurrence."""
    columns: dict[str, list[Any]] = {}
    count = 0
    for row in rows:
        for name, cell in row.items():
            column = columns.setdefault(name, [])
            column += [None] * (count - len(column))
            column.append(cell)
        count += 1
    for column in columns.values():
        column += [None] * (count - len(column))
    return Table(place, columns)


def _build_dataset_table(place: str, dataset: Dataset) -> Table:
    """A split of a ``datasets`` dataset. Class ids become names; -1, its mark for unlabelled rows, is ``None``."""
    classes: dict[str, tuple[str, ...]] = {}
    for column, feature in dataset.features.items():
        names = getattr(getattr(feature, "feature", feature), "names", None)
        if names is not None:
            classes[column] = tuple(names)

    def load(column: str) -> Sequence[Any]:
        one = dataset.select_columns([column]).with_format(None)
        cells = convert_to_python_cells(lambda: one[:][column], lambda row: one[row][column], len(one), place, column)
        names = classes.get(column)
        return cells if names is None else [_name_classes(cell, names) for cell in cells]

    return Table(place, _LoadedOnDemand(list(dataset.features), load), classes, rows=len(dataset))


def _name_classes(cell: Any, names: Sequence[str]) -> Any:
    """A class id as its name; ``IGNORED``, the mark of words that are not scored, stays."""
    if isinstance(cell, list):
        return [_name_classes(each, names) for each in cell]
    if cell is None or cell < 0:
        return IGNORED if cell == IGNORED else None
    return names[cell] if cell < len(names) else cell


class _LoadedOnDemand(Mapping[str, Sequence[Any]]):
    """Columns that become Python values when first used. ``load`` raises ``DataError`` for one that cannot be read."""

    def __init__(self, names: Sequence[str], load: Callable[[str], Sequence[Any]]) -> None:
        self._names, self._load = dict.fromkeys(names), load
        self._loaded: dict[str, Sequence[Any]] = {}

    def __getitem__(self, name: str) -> Sequence[Any]:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
