"""Where an export is made: a hidden folder beside its place, which gets its name by one rename.

So whatever ends an export, there is a whole model under the name or none. An interrupted or killed one leaves its
training's checkpoint in the staging folder, and the same command goes on from there.
"""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path
from types import TracebackType

from auxtune.orchestrator.errors import AuxtuneError, Interrupted, Locked
from auxtune.trials.durable import TAKEN, sync


class StagingFolder:
    """The staging folder of the model folder ``home``, held by one process at a time.

    Raises ``AuxtuneError`` where something is at ``home`` already or the disk refuses, ``Locked`` where another process
    makes the same.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home.with_name(f".{home.name}.export")
        self.models = self.folder / "model"  # becomes ``home``

    def __enter__(self) -> StagingFolder:
        check_free(self.home)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / "lock").open("w")
        except OSError as error:
            raise self._refused(error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise Locked(f"{self.home}: another process exports there; wait for it, or choose another --to") from error
        shutil.rmtree(self.models, ignore_errors=True)
        self.models.mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        goes_on = isinstance(error, (Interrupted, KeyboardInterrupt)) and any(self.folder.glob("runs/*/checkpoint"))
        if not goes_on:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()

    def run(self, name: str) -> Path:
        """The folder of the training of the model called ``name``."""
        return self.folder / "runs" / (name or "model")

    def model(self, name: str) -> Path:
        """The folder of the model called ``name``, made empty."""
        folder = self.models / name
        folder.mkdir(exist_ok=True)
        return folder

    def publish(self) -> None:
        """Give what was made its name."""
        try:
            self.models.rename(self.home)  # in the place of an empty folder, never of a full one
        except OSError as error:
            if error.errno in TAKEN:
                check_free(self.home)
            raise self._refused(error) from error
        sync(self.home.parent)

    def _refused(self, error: OSError) -> AuxtuneError:
        return AuxtuneError(f"{self.home}: cannot be written: {error.strerror or error}; choose another --to")


def check_free(home: Path) -> None:
    """Raise ``AuxtuneError`` unless ``home`` is no file and no folder, or an empty one."""
    if home.is_symlink() or (home.exists() and not home.is_dir()):
        raise AuxtuneError(f"{home}: expected a folder that is not there yet, found a file; choose another --to")
    if home.is_dir() and any(home.iterdir()):
        raise AuxtuneError(
            f"{home}: expected a folder that is not there yet, found one that is not empty; choose another --to"
        )
