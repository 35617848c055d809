"""A simulated study with its runs in a real MLflow store."""

from __future__ import annotations

from pathlib import Path

from simulated_study import STUDY, simulated

from auxtune.orchestrator.planning.budget import price_of
from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.study import Study
from auxtune.orchestrator.tracking.tracker import Tracker, mirrored


def mirrored_study(home: Path, text: str = STUDY) -> Path:
    """The folder of a finished study; its runs are where ``tracking`` says, by default in its ``mlflow.db``."""
    study = simulated(home, "{name: random_subset, trials: 4}", text)
    folder = study.finish(study.session())
    file, events = Study.from_folder(folder).file, read_events(folder / "ledger")
    tracker = Tracker(mirrored(file, folder, events, lambda proposal: 60, price_of(file.options)), events)
    tracker.start()
    tracker.finish("FINISHED", [folder / "selection.json"], patience=120)
    assert (tracker.is_alive(), tracker.trouble) == (False, None)
    return folder
