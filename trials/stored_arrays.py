"""Arrays in a folder that is there whole or not at all, made once and then memory-mapped by every process.

An entry is written beside its place and renamed into it; of several processes that race, the first wins and
the others use its files. A checksum of every file makes a damaged entry known, and it is made anew: nothing
in it is unique.

They are given as plain arrays over the maps. NumPy pickles a ``memmap`` with its bytes inside the pickle, and every
process that reads it makes a copy of its own; the bytes of a plain array go beside the pickle, to be shared.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from auxtune.trials.durable import put_in_place

SUMS = "sha256.json"
ATTEMPTS = 5  # racing processes may each replace a damaged entry once


def stored_arrays(folder: Path, make: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays in ``folder`` by name, read-only and memory-mapped; ``make`` gives them where there are none.

    Raises ``OSError`` where the disk refuses.
    """
    for _ in range(ATTEMPTS):
        arrays = _loaded(folder)
        if arrays is not None:
            return arrays
        _write(folder, make())
    raise OSError(f"{folder}: cannot be read back after {ATTEMPTS} writes; is the disk full or failing?")


def _loaded(folder: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a whole entry, ``None`` if there is none or it is damaged."""
    try:
        sums = json.loads((folder / SUMS).read_text())
        if any(_sum(folder / f"{name}.npy") != expected for name, expected in sums.items()):
            return None
        return {name: _mapped(folder / f"{name}.npy") for name in sums}
    except (FileNotFoundError, NotADirectoryError, ValueError, AttributeError):
        return None


def _mapped(file: Path) -> np.ndarray:
    return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))


def _write(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=".writing-") as scratch:
        entry = Path(scratch, "entry")
        entry.mkdir()
        for name, array in arrays.items():
            np.save(entry / f"{name}.npy", array, allow_pickle=False)
        (entry / SUMS).write_text(json.dumps({name: _sum(entry / f"{name}.npy") for name in arrays}))
        put_in_place(
            entry, folder, lambda: _loaded(folder) is not None, lambda: Path(scratch, f"damaged-{uuid.uuid4().hex}")
        )


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
