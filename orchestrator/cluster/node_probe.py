"""Asks a node of a cluster about itself. Runs on the node, where auxtune may be missing: it is sent there by value.

So this file imports nothing but Python's own modules at its top, and its functions return plain values.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

_USABLE = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"


def look(packages: list[str], gpus: bool) -> dict[str, Any]:
    """Versions (``None``: not installed), free bytes of Ray's scratch, and with ``gpus`` how many torch can use."""
    versions: dict[str, str | None] = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    scratch = shutil.disk_usage(os.environ.get("RAY_TMPDIR", "/tmp"))
    return {
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "versions": versions,
        "scratch": {"free": scratch.free, "total": scratch.total},
        "gpus": _count_usable_gpus() if gpus else None,
    }


def write(storage: str, name: str) -> dict[str, Any]:
    """Leave the file ``name`` in the storage, and say what room there is in a folder; or what forbids it."""
    if "://" in storage:
        return _put_twice(storage, name)
    folder = _find_folder(storage)
    try:
        (folder / name).write_text(name, encoding="utf-8")
        usage = shutil.disk_usage(folder)
    except OSError as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"error": None, "free": usage.free, "total": usage.total}


def read(storage: str, names: list[str]) -> list[str]:
    """Which of the files are there, each asked for by its name: a listing may be an old one on a network's disk."""
    if "://" in storage:
        store = _open_store(storage)
        return [name for name in names if store.exists(f"{storage}/{name}")]
    return [name for name in names if (_find_folder(storage) / name).exists()]


def remove(storage: str, name: str) -> None:
    """Take the file away again, if it is there."""
    if "://" in storage:
        with suppress(Exception):  # a store's client may raise anything
            _open_store(storage).rm_file(f"{storage}/{name}")
        return
    with suppress(OSError):  # a file that could not be written cannot be removed
        (_find_folder(storage) / name).unlink(missing_ok=True)


def _find_folder(storage: str) -> Path:
    """The storage folder or, before the first study, the folder that it will be in. Asking creates no folder."""
    folder = Path(storage)
    return folder if folder.exists() else folder.parent


def _put_twice(storage: str, name: str) -> dict[str, Any]:
    """Create the object twice: the second time the store must refuse, because that keeps two drivers apart."""
    place, content = f"{storage}/{name}", name.encode()
    try:
        store = _open_store(storage)
        store.pipe_file(place, content, mode="create")
    except Exception as error:  # each store's client has kinds of errors of its own
        return {"error": f"{type(error).__name__}: {error}"}
    with suppress(Exception):
        store.pipe_file(place, content, mode="create")
        return {
            "error": "it does not refuse to create an object that is there, so nothing would keep two drivers of "
            "one study apart"
        }
    return {"error": None}


def _open_store(storage: str) -> Any:
    """The object store, by the credentials and endpoint in this node's environment."""
    import fsspec

    return fsspec.filesystem(storage.partition("://")[0], use_listings_cache=False, skip_instance_cache=True)


def reach(uri: str, seconds: float) -> str | None:
    """Why the MLflow server at ``uri`` does not answer, or ``None``."""
    address = f"{uri.rstrip('/')}/version"
    try:
        with urllib.request.urlopen(address, timeout=seconds) as answer:
            text = answer.read(100).decode("utf-8", "replace").strip()
    except urllib.error.HTTPError as error:
        return f"{address} answers {error.code} {error.reason}: {error.read(100).decode('utf-8', 'replace').strip()}"
    except (OSError, ValueError) as error:
        return f"{address}: {getattr(error, 'reason', error)}"
    return None if text[:1].isdigit() else f"{address} is no MLflow server; it answers {text[:40]!r}"


def _count_usable_gpus() -> int:
    """In a process of its own: Ray hides the GPUs from a task that asked for none, and torch looks only once."""
    seen = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
    try:
        told = subprocess.run(
            [sys.executable, "-c", _USABLE], env=seen, capture_output=True, text=True, timeout=60, check=True
        )
        return int(told.stdout.split()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return 0
