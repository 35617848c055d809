"""The probe batch that the studies of a storage share: the same texts for every model, whatever tasks are added.

``<storage>/.texts/<digest>/``. A study takes the oldest batch that is whole, of its encoder, and made of none but its
own tasks, as they are now; where there is none, it makes one of all its tasks. So a new candidate changes nothing.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from zipfile import BadZipFile

from auxtune.orchestrator.errors import StorageError
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import store_of
from auxtune.trials.durable import write_durably
from auxtune.trials.tokens import EncodedTask

FOLDER = ".texts"


@dataclass(frozen=True, eq=False)
class ProbeTexts:
    """The choice for one study, of the batches in ``storage``."""

    storage: StoredPath
    tasks: Mapping[str, EncodedTask]
    encoder: str  # digest of the encoder and the longest input

    @cached_property
    def folder(self) -> StoredPath:
        """The batch's folder, named by its digest; made if there is none."""
        root = self.storage / FOLDER
        known = []
        for folder in root.glob("[!.]*"):  # hidden folders are drafts, or were damaged
            about = _read_description(folder)
            if about is not None and about["encoder"] == self.encoder and self._has(about["tasks"]):
                known.append((about["made"], folder.name, folder))
        return min(known)[2] if known else self._made(root)

    def _has(self, tasks: Mapping[str, str]) -> bool:
        return all(name in self.tasks and self.tasks[name].digest == digest for name, digest in tasks.items())

    def _made(self, root: StoredPath) -> StoredPath:
        from auxtune.trials.probes.hidden_states import choose_shared_texts, save_texts

        texts = choose_shared_texts(self.tasks)
        home = root / texts.digest
        about = {
            "encoder": self.encoder,
            "tasks": {name: task.digest for name, task in self.tasks.items()},
            "made": time.time(),
        }
        with store_of(root).open_draft(root, f".{uuid.uuid4().hex}") as draft:
            save_texts(draft, texts)
            write_durably(draft / "texts.json", lambda file: file.write(json.dumps(about, indent=1).encode()))
            store_of(root).publish(
                draft,
                home,
                is_usable=lambda: (
                    _read_description(home) is not None
                ),  # the same texts, made by another study meanwhile
                quarantine_path=lambda: root / f".damaged.{texts.digest}.{uuid.uuid4().hex}",
            )
        return home


def read_texts(home: StoredPath) -> EncodedTask:
    """The texts of the batch in ``home``. Raises ``OSError`` where there are none."""
    from auxtune.trials.probes.hidden_states import load_texts

    with store_of(home).fetch(_find_batch(home)) as folder:
        return load_texts(folder)


def _find_batch(home: StoredPath) -> StoredPath:
    """The folder that was published at ``home``; ``home`` itself, which cannot be read, where none was."""
    return store_of(home).find_published(home) or home


def _read_description(folder: StoredPath) -> dict[str, Any] | None:
    """The description of a batch; ``None`` where it cannot be read, or its texts are not those it is named by."""
    try:
        about: dict[str, Any] = json.loads((_find_batch(folder) / "texts.json").read_text())
        return about if read_texts(folder).digest == folder.name else None
    except StorageError:  # unreachable is not absent
        raise
    except (OSError, ValueError, KeyError, BadZipFile):
        return None
