"""Which rows a rule keeps, worked out once per study: ``<study>/rows/<sha256>.npy``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from auxtune.orchestrator.errors import EvidenceError
from auxtune.orchestrator.storage.placing import write_whole
from auxtune.selectors.kit.kept_rows import digest_of, kept_rows
from auxtune.selectors.protocol import Evidence, Kept


def rows_of(kept: Kept, study: Path, evidence: Evidence) -> np.ndarray:
    """The row numbers, ascending, int64: from the study's file of them, or from the evidence that the rule names.

    Raises ``EvidenceError`` where the evidence is gone, or says otherwise than when the rule was proposed.
    """
    path = study / "rows" / f"{kept.sha256}.npy"
    if (known := _read(path)) is not None and digest_of(known) == kept.sha256:
        return known
    rows = kept_rows(kept.rule, evidence)
    if digest_of(rows) != kept.sha256:
        raise EvidenceError(
            f"{path}: the evidence now keeps {len(rows)} rows, and not the {kept.kept} that were proposed; "
            "restore the storage's evidence from a copy"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: np.save(file, rows, allow_pickle=False))
    return rows


def _read(path: Path) -> np.ndarray | None:
    """What the file holds, or ``None`` where it is absent or cannot be read."""
    try:
        with path.open("rb") as file:
            return np.asarray(np.load(file, allow_pickle=False))
    except (OSError, ValueError, EOFError):
        return None
