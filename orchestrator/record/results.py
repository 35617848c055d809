"""What attempts leave in a storage: a folder each in their study, and evidence that all studies share.

An attempt's folder holds its durable ``result.json``, its checkpoint and weights, and its heartbeat. A result is on
disk before anyone is told of it, so an attempt that finished but was never reported is known by its file.

Evidence is kept once, as ``<storage>/.evidence/<key>/``. A key names a measurement so exactly that a cached one equals
one made again.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import uuid
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from auxtune.orchestrator.errors import EvidenceError, StorageError
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import is_local, store_of
from auxtune.selectors.kit.kept_rows import digest_rows, find_kept_rows
from auxtune.selectors.protocol import Evidence, Kept
from auxtune.trials.durable import write_durably
from auxtune.trials.plain_json import parse_json
from auxtune.trials.result import Cost, Result

EVIDENCE = ".evidence"
WEIGHTS = "weights"  # the ``probe`` of an entry without arrays
_REMEDY = "a study that needs it measures it again when it is resumed"
_TAIL = 1 << 16  # bytes: many times an evaluation's line
_result = TypeAdapter(Result)


class DamagedResultError(ValueError):
    """There is a ``result.json``, but it was not written by a worker, or was changed."""


@dataclass(frozen=True)
class Refusal:
    """An attempt that gave up because it could not write: ``message`` says where and why.

    ``seconds`` are those since it began.
    """

    message: str
    seconds: float


def locate_attempt(study: StoredPath, trial: int, attempt: int) -> StoredPath:
    """``<study>/trials/<id>/<attempt>``: result, metrics, predictions, log and checkpoint of one attempt."""
    return study / "trials" / f"{trial:04d}" / str(attempt)


def locate_weights(study: StoredPath, trial: int, attempt: int) -> StoredPath:
    """Where an attempt leaves the weights that other trials continue."""
    return locate_attempt(study, trial, attempt) / "weights"


def write_result(folder: StoredPath, result: Result) -> None:
    """Make ``result`` durable as ``folder/result.json``, whole or not at all."""
    store_of(folder).replace(folder / "result.json", lambda file: file.write(_result.dump_json(result, indent=1)))


def read_result(folder: StoredPath) -> Result | None:
    """The result of an attempt, or ``None`` where it never gave one. Raises ``DamagedResultError``."""
    path = folder / "result.json"
    try:
        return _result.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise DamagedResultError(f"{path}: not a readable result: {error.error_count()} mistakes") from error


def touch_heartbeat(folder: StoredPath, seconds: float | None = None) -> None:
    """Leave a sign of life: the process's id, and the ``seconds`` since the attempt began, if they are known.

    An attempt without a result is charged up to the last sign.
    """
    (folder / "alive").write_text(f"{os.getpid()}\n" if seconds is None else f"{os.getpid()} {seconds:.3f}\n")


def read_steps_done(folder: StoredPath) -> int | None:
    """The optimisation steps that an attempt had done by its last evaluation; ``None`` before the first.

    ``None`` in an object store too, where each look would be a request.
    """
    if not is_local(folder):
        return None
    try:
        with (folder / "metrics.jsonl").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            *_, last, _ = (b"\n" + file.read()).split(b"\n")  # text after the last newline is not whole yet
            return int(parse_json(last)["step"])
    except (OSError, ValueError, KeyError):  # not begun, or a line longer than the tail
        return None


def charge_lost_attempt(folder: StoredPath, started: float, cpus: float, gpus: float) -> Cost:
    """The cost of an attempt without a result, from its beginning to its last sign of life.

    Of an attempt by an earlier version the sign does not say how long that was; it is then the time since ``started``
    (seconds since the epoch), as far as the system's clock was not set meanwhile.
    """
    wall = _read_seconds_alive(folder)
    if wall is None:
        signs = [path.stat().st_mtime for path in (folder / "alive", folder / "metrics.jsonl") if path.exists()]
        wall = max(0.0, max(signs, default=started) - started)
    return Cost(wall_seconds=wall, gpu_seconds=gpus * wall, cpu_seconds=cpus * wall)


def _read_seconds_alive(folder: StoredPath) -> float | None:
    """The age of an attempt at its last sign of life; ``None`` where that does not say it."""
    try:
        seconds = float((folder / "alive").read_text(encoding="utf-8").split()[1])
    except StorageError:
        raise
    except (OSError, ValueError, IndexError):
        return None
    return seconds if 0.0 <= seconds < math.inf else None


def has_checkpoint(folder: StoredPath) -> bool:
    """Whether ``folder`` holds a whole checkpoint.

    A local one is read. An object is there whole or not at all, and its store keeps it from damage; should it be
    unusable all the same, loading it fails with a message.
    """
    from auxtune.trials.checkpoint import FILE, is_usable  # it loads torch, which not every caller needs

    return is_usable(folder) if is_local(folder) else (folder / FILE).is_file()


def start_of(folder: StoredPath, accounts: Accounts, trial: Trial) -> StoredPath | None:
    """The weights of another trial that ``trial`` begins with, if it continues one.

    ``folder`` is the study's.
    """
    continued = trial.proposal.continuation
    if continued is None or continued.start is None:
        return None
    former = accounts.of_selector[continued.start]
    return locate_weights(folder, former.id, len(former.attempts))


def delete_useless_weights(
    folder: StoredPath,
    accounts: Accounts,
    held: Collection[int],
    without: set[tuple[int, int]],
    flush: Callable[[], None],
) -> None:
    """Delete the weights of ended trials, but for those of the attempts that count of the trials in ``held``.

    ``without`` are the attempts, by trial and number, that have no weights any more. It grows, so that a long study
    does not look for each of its former attempts again after every trial. ``flush`` is called before a deletion.
    """
    for trial in accounts.trials.values():
        if trial.proposal.continuation is None or trial.told is None:
            continue
        for attempt in trial.attempts:
            is_held = trial.id in held and attempt.number == trial.told.attempt
            if is_held or (trial.id, attempt.number) in without:
                continue
            path = locate_weights(folder, trial.id, attempt.number)
            with suppress(OSError):  # then another time
                if path.exists():
                    flush()
                    store_of(path).delete(path)
                without.add((trial.id, attempt.number))


@dataclass(frozen=True)
class Entry:
    """The description of a piece of evidence, without its arrays.

    ``probe`` is what measured it, or ``weights`` for the run that it was measured on, whose key is ``run``. ``score``
    and ``metrics`` are that run's, on the validation split. ``cost`` is that of measuring or, for a run and for a probe
    that observed its training, that of the training. A run of one task also keeps its final weights.
    """

    probe: str
    run: str
    tasks: tuple[str, ...]
    study: str  # that made it: its name, and the key of its first session
    trial: int
    cost: Cost
    score: float | None
    metrics: Mapping[str, Mapping[str, float]]
    options: Mapping[str, Any] = field(default_factory=dict)
    sha256: str | None = None  # of arrays.npz
    format: Literal[1] = 1  # any other is not read


_entry = TypeAdapter(Entry)


class EvidenceStore:
    """The evidence of one storage.

    An entry is made in a folder of its own and published at once (``Store.publish``), which fails where the key exists:
    the second process discards its copy. Arrays and weights carry a SHA-256; an entry that does not match it, or cannot
    be read, counts as absent, and is set aside once it has been made again.
    """

    def __init__(self, storage: StoredPath) -> None:
        self.root = storage / EVIDENCE
        self._store = store_of(storage)

    def find(self, key: str) -> Entry | None:
        """The entry under ``key``, its arrays checked; ``None`` where there is no usable one.

        Raises ``StorageError``.
        """
        if (found := self._look_up(key)) is None:
            return None
        folder, entry = found
        try:
            if entry.sha256 is not None:
                _read_arrays(folder, entry.sha256)
        except EvidenceError:
            return None
        return entry

    def describe(self, key: str) -> Entry | None:
        """Likewise, without a look at the arrays."""
        found = self._look_up(key)
        return None if found is None else found[1]

    def _look_up(self, key: str) -> tuple[StoredPath, Entry] | None:
        """The folder under ``key`` and its description, if there is a readable one. Raises ``StorageError``."""
        try:
            if (folder := self._store.find_published(self.root / key)) is None:
                return None
            return folder, _entry.validate_json((folder / "evidence.json").read_bytes())
        except StorageError:  # unreachable is not absent
            raise
        except (OSError, ValidationError):
            return None

    def arrays(self, key: str) -> Mapping[str, np.ndarray]:
        """The arrays under ``key``. Raises ``EvidenceError`` where they are gone or damaged."""
        folder = self._store.find_published(self.root / key) or self.root / key
        try:
            entry = _entry.validate_json((folder / "evidence.json").read_bytes())
        except StorageError:
            raise
        except (OSError, ValidationError) as error:
            raise EvidenceError(f"{folder}: evidence of this study cannot be read: {error}; {_REMEDY}") from error
        return _read_arrays(folder, str(entry.sha256))

    def weights(self, run: str) -> StoredPath | None:
        """The folder of a run's final weights, if they are kept and whole."""
        folder = (self._store.find_published(self.root / run) or self.root / run) / WEIGHTS
        return folder if self.find(run) is not None and has_checkpoint(folder) else None

    def create(
        self,
        key: str,
        entry: Entry,
        arrays: Mapping[str, np.ndarray] | None,
        leave: Callable[[Path], None] | None = None,
    ) -> bool:
        """Keep ``entry`` with its ``arrays``, or with the weights that ``leave`` writes; ``False`` if it was there.

        Raises ``OSError`` where the disk refuses; nothing is then left of it.
        """
        with self._store.open_draft(self.root, f".{key}.{uuid.uuid4().hex}") as draft:
            if arrays is not None:
                packed = io.BytesIO()
                np.savez(packed, allow_pickle=False, **arrays)
                entry = replace(entry, sha256=hashlib.sha256(packed.getbuffer()).hexdigest())
                write_durably(draft / "arrays.npz", lambda file: file.write(packed.getbuffer()))
            if leave is not None:
                leave(draft / WEIGHTS)
            write_durably(draft / "evidence.json", lambda file: file.write(_entry.dump_json(entry, indent=1)))
            return self._publish(draft, key)

    def __iter__(self) -> Iterator[str]:
        """All keys, also those of unusable entries."""
        if self.root.is_dir():
            yield from sorted(path.name for path in self.root.iterdir() if not path.name.startswith("."))

    def _publish(self, draft: Path, key: str) -> bool:
        look: Callable[[str], object] = self.weights if (draft / WEIGHTS).is_dir() else self.find
        return self._store.publish(
            draft,
            self.root / key,
            is_usable=lambda: look(key) is not None,
            quarantine_path=lambda: self.root / f".damaged.{key}.{uuid.uuid4().hex}",
        )


class StoredEvidence(Mapping[str, Mapping[str, np.ndarray]]):
    """Evidence as a selector sees it: key -> arrays, read on access. Raises ``EvidenceError`` where they cannot be."""

    def __init__(self, store: EvidenceStore) -> None:
        self._store = store
        self._read = lru_cache(maxsize=64)(store.arrays)  # a selector looks again at every question

    def __getitem__(self, key: str) -> Mapping[str, np.ndarray]:
        return self._read(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._store)

    def __len__(self) -> int:
        return sum(1 for _ in self._store)

    def is_usable(self, key: str) -> bool:
        """Whether the arrays under ``key`` can be read from where they are stored."""
        return self._store.find(key) is not None

    def read_digest(self, key: str) -> str | None:
        """The SHA-256 of the arrays under ``key`` as they were stored; ``None`` where nothing says it."""
        entry = self._store.describe(key)
        return None if entry is None else entry.sha256

    def check_digest(self, key: str) -> str | None:
        """The same of arrays that are still as they were stored; ``None`` for others."""
        entry = self._store.find(key)
        return None if entry is None else entry.sha256

    def forget(self) -> None:
        """Read arrays again at their next use: some were measured again."""
        self._read.cache_clear()


def _read_arrays(folder: StoredPath, sha256: str) -> Mapping[str, np.ndarray]:
    """The arrays of a folder. Raises ``EvidenceError`` where they are not what they were."""
    path = folder / "arrays.npz"
    try:
        content = path.read_bytes()
    except StorageError:
        raise
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error}; {_REMEDY}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise EvidenceError(f"{path}: its content does not match its SHA-256; {_REMEDY}")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays}
    except (OSError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:  # of what is no archive
        raise EvidenceError(f"{path}: holds no arrays: {error}; {_REMEDY}") from error


def read_kept_rows(kept: Kept, study: StoredPath, evidence: Evidence) -> np.ndarray:
    """The row numbers, ascending, int64: from the study's file of them, or from the evidence that the rule names.

    Raises ``EvidenceError`` where the evidence is gone, or says otherwise than when the rule was proposed.
    """
    path = study / "rows" / f"{kept.sha256}.npy"
    if (known := _read_rows(path)) is not None and digest_rows(known) == kept.sha256:
        return known
    rows = find_kept_rows(kept.rule, evidence)
    if digest_rows(rows) != kept.sha256:
        raise EvidenceError(
            f"{path}: the evidence now keeps {len(rows)} rows, and not the {kept.kept} that were proposed; "
            "restore the storage's evidence from a copy"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    store_of(path).replace(path, lambda file: np.save(file, rows, allow_pickle=False))
    return rows


def _read_rows(path: StoredPath) -> np.ndarray | None:
    """The rows in the file, or ``None`` where it is absent or cannot be read."""
    try:
        with path.open("rb") as file:
            return np.asarray(np.load(file, allow_pickle=False))
    except (OSError, ValueError, EOFError):
        return None
