"""Evidence that no study of its storage names any more: left by studies that were deleted, or set aside as damaged."""

from __future__ import annotations

from pathlib import Path

from auxtune.orchestrator.errors import LedgerError
from auxtune.orchestrator.record.events import Told
from auxtune.orchestrator.record.evidence import EvidenceStore
from auxtune.orchestrator.record.heartbeat import living_driver
from auxtune.orchestrator.record.ledger import read_events


def stale_evidence(storage: Path) -> list[Path]:
    """The folders of evidence in ``storage`` that nobody will read.

    None where a study of it is running, for that may have measured what its ledger does not name yet, nor where a
    ledger cannot be read. The weights of a run are named by what was measured of it.
    """
    store, named = EvidenceStore(storage), set()
    for study in (path for path in storage.iterdir() if (path / "ledger").is_dir()):
        if living_driver(study) is not None:
            return []
        try:
            told = [event for event in read_events(study / "ledger") if isinstance(event, Told)]
        except LedgerError:
            return []
        named |= {key for event in told for key in (*event.outcome.evidence.values(), *event.reused)}
    runs = {entry.run for key in named if (entry := store.find(key)) is not None}
    hidden = [path for path in store.root.iterdir() if path.name.startswith(".")] if store.root.is_dir() else []
    return [*sorted(hidden), *(store.root / key for key in store if key not in named | runs)]
