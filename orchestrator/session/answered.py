"""A study's answer read back from its folder, to be compared with others."""

from __future__ import annotations

from auxtune.orchestrator.answer.comparison import AnsweredStudy
from auxtune.orchestrator.answer.serving import assign_tasks
from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.planning.arms import SELECTION
from auxtune.orchestrator.planning.budget import price_of
from auxtune.orchestrator.report.material import read_material
from auxtune.orchestrator.storage.stores import quote_path
from auxtune.orchestrator.study_file.paths import locate_study
from auxtune.orchestrator.study_file.reading import StudyFile


def read_answered(study: StudyFile) -> AnsweredStudy:
    """Read the study with its answer.

    Raises ``AuxtuneError`` where it has none yet or ``selection.json`` cannot be read, ``LedgerError`` as the ledger
    does.
    """
    folder, options = locate_study(study), study.options
    material = read_material(folder, study)
    accounts, answer, selected = material.accounts, material.answer, material.accounts.selected
    if answer is None or selected is None:
        raise AuxtuneError(f"{folder}: has no answer yet; `auxtune resume {quote_path(folder)}` finishes it")
    known = answer.main_metrics
    metrics = {task: known[task] for task in material.confirmation.serves if task in known}
    arm = material.confirmation.arms(selected.selection)[SELECTION]
    return AnsweredStudy(
        name=options.study,
        folder=folder,
        selector=options.selector.name,
        fingerprint=accounts.sessions[-1].opened.fingerprint,
        answer=answer,
        accounts=accounts,
        price=price_of(options),
        metrics=metrics,
        models={trainings[0].seed: assign_tasks(accounts, trainings, metrics) for trainings in arm},
    )
