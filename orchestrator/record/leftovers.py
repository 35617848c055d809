"""Finds and deletes the parts of a study's folder that no one will read again.

Kept, always: the ledger, the study file, the answer, and of every attempt that counts its result, metrics,
predictions and log, and the weights that later trials start from, also of a study that is extended. A trial without an
outcome keeps all of its attempts: a resume continues from their checkpoints and charges them by their heartbeats.
Evidence that the studies of a storage share stays while any of them names it.
Links are never followed, nor is anything deleted behind one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from auxtune.orchestrator.errors import AuxtuneError, LedgerError
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.record.driver import find_active_driver
from auxtune.orchestrator.record.events import Told
from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.record.results import EvidenceStore, locate_attempt
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import store_of

SCRATCH, CHECKPOINT, SUPERSEDED = "Ray's scratch", "checkpoints", "superseded attempts"
UNNAMED = "stale evidence"
WORDS = ("result.json", "log.txt")  # what people may still ask of an attempt that does not count


@dataclass(frozen=True)
class Leftover:
    """A file or folder to delete: its kind, and the bytes of all files in it."""

    path: StoredPath
    kind: str
    size: int


def list_leftovers(folder: StoredPath, accounts: Accounts) -> list[Leftover]:
    """All that can be deleted of the study in ``folder`` while no driver works on it."""
    folder = folder.resolve()
    found = [(folder / "tune", SCRATCH)]
    for trial in accounts.trials.values():
        found += _list_of_trial(folder, trial)
    found += [(path, UNNAMED) for path in list_stale_evidence(folder.parent)]
    present = [(path, kind) for path, kind in found if path.exists() and not _is_behind_link(path)]
    return [Leftover(path, kind, store_of(path).measure_size(path)) for path, kind in present]


def delete(leftover: Leftover) -> None:
    """Delete it. Raises ``AuxtuneError`` where the file system refuses."""
    try:
        store_of(leftover.path).delete(leftover.path)
    except OSError as error:
        raise AuxtuneError(
            f"{error.filename}: cannot be deleted: {error.strerror}; mend it and clean again, the study is unharmed"
        ) from error


def _list_of_trial(folder: StoredPath, trial: Trial) -> Iterator[tuple[StoredPath, str]]:
    if trial.told is None:
        return
    for attempt in trial.all_attempts:
        if attempt.ended is None:  # it measures again, and continues from its checkpoint
            continue
        home = locate_attempt(folder, trial.id, attempt.number)
        if attempt.number == trial.told.attempt:
            yield home / "checkpoint", CHECKPOINT
        elif home.is_dir():
            yield from ((path, SUPERSEDED) for path in sorted(home.iterdir()) if path.name not in WORDS)


def _is_behind_link(path: StoredPath) -> bool:
    """Whether ``path`` or a folder above it is a link: its target may not belong to the study."""
    return path.resolve() != path


def list_stale_evidence(storage: StoredPath) -> list[StoredPath]:
    """The folders of evidence in ``storage`` that no one will read.

    None while one of its studies is running, which may have measured evidence that its ledger does not name yet, nor
    where a ledger cannot be read. The weights of a run are named by the evidence that was measured on it.
    """
    store, named = EvidenceStore(storage), set()
    for study in (path for path in storage.iterdir() if (path / "ledger").is_dir()):
        if find_active_driver(study) is not None:
            return []
        try:
            told = [event for event in read_events(study / "ledger") if isinstance(event, Told)]
        except LedgerError:
            return []
        named |= {key for event in told for key in (*event.outcome.evidence.values(), *event.reused)}
    runs = {entry.run for key in named if (entry := store.find(key)) is not None}
    hidden = [path for path in store.root.iterdir() if path.name.startswith(".")] if store.root.is_dir() else []
    return [*sorted(hidden), *(store.root / key for key in store if key not in named | runs)]
