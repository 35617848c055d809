"""Opens a study's ledger for a session: is this still the study it was begun with?"""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from auxtune.orchestrator.errors import DriftError
from auxtune.orchestrator.planning.selector import selector_of
from auxtune.orchestrator.planning.translate import search_score_of
from auxtune.orchestrator.record.events import Event, Opened
from auxtune.orchestrator.record.ledger import Ledger, read_events
from auxtune.orchestrator.session.prepare import Prepared
from auxtune.selectors.extensions import version_of

_PACKAGES = ("auxtune", "ray", "torch", "transformers", "mlflow", "numpy")


def open_ledger(folder: Path, prepared: Prepared, session: str, allow_drift: bool) -> Ledger:
    """Begin ``session`` in the study's ``folder``.

    Raises ``DriftError`` where tasks, model, recipe, selector or code differ from the last session's and that was
    not allowed; ``Locked`` and ``LedgerDamaged`` as the ledger does.
    """
    drift = drift_of(read_events(folder / "ledger"), prepared.fingerprint)
    if drift and not allow_drift:
        raise DriftError(
            f"{folder}: these differ from what the study was begun with: {', '.join(drift)}. Give the changed study "
            "another name, or go on all the same with --allow-drift; finished trials stay as they are"
        )
    study = prepared.study
    opened = Opened(
        session=session,
        time=time.time(),
        study=study.text,
        overrides=study.overrides,
        study_folder=str(study.folder),
        working_folder=str(study.working_folder),
        problem=prepared.problem,
        fingerprint=prepared.fingerprint,
        versions={"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        drift=drift,
        search_score=search_score_of(study.options),
        splits=prepared.origins,
        selector_version=version_of(selector_of(study.options)),
    )
    return Ledger(folder / "ledger", opened)


def drift_of(events: list[Event], now: Mapping[str, str]) -> tuple[str, ...]:
    """The keys whose digests differ from the last session's."""
    before = next((event.fingerprint for event in reversed(events) if isinstance(event, Opened)), now)
    keys = sorted(before.keys() | now.keys())
    return tuple(key for key in keys if before.get(key) != now.get(key))
