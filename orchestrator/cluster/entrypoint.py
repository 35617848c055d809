"""The entrypoint of Ray jobs on the head of a cluster: a submitted study, or any command.

    python -m auxtune.orchestrator.cluster.entrypoint bundle           the study in the job's folder
    python -m auxtune.orchestrator.cluster.entrypoint status studies/x

Both work in ``$AUXTUNE_HOME``, ``~/auxtune`` unless set, so that relative storage and tracking are found again by the
next job. A bundle is unpacked there first, since a job's own folder goes away with it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from auxtune.orchestrator.cli import main as auxtune
from auxtune.orchestrator.cluster.bundle import MANIFEST, read_versions
from auxtune.orchestrator.errors import AuxtuneError

BEGIN = "--- auxtune ---"  # what Ray says of a job comes before this line


def main(arguments: Sequence[str]) -> None:
    """Run the bundle in the working directory, or a command. Ends the process with the command's exit code."""
    home = Path(os.environ.get("AUXTUNE_HOME") or "~/auxtune").expanduser()
    home.mkdir(parents=True, exist_ok=True)
    print(BEGIN, flush=True)
    if list(arguments) == ["bundle"]:
        try:
            arguments = _unpack_bundle(Path.cwd(), home)
        except AuxtuneError as error:
            print(error, file=sys.stderr)
            sys.exit(error.exit_code)
    os.chdir(home)
    auxtune(list(arguments))


def _unpack_bundle(job: Path, home: Path) -> list[str]:
    """The command that runs the bundle in ``job``, which is kept in ``home``.

    Raises ``AuxtuneError`` for other versions than those it was packed with.
    """
    manifest: dict[str, Any] = json.loads((job / MANIFEST).read_text(encoding="utf-8"))
    here, differ = read_versions(), []
    for name, there in manifest["versions"].items():
        if here[name] != there:
            differ.append(f"{name} is {here[name]} here and {there} where the study was submitted")
    if differ:
        raise AuxtuneError(f"the cluster must have the submitter's versions: {'; '.join(differ)}; install the same")
    kept = home / "submitted" / manifest["study"]
    if not _has_digest(kept, manifest["digest"]):
        fresh = kept.with_name(f".{kept.name}.{uuid.uuid4().hex[:8]}")
        shutil.copytree(job, fresh)
        shutil.rmtree(kept, ignore_errors=True)
        fresh.rename(kept)
    overrides = [part for override in manifest["overrides"] for part in ("--set", override)]
    return ["run", str(kept / "study.yaml"), *overrides, "--address", "auto"]


def _has_digest(kept: Path, digest: str) -> bool:
    try:
        return bool(json.loads((kept / MANIFEST).read_text(encoding="utf-8"))["digest"] == digest)
    except (OSError, ValueError, KeyError):
        return False


if __name__ == "__main__":
    main(sys.argv[1:])
