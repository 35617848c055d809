"""What earlier studies found, for selectors that learn from it."""

from __future__ import annotations

from auxtune.orchestrator.errors import StudyDataError
from auxtune.orchestrator.simulation.mistakes import TableError
from auxtune.orchestrator.simulation.reading import read_transfers
from auxtune.orchestrator.study_file.paths import earlier_folder
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.selectors.protocol import Transfer


def earlier_results(study: StudyFile) -> tuple[Transfer, ...]:
    """The results in the table that the study names, but those on its primary; none where it names none.

    Raises ``StudyDataError`` for a table that cannot be used.
    """
    folder = earlier_folder(study)
    if folder is None:
        return ()
    try:
        return read_transfers(folder).transfers(without=study.options.primary)
    except TableError as error:
        raise StudyDataError(f"{study.path}: earlier: {error}") from error
