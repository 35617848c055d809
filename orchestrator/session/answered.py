"""A study's answer read back from its folder, to be compared with others."""

from __future__ import annotations

from auxtune.orchestrator.answer.comparison import Answered
from auxtune.orchestrator.answer.served import served
from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.planning.arms import SELECTION
from auxtune.orchestrator.planning.budget import price_of
from auxtune.orchestrator.report.material import read_material
from auxtune.orchestrator.study_file.paths import study_folder
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.orchestrator.typed import typed


def answered(study: StudyFile) -> Answered:
    """The study with its answer.

    Raises ``AuxtuneError`` where it has none yet or ``selection.json`` cannot be read, ``LedgerError`` as the ledger
    does.
    """
    folder, options = study_folder(study), study.options
    material = read_material(folder, study)
    accounts, content, selected = material.accounts, material.selection, material.accounts.selected
    if content is None or selected is None:
        raise AuxtuneError(f"{folder}: has no answer yet; `auxtune resume {typed(folder)}` brings it to one")
    # What was measured of a task begins with its main metric.
    report = content["report"]
    metrics = {task: next(iter(report[task])) for task in material.confirmation.serves if task in report}
    arm = material.confirmation.arms(selected.selection)[SELECTION]
    return Answered(
        name=options.study,
        folder=folder,
        selector=options.selector.name,
        fingerprint=accounts.sessions[-1].opened.fingerprint,
        content=content,
        accounts=accounts,
        price=price_of(options),
        metrics=metrics,
        models={trainings[0].seed: served(accounts, trainings, metrics) for trainings in arm},
    )
