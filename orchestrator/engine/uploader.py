"""A worker's side of an attempt's folder: where its files are made, and how they come to the storage.

Trials write into a folder of this machine. Where studies are kept in a folder, it is the attempt's own, and nothing is
copied. Where they are kept in an object store, it is a scratch folder whose files are uploaded when they have changed:
a checkpoint before anyone may ask for it, and ``result.json``, which makes an attempt count, after all others. An
object appears whole or not at all, so no one reads half a checkpoint.

A store that does not answer ends no training: failed uploads are tried again later. Only when none has succeeded for as
long as anyone waits (``storage.patience``) is the attempt given up, without a result, so that it is resumed elsewhere
from the files that had arrived.
"""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from pathlib import Path

from auxtune.orchestrator.errors import StorageError
from auxtune.orchestrator.storage.patience import has_given_up, survive_silence
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import store_of

REPORT = "result.json"
PAUSE = 15.0  # seconds of training after a store did not answer


class AttemptUploader:
    """The files of one attempt, whose folder in the storage is ``home``."""

    def __init__(self, home: StoredPath) -> None:
        self._home = home
        self._store = store_of(home)
        self._open = ExitStack()
        self.folder = self._open.enter_context(self._store.open_working_folder(home, "auxtune-attempt-"))
        self._there: dict[Path, tuple[int, int, int]] = {}  # file -> as it was when it was published
        self._again = 0.0  # when to try again, by the monotonic clock

    def publish(self) -> None:
        """Bring changed files to the storage, if it can be reached. Raises ``StorageError`` to give up."""
        if time.monotonic() < self._again:
            return
        try:
            self._put_changed()
        except StorageError as error:
            if error.lasting or has_given_up(str(self._home).partition(":")[0]):
                raise
            logging.getLogger(__name__).warning("%s; the upload is tried again later", error)
            self._again = time.monotonic() + PAUSE

    def publish_all(self) -> None:
        """Likewise, and wait for a storage that does not answer. Raises ``StorageError``."""
        with survive_silence():
            self._put_changed()

    def close(self) -> None:
        """Forget the scratch folder."""
        self._open.close()

    def _put_changed(self) -> None:
        if self.folder == self._home:  # made where they belong
            return
        files = [path for path in self.folder.rglob("[!.]*") if path.is_file()]
        for path in sorted(files, key=lambda path: (path.name == REPORT, path)):
            about = path.stat()
            state = (about.st_mtime_ns, about.st_size, about.st_ino)
            if self._there.get(path) != state:
                self._store.put_file(path, self._home.joinpath(*path.relative_to(self.folder).parts))
                self._there[path] = state
