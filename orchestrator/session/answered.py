"""A study's answer read back from its folder, to be compared with others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from auxtune.orchestrator.answer.comparison import Answered
from auxtune.orchestrator.answer.served import served
from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.planning.arms import SELECTION
from auxtune.orchestrator.planning.budget import price_of
from auxtune.orchestrator.planning.confirm import confirmation_of
from auxtune.orchestrator.planning.translate import Translator
from auxtune.orchestrator.record.accounts import read_accounts
from auxtune.orchestrator.study_file.paths import model_options, study_folder
from auxtune.orchestrator.study_file.reading import StudyFile


def answered(study: StudyFile) -> Answered:
    """The study with its answer. Raises ``AuxtuneError`` where it has none yet, ``LedgerError`` as the ledger does."""
    folder, options = study_folder(study), study.options
    accounts = read_accounts(folder)
    last = accounts.sessions[-1].opened
    content = _content(folder)
    selected = accounts.selected
    if content is None or selected is None:
        raise AuxtuneError(f"{folder}: has no answer yet; `auxtune resume {folder}` brings it to one")
    problem = last.problem
    translator = Translator(options, model_options(study), problem)
    confirmation = confirmation_of(options.confirm, problem, translator.execute)
    # What was measured of a task begins with its main metric.
    metrics = {task: next(iter(content["report"][task])) for task in confirmation.serves if task in content["report"]}
    arm = confirmation.arms(selected.selection)[SELECTION]
    return Answered(
        name=options.study,
        folder=folder,
        selector=options.selector.name,
        fingerprint=last.fingerprint,
        content=content,
        accounts=accounts,
        price=price_of(options),
        metrics=metrics,
        models={trainings[0].seed: served(accounts, trainings, metrics) for trainings in arm},
    )


def _content(folder: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads((folder / "selection.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
