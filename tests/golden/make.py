"""Makes the fixtures of stored formats: ``make golden``, or this script with names of studies; ``--again`` replaces.

Each study is run as ``auxtune run`` would, in the folder ``/tmp/golden``, so that no other path is recorded. What tests
need of it is copied to ``storage/``, and what today's code reads from the copy is written to ``expected/``. Studies
that are there are skipped, so it may be stopped and started again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

from every_event import write_every_event, write_remeasured  # noqa: E402 - found once the path is set
from golden_files import EXPECTED, GOLDEN, MADE_IN, STORAGE, readings, simulate_table  # noqa: E402 - likewise
from golden_studies import KEPT, STUDIES, study_text, write_inputs  # noqa: E402 - likewise

from auxtune.orchestrator.errors import AuxtuneError  # noqa: E402 - likewise
from auxtune.orchestrator.record.results import EVIDENCE  # noqa: E402 - likewise
from auxtune.orchestrator.study import Study  # noqa: E402 - likewise

_TRACE_PATH = re.compile(
    r'(?<=File \\")[^"]*/(?=[^"/]+/[^"/]+\.py\\")'
)  # in JSON: a traceback's, up to the last folder
_EMPTY = 22  # bytes of predictions.npz where nothing was predicted, as in the search
PUT_TOGETHER = {"every_event": write_every_event, "remeasured": write_remeasured}  # of other studies


def main() -> None:
    """Make what is asked for, or all that is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="STUDY", help=f"of {', '.join([*STUDIES, *PUT_TOGETHER])}; all")
    parser.add_argument("--again", action="store_true", help="replace what is there")
    parser.add_argument(
        "--read", action="store_true", help="only write again what is read from the studies that are there"
    )
    asked = parser.parse_args()
    names = asked.names or [*STUDIES, *PUT_TOGETHER]
    if unknown := set(names) - {*STUDIES, *PUT_TOGETHER}:
        parser.error(f"there is no study {', '.join(sorted(unknown))}")
    if asked.again:
        if kept := set(asked.names) & set(KEPT):
            parser.error(f"{', '.join(sorted(kept))}: an earlier version of the selector made it; take NAME_2")
        names = [name for name in names if name not in KEPT]
        for name in names:
            forget(name)
    if not asked.read:
        make_studies([name for name in names if not (STORAGE / name).exists()])
    for name in names:
        if (STORAGE / name).exists() and (asked.read or not (EXPECTED / name).exists()):
            write_readings(name)
    simulated = EXPECTED / "simulated.json"
    if asked.read or (not asked.names and asked.again) or not simulated.exists():
        simulated.write_text(simulate_table(), encoding="utf-8")


def make_studies(names: list[str]) -> None:
    """Run the studies in a folder that is empty but for the evidence of others."""
    if not names:
        return
    shutil.rmtree(MADE_IN, ignore_errors=True)
    MADE_IN.mkdir()
    os.chdir(MADE_IN)
    write_inputs(MADE_IN)
    if (STORAGE / EVIDENCE).exists():
        shutil.copytree(STORAGE / EVIDENCE, MADE_IN / "storage" / EVIDENCE)
    for name in names:
        began = time.monotonic()
        print(f"{name} …", end=" ", flush=True)
        if name in PUT_TOGETHER:
            PUT_TOGETHER[name](STORAGE)
        else:
            run_study(name)
            keep_study(name)
        write_readings(name)
        print(f"{time.monotonic() - began:.0f} s", flush=True)
    os.chdir(GOLDEN)
    shutil.rmtree(MADE_IN)


def run_study(name: str) -> None:
    """Run a study to its answer, or to the failure that it is made for."""
    path = MADE_IN / f"{name}.yaml"
    path.write_text(study_text(name), encoding="utf-8")
    try:
        Study.from_yaml(path).run()
    except AuxtuneError:
        if not STUDIES[name].fails:
            raise


def keep_study(name: str) -> None:
    """Copy what a study is read and rendered from, and its evidence, without weights."""
    made, kept = MADE_IN / "storage" / name, STORAGE / f".{name}"
    shutil.rmtree(kept, ignore_errors=True)
    for path in sorted(_files_of(made)):
        target = kept / path.relative_to(made)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.name == "result.json":
            target.write_text(_TRACE_PATH.sub("", path.read_text()), encoding="utf-8")
        else:
            shutil.copyfile(path, target)
    for entry in _evidence_of(MADE_IN / "storage", name):
        target = STORAGE / EVIDENCE / entry.name
        shutil.copytree(entry, target, ignore=shutil.ignore_patterns("weights"), dirs_exist_ok=True)
    kept.rename(STORAGE / name)  # last, for what has its name is whole


def _files_of(folder: Path) -> Iterator[Path]:
    for name in ("study.yaml", "selection.json"):
        if (folder / name).exists():
            yield folder / name
    yield from (folder / "ledger").glob("*.json")
    yield from (folder / "rows").glob("*.npy")
    yield from (folder / "trials").glob("0000/*/result.json")
    yield from (path for path in (folder / "trials").glob("*/*/predictions.npz") if path.stat().st_size > _EMPTY)


def _evidence_of(storage: Path, name: str) -> Iterator[Path]:
    """The folders of evidence that a study made."""
    for path in storage.joinpath(EVIDENCE).glob("*/evidence.json"):
        if json.loads(path.read_text())["study"].split()[0] == name:
            yield path.parent


def forget(name: str) -> None:
    """Delete the fixtures of a study."""
    for entry in list(_evidence_of(STORAGE, name)):
        shutil.rmtree(entry)
    for folder in (STORAGE / name, EXPECTED / name):
        with suppress(FileNotFoundError):
            shutil.rmtree(folder)


def write_readings(name: str) -> None:
    """Write what is read from a study's fixture."""
    folder = EXPECTED / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file, text in readings(name).items():
        (folder / file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
