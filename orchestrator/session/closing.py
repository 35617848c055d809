"""How a session ends: what MLflow keeps of it, the last events, and the words for a study that failed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from auxtune.orchestrator.answer.answer import Answer, read_answer
from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.planning.agenda import Agenda
from auxtune.orchestrator.planning.vain import Vain
from auxtune.orchestrator.record.accounts import Trial
from auxtune.orchestrator.record.events import Tracked
from auxtune.orchestrator.record.ledger import Ledger
from auxtune.orchestrator.record.results import attempt_folder
from auxtune.orchestrator.report.blocks import Page
from auxtune.orchestrator.report.figures import FOLDER as FIGURES
from auxtune.orchestrator.report.figures import figures
from auxtune.orchestrator.report.note import note_of
from auxtune.orchestrator.report.study_page import FILE
from auxtune.orchestrator.storage.object_path import ObjectPath
from auxtune.orchestrator.tracking.ending import Ending, Reason
from auxtune.orchestrator.tracking.tracker import Tracker


def ending_of(reason: Reason, folder: Path, answer: Answer | None, page: Page | None) -> Ending:
    """What MLflow keeps of the study, once it has ended for a ``reason``."""
    if answer is None:
        return Ending(reason, files=(folder / "study.yaml",))
    files = [path for name in ("study.yaml", "selection.json", FILE) if (path := folder / name).exists()]
    try:
        drawings = {f"{FIGURES}/{name}": drawing for name, drawing in figures(page).items()} if page else {}
        return Ending(reason, answer, note_of(page, answer, folder), files, drawings)
    except Exception as error:  # an answer must not be lost over what MLflow shows of it
        said = f"{type(error).__name__}: {error}"
        logging.getLogger(__name__).warning("MLflow gets neither note nor figures of the report: %s", said)
        return Ending(reason, answer, note_of(None, answer, folder), files)


def close(
    ledger: Ledger, tracker: Tracker, reason: Reason, ending: Ending, patience: float, message: str | None = None
) -> list[Tracked]:
    """End the mirror and the session, with a ``message`` for whoever looks later.

    Returns the runs that were made last, which are still noted.
    """
    tracker.finish(ending, patience)
    made = tracker.made()
    for event in made:
        ledger.append(event)
    ledger.close(reason, message)
    return made


def failure_of(agenda: Agenda, folder: Path) -> str:
    """Why a study cannot go on, up to what is to be done."""
    trials = agenda.accounts.trials.values()
    part = agenda.vain
    if part is None and not agenda.failing:
        logs = "/tmp/ray" if isinstance(folder, ObjectPath) else folder / "tune"
        return f"Ray ended before the study did (its logs are in {logs}); "
    failed = [trial for trial in trials if trial.status == "failed"]
    last = failed[-1]
    what = f"{len(failed)} of {len(trials)} trials failed, the last ones in a row"
    if part == "search" and not agenda.failing:
        what = f"There is no answer: nothing came of the search, {_each(agenda.accounts.of_selector)} failed"
    elif part == "confirm":
        what = "There is no answer: every training that was to confirm the selection failed"
    return (
        f"{what}. Trial {last.id} said: {last.told.message if last.told else 'nothing'} (log: "
        f"{attempt_folder(folder, last.id, len(last.attempts)) / 'log.txt'}). When it is mended, "
    )


def discard_answer(folder: Path, part: Vain | None) -> None:
    """Delete an answer that a former version took from what failed altogether in ``part``, and its page.

    What an earlier budget had confirmed stays.
    """
    if part is None:
        return
    try:
        answer = read_answer(folder)
    except AuxtuneError:  # of no use to anybody either
        return
    if answer is not None and (part == "search" or not answer.report):
        for name in ("selection.json", FILE):
            (folder / name).unlink(missing_ok=True)


def _each(trials: Sequence[Trial]) -> str:
    return "its one trial" if len(trials) == 1 else f"all of its {len(trials)} trials"
