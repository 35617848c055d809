"""A worker's side of an attempt's folder: where its files are made, and how they come to the storage.

Trials write into a folder of this machine. Where the studies are in one, that is the attempt's own, and nothing is
copied. Of an object store it is a scratch folder, whose files are put there when they have changed: a checkpoint before
anybody may ask for it, and ``result.json``, which makes an attempt count, after all others. An object appears whole or
not at all, so nobody meets half a checkpoint.

A store that does not answer ends no training: what could not be published is tried again later. Only when nothing has
come through for as long as anybody waits (``storage.patience``) is the attempt given up, without a result, so that it
goes on elsewhere from what had arrived.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from auxtune.orchestrator.errors import StorageError
from auxtune.orchestrator.storage.object_path import ObjectPath
from auxtune.orchestrator.storage.patience import gave_up, patient
from auxtune.orchestrator.storage.published import put_file

REPORT = "result.json"
PAUSE = 15.0  # seconds of training after a store did not answer


class AttemptUploader:
    """The files of one attempt, whose folder in the storage is ``home``."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._scratch = TemporaryDirectory(prefix="auxtune-attempt-") if isinstance(home, ObjectPath) else None
        self.folder = Path(self._scratch.name) if self._scratch else home
        self._there: dict[Path, tuple[int, int, int]] = {}  # file -> as it was when it was published
        self._again = 0.0  # when to try again, by the monotonic clock

    def publish(self) -> None:
        """Bring what has changed to the storage, if it can be reached. Raises ``StorageError`` to give up."""
        if time.monotonic() < self._again:
            return
        try:
            self._put_changed()
        except StorageError as error:
            if error.lasting or gave_up(str(self._home).partition(":")[0]):
                raise
            logging.getLogger(__name__).warning("%s; what was to be stored is tried again", error)
            self._again = time.monotonic() + PAUSE

    def publish_all(self) -> None:
        """Likewise, and wait for a storage that does not answer. Raises ``StorageError``."""
        with patient():
            self._put_changed()

    def close(self) -> None:
        """Forget the scratch folder."""
        if self._scratch is not None:
            self._scratch.cleanup()

    def _put_changed(self) -> None:
        if not isinstance(self._home, ObjectPath):
            return
        files = [path for path in self.folder.rglob("[!.]*") if path.is_file()]
        for path in sorted(files, key=lambda path: (path.name == REPORT, path)):
            about = path.stat()
            state = (about.st_mtime_ns, about.st_size, about.st_ino)
            if self._there.get(path) != state:
                put_file(path, self._home.joinpath(*path.relative_to(self.folder).parts))
                self._there[path] = state
