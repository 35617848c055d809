"""The probe batch that the studies of a storage share: the same texts for every model, whatever tasks are added.

``<storage>/.texts/<digest>/``. A study takes the oldest batch that is whole, of its encoder, and made of none but its
own tasks, as they are now; where there is none, it makes one of all its tasks. So a new candidate changes nothing.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from auxtune.trials.durable import sync, write_durably
from auxtune.trials.encoded import EncodedTask

FOLDER = ".texts"


@dataclass(frozen=True, eq=False)
class ProbeTexts:
    """The choice for one study, of the batches in ``storage``."""

    storage: Path
    tasks: Mapping[str, EncodedTask]
    encoder: str                                       # digest of the encoder and the longest input

    @cache                                             # noqa: B019 (an instance lives as long as its session)
    def folder(self) -> Path:
        """The batch's folder, named by its digest; made if there is none."""
        root = self.storage / FOLDER
        known = []
        for folder in root.glob("[!.]*"):              # what is hidden is a draft, or was damaged
            about = _about(folder)
            if about is not None and about["encoder"] == self.encoder and self._has(about["tasks"]):
                known.append((about["made"], folder.name, folder))
        return min(known)[2] if known else self._made(root)

    def _has(self, tasks: Mapping[str, str]) -> bool:
        return all(name in self.tasks and self.tasks[name].digest == digest for name, digest in tasks.items())

    def _made(self, root: Path) -> Path:
        from auxtune.trials.probes.shared_texts import save_texts, shared_texts

        texts = shared_texts(self.tasks)
        home, draft = root / texts.digest, root / f".{uuid.uuid4().hex}"
        draft.mkdir(parents=True)
        save_texts(draft, texts)
        about = {
            "encoder": self.encoder,
            "tasks": {name: task.digest for name, task in self.tasks.items()},
            "made": time.time(),
        }
        write_durably(draft / "texts.json", lambda file: file.write(json.dumps(about, indent=1).encode()))
        if home.is_dir() and _about(home) is None:     # damaged: out of the way
            home.rename(root / f".damaged.{texts.digest}.{uuid.uuid4().hex}")
        try:
            draft.rename(home)
        except OSError:                                # the same texts, made by another study meanwhile
            shutil.rmtree(draft)
            if not home.is_dir():
                raise
        sync(root)
        return home


def _about(folder: Path) -> dict[str, Any] | None:
    """What a batch was made of; ``None`` where it cannot be read, or its texts are not those it is named by."""
    from auxtune.trials.probes.shared_texts import load_texts

    try:
        about: dict[str, Any] = json.loads((folder / "texts.json").read_text())
        return about if load_texts(folder).digest == folder.name else None
    except (OSError, ValueError, KeyError, BadZipFile):
        return None
