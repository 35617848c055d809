"""What a study knows from before: the results and runs that the entries of `earlier` name.

Runs are trainings of mixtures that were made anywhere. Only those count that trained the study's tasks alone: what
another task did in them is not to be had here. They are never results of the study.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from auxtune.orchestrator.errors import StudyDataError
from auxtune.orchestrator.study_file.models import KeyPath
from auxtune.orchestrator.study_file.paths import locate_earlier
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.orchestrator.tables.reading import read_transfers
from auxtune.orchestrator.tables.rows import TableError
from auxtune.orchestrator.tables.runs import Runs, read_runs
from auxtune.selectors.kit.hints import FEWEST_RUNS, are_enough
from auxtune.selectors.protocol import EarlierRuns, Transfer


@dataclass(frozen=True)
class ReadRuns:
    """The runs of one file that count, and what was left out."""

    runs: EarlierRuns
    made: int
    """All runs in the file."""
    unscored: int
    """Runs without a value of the target."""
    foreign: int
    """Runs that trained tasks that the study lacks."""
    unknown: tuple[str, ...]
    """These tasks."""


def read_earlier_results(study: StudyFile) -> tuple[Transfer, ...]:
    """The results in the tables that the study names, except those on its primary; none where it names none.

    Raises ``StudyDataError`` for a table that cannot be used.
    """
    found: list[Transfer] = []
    for number, folder in _list_entries(study, "table"):
        try:
            found += read_transfers(folder).transfers(without=study.options.primary)
        except TableError as error:
            raise _refuse(study, number, "table", error) from error
    return tuple(found)


def read_earlier_runs(study: StudyFile) -> tuple[EarlierRuns, ...]:
    """The runs in the files that the study names, shares in the order of its tasks, higher scores being better.

    Raises ``StudyDataError`` for a file that cannot be used, and for one with too few runs that count.
    """
    return tuple(read.runs for read in _read_all_runs(study))


def describe_runs(study: StudyFile) -> Iterator[str]:
    """A sentence for each file of which runs are left out because of tasks that the study lacks."""
    for read in _read_all_runs(study):
        if read.foreign:
            yield (
                f"earlier: {read.runs.source}: {read.foreign} of {read.made} runs trained tasks that the study lacks "
                f"({', '.join(read.unknown)}) and are left out"
            )


def _read_all_runs(study: StudyFile) -> Iterator[ReadRuns]:
    entries = _list_entries(study, "csv")
    for at, (number, path) in enumerate(entries):
        entry, key = study.options.earlier[number], "csv"
        try:
            runs, key = read_runs(path), "target"
            target, values = runs.read_target(entry.target, "`target: NAME`")
        except TableError as error:
            raise _refuse(study, number, key, error) from error
        before = sum(other.name == path.name for _, other in entries[:at])
        source = f"{path.name} ({before + 1})" if before else path.name
        read = _keep_runs(runs, values if entry.mode == "max" else -values, tuple(study.options.tasks), source)
        if not are_enough(read.runs):
            raise _refuse(study, number, "csv", TableError(_describe_too_few(read, path, target)))
        yield read


def _keep_runs(runs: Runs, scores: np.ndarray, names: Sequence[str], source: str) -> ReadRuns:
    """The runs that have one of the ``scores``, (runs,), and trained no task but ``names``."""
    scored = np.isfinite(scores)
    unknown = [place for place, task in enumerate(runs.tasks) if task not in names]
    foreign = (runs.shares[:, unknown] > 0).any(axis=1)
    shares = np.zeros((len(scores), len(names)))
    for place, task in enumerate(runs.tasks):
        if task in names:
            shares[:, names.index(task)] = runs.shares[:, place]
    kept = scored & ~foreign
    rows = tuple(tuple(row) for row in shares[kept].tolist())
    return ReadRuns(
        EarlierRuns(source, rows, tuple(scores[kept].tolist())),
        len(scores),
        int((~scored).sum()),
        int(foreign.sum()),
        tuple(runs.tasks[place] for place in unknown if (runs.shares[:, place] > 0).any()),
    )


def _describe_too_few(read: ReadRuns, path: Path, target: str) -> str:
    left_out = [f"{read.unscored} have none"] if read.unscored else []
    if read.foreign:
        left_out.append(f"{read.foreign} trained tasks that the study lacks ({', '.join(read.unknown)})")
    why = f"; of {read.made} runs {' and '.join(left_out)}" if left_out else ""
    return (
        f"{path}: expected {FEWEST_RUNS} runs or more of the study's tasks, with values of {target} that differ; found "
        f"{len(read.runs.scores)} runs, {len(set(read.runs.scores))} different values{why}"
    )


def _list_entries(study: StudyFile, kind: Literal["table", "csv"]) -> list[tuple[int, Path]]:
    """The entries of one kind: their number in `earlier`, and their folder or file."""
    places = enumerate(zip(study.options.earlier, locate_earlier(study), strict=True))
    return [(number, path) for number, (entry, path) in places if getattr(entry, kind) is not None]


def _refuse(study: StudyFile, number: int, key: str, error: TableError) -> StudyDataError:
    """What is wrong with an entry, at its line of the study file."""
    place: KeyPath = ("earlier", number, key)
    while place not in study.places and len(place) > 1:  # an entry that is only text has no keys
        place = place[:-1]
    return StudyDataError(study.format_messages({place: str(error).splitlines()}))
