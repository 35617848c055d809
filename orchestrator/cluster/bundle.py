"""Packs a study for a cluster: its file as written, and the local files that it names.

A bundle is a folder: ``study.yaml``, copies of task files, of earlier results and runs and of the encoder, and
``bundle.json`` with the overrides that name the copies, the versions here, and a digest of it all. Files too large to
send belong on a disk that all nodes share; with ``ship=False`` all paths are those of the cluster.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from auxtune.orchestrator.errors import StudyDataError
from auxtune.orchestrator.study_file.paths import locate_earlier
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.trials.recipe import is_packaged

MOST = 90 * 2**20  # bytes; Ray's own limit for a job's files is 100 MiB
MANIFEST = "bundle.json"


@dataclass(frozen=True)
class Bundle:
    """A packed bundle: its folder, and a digest that is equal for the same study, files and overrides."""

    folder: Path
    digest: str
    size: int  # bytes of the files that are sent


def read_versions() -> dict[str, str]:
    """The versions that must be the same on this machine and on the cluster."""
    return {
        "auxtune": version("auxtune"),
        "ray": version("ray"),
        "python": ".".join(platform.python_version_tuple()[:2]),
    }


def pack(study: StudyFile, folder: Path, ship: bool = True) -> Bundle:
    """Put ``study`` into the empty ``folder``.

    Raises ``StudyDataError`` for files that are not there and for more than can be sent.
    """
    files = list(_list_local_files(study)) if ship else []
    sizes = {key: _measure_size(path) for key, path, _ in files}
    if sum(sizes.values()) > MOST:
        largest = max(sizes, key=lambda key: sizes[key])
        raise StudyDataError(
            f"{study.path}: at most {MOST // 2**20} MiB can be sent with a study, and its files come to "
            f"{sum(sizes.values()) / 2**20:.0f} MiB, the most of it {largest}; put them where all nodes see them, name "
            "them by their path there, and submit with --no-ship"
        )
    overrides = list(study.overrides)
    for key, path, home in files:
        (folder / home).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if path.is_dir() else shutil.copy2)(path, folder / home)
        if not key.startswith("earlier."):  # no override reaches into a list
            overrides.append(f"{key}={json.dumps(home)}")
    if earlier := [home for key, _, home in files if key.startswith("earlier.")]:
        overrides.append(f"earlier={json.dumps(_rename_earlier(study, earlier))}")
    (folder / "study.yaml").write_text(study.text, encoding="utf-8")
    manifest: dict[str, Any] = {"study": study.options.study, "overrides": overrides, "versions": read_versions()}
    digest = _digest_bundle(folder, manifest)
    (folder / MANIFEST).write_text(json.dumps({**manifest, "digest": digest}, indent=1), encoding="utf-8")
    return Bundle(folder, digest, sum(sizes.values()))


def _list_local_files(study: StudyFile) -> Iterator[tuple[str, Path, str]]:
    """The key of the study file, where the file or folder is, and where in the bundle it goes."""
    options = study.options
    for name, task in options.tasks.items():
        parts = task.splits.model_dump(exclude_none=True).items()
        named = {
            "path": task.path,
            **{f"files.{part}": path for part, path in (task.files.model_dump() if task.files else {}).items()},
            **{f"splits.{part}": path for part, path in parts if isinstance(path, str)},
        }
        for key, text in named.items():
            if text is not None:
                path = _find_file(study, f"tasks.{name}.{key}", text)
                yield f"tasks.{name}.{key}", path, f"files/{name}/{key}/{path.name}"
    for number, path in enumerate(locate_earlier(study)):
        key = f"earlier.{number}"
        yield key, _find_file(study, key, str(path)), f"files/earlier/{number}/{path.name}"
    encoder = (study.folder / Path(options.model.name).expanduser()).resolve()
    if options.model.name != "tiny" and not is_packaged(options.model.name) and encoder.is_dir():
        yield "model.name", encoder, "files/encoder"


def _rename_earlier(study: StudyFile, homes: Sequence[str]) -> list[dict[str, str]]:
    """The entries of `earlier`, each with the place of its copy."""
    entries = [entry.model_dump(exclude_defaults=True) for entry in study.options.earlier]
    return [{**entry, "csv" if "csv" in entry else "table": home} for entry, home in zip(entries, homes, strict=True)]


def _find_file(study: StudyFile, key: str, text: str) -> Path:
    path = (study.folder / Path(text).expanduser()).resolve()
    if not path.exists():
        raise StudyDataError(
            f"{study.path}: {key}: expected a file or folder, found nothing at {path}; if it is there on the cluster, "
            "submit with --no-ship"
        )
    return path


def _measure_size(path: Path) -> int:
    every = path.rglob("*") if path.is_dir() else [path]
    return sum(each.stat().st_size for each in every if each.is_file())


def _digest_bundle(folder: Path, manifest: dict[str, Any]) -> str:
    """The digest of the manifest and of every file's place and content."""
    found = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode())
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
        found.update(path.read_bytes())
    return found.hexdigest()[:16]
