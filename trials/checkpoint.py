"""Checkpoints: one safetensors file that is there whole or not at all, and that shows when it was damaged.

Tensors and a JSON document travel in the same file, the document in its header beside a SHA-256 of both;
nothing stored is ever unpickled. The file is written beside its final name, fsynced and renamed: a full disk
or a kill while writing leaves the previous checkpoint as it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from auxtune.trials.durable import sync

FILE = "checkpoint.safetensors"
FORMAT = 1


class DamagedCheckpointError(ValueError):
    """The folder holds no checkpoint that can be used."""


def write_checkpoint(folder: Path, tensors: Mapping[str, torch.Tensor], document: Any) -> None:
    """Replace the checkpoint in ``folder``. Raises ``OSError`` where the disk refuses; the previous one stays."""
    arrays = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()}
    text = json.dumps({"format": FORMAT, "document": document}, allow_nan=False)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{FILE}.partial"
    try:
        save_file(arrays, partial, metadata={"document": text, "sha256": _hash_files(arrays, text)})
        sync(partial)
        partial.replace(folder / FILE)
        sync(folder)
    except SafetensorError as error:
        raise OSError(f"{partial}: the checkpoint cannot be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def read_checkpoint(folder: Path) -> tuple[dict[str, torch.Tensor], Any]:
    """The tensors, on the host, and the document. Raises ``DamagedCheckpointError``."""
    path = folder / FILE
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        text = header["document"]
        intact = header["sha256"] == _hash_files(arrays, text)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise DamagedCheckpointError(f"{path}: no whole checkpoint: {error}; start the run again") from error
    if not intact:
        raise DamagedCheckpointError(f"{path}: its content does not match its SHA-256; start the run again")
    content = json.loads(text)
    if content["format"] != FORMAT:
        raise DamagedCheckpointError(
            f"{path}: expected format {FORMAT}, found {content['format']}; use the version that wrote it"
        )
    # Copies, so that the tensors lie in torch's own aligned memory as those did that were saved.
    return {name: torch.tensor(array) for name, array in arrays.items()}, content["document"]


def is_usable(folder: Path) -> bool:
    """Whether ``folder`` holds a whole checkpoint; reads all of it."""
    try:
        read_checkpoint(folder)
    except DamagedCheckpointError:
        return False
    return True


def _hash_files(arrays: Mapping[str, np.ndarray], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()
