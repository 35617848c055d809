"""Checkpoints: one safetensors file that is either complete or absent, and that shows when it was damaged.

Tensors and a JSON document travel in the same file, the document in its header beside a SHA-256 of both; nothing stored
is ever unpickled. The file is written beside its final name, fsynced and renamed: a full disk or a kill while writing
leaves the previous checkpoint as it was.

The weights that one run leaves and another starts from (``save_weights``, ``load_weights``) are such a file too: the
encoder, and each task's own weights under the task's name, that is its head and, if it is aligned, its matrix. A run
trains those of its own tasks only. It passes on untouched what it loaded for other tasks, so that a chain of runs keeps
everything that any of them trained.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from auxtune.trials.durable import sync

if TYPE_CHECKING:
    from auxtune.trials.model import MultiTaskModel

FILE = "checkpoint.safetensors"
FORMAT = 1
_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")  # so Rust ends its message on one


class DamagedCheckpointError(ValueError):
    """The folder holds no checkpoint that can be used."""


def write_checkpoint(folder: Path, tensors: Mapping[str, torch.Tensor], document: Any) -> None:
    """Replace the checkpoint in ``folder``. Raises ``OSError`` if it cannot be written; the previous one then stays."""
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
        if (refused := _SYSTEM_ERROR.search(str(error))) is not None:  # it has none of Python's own
            raise OSError(int(refused[1]), os.strerror(int(refused[1])), str(folder / FILE)) from error
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
    # Copies, so that the tensors lie in torch's own aligned memory, as the saved ones did.
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


def save_weights(folder: Path, model: MultiTaskModel, inherited: Mapping[str, torch.Tensor]) -> None:
    """Write the weights of ``model`` into ``folder``, with those ``inherited`` for tasks that it does not train.

    Raises ``OSError`` if they cannot be written.
    """
    state = model.state_dict()
    own = {stored: state[name] for name, stored in model.stored_names().items()}
    write_checkpoint(folder, {**inherited, **own}, {"tasks": list(model.tasks)})


def load_weights(model: MultiTaskModel, folder: Path) -> dict[str, torch.Tensor]:
    """Load the weights in ``folder`` into ``model`` and return all of them, by stored name.

    Raises ``ValueError`` if there are no usable weights, or if they are of another encoder.
    """
    try:
        stored, _ = read_checkpoint(folder)
    except DamagedCheckpointError as error:
        raise ValueError(f"{folder}: the weights to start from cannot be used: {error}") from error
    state = model.state_dict()
    known = {name: stored[kept] for name, kept in model.stored_names().items() if kept in stored}
    encoder = [name for name in state if name.startswith("encoder.")]
    misfit = [name for name in (*encoder, *known) if name not in known or known[name].shape != state[name].shape]
    if misfit:
        raise ValueError(f"{folder}: weights of another model, they differ in {misfit[0]}; start from the encoder")
    model.load_state_dict(known, strict=False)
    return stored
